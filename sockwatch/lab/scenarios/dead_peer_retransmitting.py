"""Data sent to peers that are gone without a FIN: the kernel repeats it for a quarter of an hour."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Take the clients away without a packet, cut the server off, and have it send."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.server.be_cut_off()
    stage.client.vanish()
    stage.server.send(100)
    stage.await_states(established=COUNT)
    stage.tell(
        "send() succeeded. The kernel repeats the data after 0.2 s, and each time after twice as long, up to every "
        "120 s; after some 15 minutes (tcp_retries2 = 15) the server reads ETIMEDOUT."
    )


SCENARIO = Scenario(
    name="dead_peer/retransmitting",
    story="23 clients lose their power, and the server sends to them. A packet filter on its sockets drops the RST "
    "with which this host answers in their place.",
    provoke=provoke,
    expected=(Expected(name="dead_peer/retransmitting", severity=Severity.WARNING, by=Role.SERVER),),
)
