"""A server that does not keep up with accept(), and asked for a short queue itself."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Fill the accept queue of a listener that asked for 22, which holds one more, and knock seven times more."""
    stage.server.listen(PORT, backlog=COUNT - 1)
    stage.client.connect(PORT, COUNT)
    stage.client.start_connecting(PORT, 7)
    stage.await_states(established=2 * COUNT, syn_sent=7)
    stage.tell(
        "The queue is full (Recv-Q 23 above Send-Q 22). The kernel drops further SYNs, and the clients repeat them."
    )


SCENARIO = Scenario(
    name="accept_queue_overflow/application_backlog",
    story="A server called listen(22) and is stuck before accept(). 30 clients come.",
    provoke=provoke,
    expected=(
        Expected(name="accept_queue_overflow/application_backlog", severity=Severity.CRITICAL, count=1, by=Role.SERVER),
        Expected(name="connect_unanswered", severity=Severity.INFO, count=7, by=Role.CLIENT, other_end=Role.SERVER),
    ),
)
