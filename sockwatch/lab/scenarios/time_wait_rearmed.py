"""A FIN that is repeated, because its ACK was lost, restarts the 60 s of TIME_WAIT."""

from sockwatch.errors import ProvokeError
from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.lab.witness import time_wait_seconds
from sockwatch.model.finding import Severity

WATCHED, REARMED = 3.0, 0.5
"""Seconds: the server repeats its FIN after about 0.2, 0.6, 1.4 and 3 s."""
WHOLE = 60.0


def provoke(stage: Stage) -> None:
    """Lose the last ACK of each close, and watch how long the client's TIME_WAIT will still take."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.server.lose_acks()
    stage.server.close()
    stage.await_states(time_wait=COUNT, last_ack=COUNT)
    stage.clock.wait(WATCHED)
    left = min(time_wait_seconds(), default=0.0)
    if left < WHOLE - WATCHED + REARMED:
        raise ProvokeError(f"after {WATCHED:.0f} s TIME_WAIT had {left:.1f} s left, and no FIN had restarted it")
    stage.tell(
        f"After {WATCHED:.0f} s each TIME_WAIT still had {left:.1f} s to go: the client repeats its ACK for every FIN "
        "that comes again, and waits another 60 s, which is what TIME_WAIT is for. The server stays in LAST_ACK, and "
        "gives up after tcp_orphan_retries."
    )


SCENARIO = Scenario(
    name="time_wait_rearmed",
    story="23 clients close, their server closes too, and the way to the server loses the last ACK of each close.",
    provoke=provoke,
    expected=(Expected(name="closing_stuck/last_ack", severity=Severity.WARNING, by=Role.SERVER),),
)
