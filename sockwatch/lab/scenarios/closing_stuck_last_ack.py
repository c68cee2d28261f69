"""The clients closed first and are gone before the server closes as well."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Half-close the clients, take them away without a packet, cut the server off, and have it close."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.half_close()
    stage.await_states(close_wait=COUNT, fin_wait_2=COUNT)
    stage.server.be_cut_off()
    stage.client.vanish()
    stage.server.close()
    stage.await_states(last_ack=COUNT, close_wait=0, fin_wait_2=0)
    stage.tell(
        "The last ACK of four: without it the server's kernel repeats its FIN, and gives up after some 102 s "
        "(tcp_orphan_retries = 0 means 8)."
    )


SCENARIO = Scenario(
    name="closing_stuck/last_ack",
    story="23 clients send their FIN and lose their power; then the server closes. A packet filter on its sockets "
    "drops the RST with which this host answers in their place.",
    provoke=provoke,
    expected=(Expected(name="closing_stuck/last_ack", severity=Severity.WARNING, by=Role.SERVER),),
)
