"""close() and shutdown(SHUT_WR) send the same FIN; only one of them has a timeout."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Close 23 connections and half-close 23 others; the server reads both to their end and closes none."""
    stage.set_sysctl("net.ipv4.tcp_fin_timeout", "3")
    stage.server.listen(PORT)
    stage.client.connect(PORT, 2 * COUNT)
    stage.server.accept(2 * COUNT)
    stage.client.half_close(COUNT)
    closed = stage.clock.monotonic()
    stage.client.close(COUNT)
    stage.await_states(fin_wait_2=2 * COUNT, close_wait=2 * COUNT)
    stage.server.read_to_end()
    stage.tell("On the wire and in the list of states both are the same. After tcp_fin_timeout they are not:")
    stage.await_states(fin_wait_2=COUNT, close_wait=2 * COUNT)
    stage.tell(
        f"The closed ones were gone after {stage.clock.monotonic() - closed:.1f} s, without TIME_WAIT. "
        "The half-closed ones stay: their descriptors are open, so their timeout is never. The server keeps all 46."
    )


SCENARIO = Scenario(
    name="close_against_shutdown",
    story="46 clients are done: 23 call close(), 23 call shutdown(SHUT_WR), and the server closes none of them. "
    "The findings are those after tcp_fin_timeout, here 3 s.",
    provoke=provoke,
    expected=(
        Expected(
            name="close_wait_leak/not_closed",
            severity=Severity.WARNING,
            count=2 * COUNT,
            by=Role.SERVER,
            other_end=Role.CLIENT,
        ),
        Expected(name="fin_wait_2_stuck/held", severity=Severity.INFO, by=Role.CLIENT, other_end=Role.SERVER),
    ),
)
