"""The peer closed, and the application never looked at the socket again."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Close the clients' ends, and have the server ignore it."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.close()
    stage.await_states(close_wait=COUNT, fin_wait_2=COUNT)
    stage.tell(
        "The server was told by poll() and did not listen: the FIN waits in its receive queue as one unread byte. "
        "The kernel ends the clients' half after tcp_fin_timeout. Nothing ever ends the server's half."
    )


SCENARIO = Scenario(
    name="close_wait_leak/fin_not_seen",
    story="A server serves 23 clients. They close, and the server never reads its sockets again.",
    provoke=provoke,
    expected=(
        Expected(name="close_wait_leak/fin_not_seen", severity=Severity.WARNING, by=Role.SERVER),
        Expected(name="fin_wait_2_stuck/orphaned", severity=Severity.INFO, other_end=Role.SERVER),
    ),
)
