"""A server that asked for a long queue and got a short one."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Fill the accept queue of a listener that asked for 511 and was cut to somaxconn."""
    stage.set_sysctl("net.core.somaxconn", str(COUNT - 1))
    stage.server.listen(PORT, backlog=511)
    stage.client.connect(PORT, COUNT)
    stage.client.start_connecting(PORT, 7)
    stage.await_states(established=2 * COUNT, syn_sent=7)
    stage.tell(
        "listen(511) got 22, without an error: net.core.somaxconn is the most that anybody gets. "
        "Raising it helps a listener only when it calls listen() again."
    )


SCENARIO = Scenario(
    name="accept_queue_overflow/somaxconn",
    story="A server called listen(511) where somaxconn is 22, and is stuck before accept(). 30 clients come.",
    provoke=provoke,
    expected=(
        Expected(name="accept_queue_overflow/somaxconn", severity=Severity.CRITICAL, count=1, by=Role.SERVER),
        Expected(name="connect_unanswered", severity=Severity.INFO, count=7, by=Role.CLIENT, other_end=Role.SERVER),
        Expected(name="sysctl_misfit", severity=Severity.INFO, count=1),
    ),
)
