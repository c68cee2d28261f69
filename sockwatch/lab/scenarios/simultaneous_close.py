"""FIN_WAIT_1 meets a FIN: CLOSING, which normally lasts one round trip and here lasts, because an ACK is lost."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Let both FINs cross, and then keep the server's ACK from the clients."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.lose_acks()
    stage.server.be_cut_off()
    stage.tell("So the clients' FIN does not arrive before the server sends its own:")
    stage.client.half_close()
    stage.await_states(fin_wait_1=COUNT, established=COUNT)
    stage.server.half_close()
    stage.await_states(closing=COUNT, fin_wait_1=COUNT)
    stage.tell("FIN_WAIT_1 and a FIN make CLOSING. Now the server may hear the FIN that the clients repeat:")
    stage.server.hear_again()
    stage.await_states(closing=COUNT, time_wait=COUNT, fin_wait_1=0)
    stage.tell(
        "It has both ACKs and waits in TIME_WAIT. The clients need one more, the bare ACK of their FIN, and that never "
        "arrives: they repeat the FIN, and each one that arrives restarts the 60 s of TIME_WAIT at the server."
    )


SCENARIO = Scenario(
    name="simultaneous_close",
    story="23 clients and their server close at the same moment, and the way to the clients loses bare ACKs.",
    provoke=provoke,
    expected=(
        Expected(name="simultaneous_close", severity=Severity.INFO, by=Role.CLIENT),
        Expected(name="time_wait_buildup/server_side", severity=Severity.INFO, by=Role.SERVER),
    ),
)
