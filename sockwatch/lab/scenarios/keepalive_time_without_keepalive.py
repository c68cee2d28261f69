"""tcp_keepalive_time, lowered for connections that never asked for keepalive."""

from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

IDLE_SECONDS = 1


def provoke(stage: Stage) -> None:
    """Leave connections idle for longer than tcp_keepalive_time."""
    stage.set_sysctl("net.ipv4.tcp_keepalive_time", str(IDLE_SECONDS))
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.await_states(established=2 * COUNT)
    stage.clock.wait(IDLE_SECONDS + 1)
    stage.tell(
        "Two seconds of silence, and not one probe: keepalive is off until the application sets SO_KEEPALIVE. The "
        "sysctl only says when the first probe then comes."
    )


SCENARIO = Scenario(
    name="keepalive_time_without_keepalive",
    story="Somebody sets tcp_keepalive_time to 1 s to notice vanished clients. The server has 23 idle connections.",
    provoke=provoke,
    expected=(Expected(name="sysctl_misfit", severity=Severity.INFO, count=2 * COUNT),),
)
