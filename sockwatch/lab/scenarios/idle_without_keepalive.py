"""Vanished clients of a server that does not use keepalive: nothing ever happens."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Take the clients away without a packet; the server waits for their next request."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.vanish()
    stage.await_states(established=COUNT)
    stage.tell(
        "The server's sockets have no timer. Without SO_KEEPALIVE the kernel never asks whether anybody is there, "
        "whatever tcp_keepalive_time says: they stay until the server writes to them or ends."
    )


SCENARIO = Scenario(
    name="idle_without_keepalive",
    story="23 idle clients of a server without SO_KEEPALIVE lose their power.",
    provoke=provoke,
    expected=(Expected(name="idle_without_keepalive", severity=Severity.INFO, by=Role.SERVER),),
)
