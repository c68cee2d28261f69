"""Above 60 s tcp_fin_timeout T means 2 x (T - 60) s: raised by one it falls to two seconds."""

from sockwatch.errors import ProvokeError
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

DEFAULT = 60.0


def provoke(stage: Stage) -> None:
    """Measure the life of orphans at 61 and at 62, and leave some at 90."""
    stage.server.listen(PORT)
    short, longer = _life(stage, 61), _life(stage, 62)
    if not short < longer < DEFAULT:
        raise ProvokeError(f"at 61 the orphans lived {short:.1f} s and at 62 {longer:.1f} s: not what Linux does")
    stage.tell(f"61 gave {short:.1f} s, 62 gave {longer:.1f} s; the default, 60, gives 60 s. To get 90 s, set 105.")
    _close(stage, 90)
    stage.tell("At 90 they are kept for 60 s, not 90: 30 s as full sockets that count as orphans, 30 s as minisockets.")


def _close(stage: Stage, timeout: int) -> None:
    stage.set_sysctl("net.ipv4.tcp_fin_timeout", str(timeout))
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.server.vanish()


def _life(stage: Stage, timeout: int) -> float:
    started = stage.clock.monotonic()
    _close(stage, timeout)
    stage.await_states(fin_wait_2=0)
    return stage.clock.monotonic() - started


SCENARIO = Scenario(
    name="fin_timeout_above_60",
    story="Somebody raises tcp_fin_timeout above its default of 60 s. 23 clients close, the server does not.",
    provoke=provoke,
    expected=(
        Expected(name="fin_wait_2_stuck/orphaned", severity=Severity.INFO),
        Expected(name="sysctl_misfit", severity=Severity.INFO),
    ),
)
