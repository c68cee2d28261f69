"""shutdown(SHUT_WR) and a peer that never closes: no timer runs."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Half-close the clients' ends, and take the server away without a packet."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.half_close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.server.vanish()
    stage.await_states(fin_wait_2=COUNT, close_wait=0)
    stage.tell(
        "The FIN was acknowledged, so nothing is retransmitted, and a socket with a descriptor has no timeout: "
        "the clients wait for the server's FIN for ever. tcp_fin_timeout does nothing for them."
    )


SCENARIO = Scenario(
    name="fin_wait_2_stuck/held",
    story="23 clients call shutdown(SHUT_WR) and wait for the rest of the answer. The server loses its power.",
    provoke=provoke,
    expected=(Expected(name="fin_wait_2_stuck/held", severity=Severity.WARNING, by=Role.CLIENT),),
)
