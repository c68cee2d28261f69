"""Two popular knobs for a full accept queue: one comes too late and asks for nothing, one makes no room."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

LATECOMERS = 7


def provoke(stage: Stage) -> None:
    """Raise somaxconn and set tcp_abort_on_overflow while the queue of a small backlog is full."""
    stage.server.listen(PORT, backlog=COUNT - 1)
    stage.client.connect(PORT, COUNT)
    stage.set_sysctl("net.core.somaxconn", "65535")
    stage.set_sysctl("net.ipv4.tcp_abort_on_overflow", "1")
    stage.client.start_connecting(PORT, LATECOMERS)
    stage.await_states(established=2 * COUNT, syn_sent=LATECOMERS)
    stage.tell(
        "The queue still holds 23: listen(22) asked for no more, and somaxconn only caps what is asked for. The SYNs "
        "of the others are dropped in silence as before; tcp_abort_on_overflow resets only clients whose handshake "
        "ends at a full queue."
    )


SCENARIO = Scenario(
    name="knobs_for_a_full_accept_queue",
    story="A server called listen(22) and is stuck before accept(). 30 clients come. Somebody raises somaxconn, sets "
    "tcp_abort_on_overflow, and waits for a change.",
    provoke=provoke,
    expected=(
        Expected(name="accept_queue_overflow/application_backlog", severity=Severity.CRITICAL, count=1, by=Role.SERVER),
        Expected(
            name="connect_unanswered",
            severity=Severity.INFO,
            count=LATECOMERS,
            by=Role.CLIENT,
            other_end=Role.SERVER,
        ),
        Expected(name="sysctl_misfit", severity=Severity.INFO, count=1),
    ),
)
