"""tcp_retries2, lowered to be rid of closed sockets that nobody answers: they have a sysctl of their own."""

from sockwatch.errors import ProvokeError
from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.lab.witness import count_states
from sockwatch.model.finding import Severity
from sockwatch.model.state import State

RETRIES = 1
SECONDS = 3


def provoke(stage: Stage) -> None:
    """Have closed sockets repeat their FIN for longer than that many retries take."""
    stage.set_sysctl("net.ipv4.tcp_retries2", str(RETRIES))
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.server.be_cut_off()
    stage.client.vanish()
    stage.server.close()
    stage.await_states(fin_wait_1=COUNT, established=0)
    stage.clock.wait(SECONDS)
    left = count_states()[State.FIN_WAIT_1]
    if left != COUNT:
        raise ProvokeError(f"after {SECONDS} s {left} of {COUNT} sockets in FIN_WAIT_1 are left: not what Linux does")
    stage.tell(
        "One retry is over after less than two seconds, and all 23 are still there: tcp_retries2 is for sockets that a "
        "process holds. Those that were closed have tcp_orphan_retries, and its 0 means 8."
    )


SCENARIO = Scenario(
    name="retries2_for_closed_sockets",
    story="23 clients lose their power, and the server closes their connections. Somebody has set tcp_retries2 to 1 to "
    "be rid of such sockets soon.",
    provoke=provoke,
    expected=(
        Expected(name="closing_stuck/fin_wait_1", severity=Severity.WARNING, by=Role.SERVER),
        Expected(name="sysctl_misfit", severity=Severity.INFO),
    ),
)
