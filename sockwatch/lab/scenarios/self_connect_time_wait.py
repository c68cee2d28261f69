"""What a self-connect leaves behind for a minute."""

from sockwatch.lab.scenario import PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Connect a socket to itself and close it."""
    stage.client.connect_to_itself(PORT)
    stage.client.close()
    stage.await_states(time_wait=1, established=0)
    stage.tell("Two packets close it, instead of four. TIME_WAIT has the same address and port at both ends.")


SCENARIO = Scenario(
    name="self_connect/time_wait",
    story="A client was connected to itself, and has closed.",
    provoke=provoke,
    expected=(Expected(name="self_connect/time_wait", severity=Severity.WARNING, count=1),),
)
