"""The popular knob that does nothing: tcp_fin_timeout against TIME_WAIT."""

from sockwatch.errors import ProvokeError
from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.lab.witness import count_states
from sockwatch.model.finding import Severity
from sockwatch.model.state import State

TIMEOUT = 2


def provoke(stage: Stage) -> None:
    """Lower tcp_fin_timeout just before TIME_WAIT begins, and wait longer than that."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.server.close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.set_sysctl("net.ipv4.tcp_fin_timeout", str(TIMEOUT))
    stage.client.close()
    stage.await_states(time_wait=COUNT)
    stage.clock.wait(TIMEOUT + 1)
    left = count_states()[State.TIME_WAIT]
    if left != COUNT:
        raise ProvokeError(f"after tcp_fin_timeout {left} of {COUNT} sockets in TIME_WAIT are left: not Linux")
    stage.tell(
        "That time and one second later all 23 are still there: TIME_WAIT lasts 60 s, compiled in. tcp_fin_timeout is "
        "about FIN_WAIT_2, whose peer has not closed."
    )


SCENARIO = Scenario(
    name="fin_timeout_for_time_wait",
    story="A server closes 23 connections. Somebody read that tcp_fin_timeout shortens TIME_WAIT, and sets it to 2 s.",
    provoke=provoke,
    expected=(
        Expected(name="time_wait_buildup/server_side", severity=Severity.INFO, by=Role.SERVER),
        Expected(name="sysctl_misfit", severity=Severity.INFO),
    ),
)
