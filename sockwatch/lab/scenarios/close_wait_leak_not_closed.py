"""The application read end-of-file and kept the socket."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Close the clients' ends, and have the server read the end-of-file only."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.close()
    stage.server.read_to_end()
    stage.await_states(close_wait=COUNT, fin_wait_2=COUNT)
    stage.tell(
        "read() returned 0, the receive queue is empty, and close() was forgotten: a leak of file descriptors. "
        "The kernel ends the clients' half after tcp_fin_timeout. Nothing ever ends the server's half."
    )


SCENARIO = Scenario(
    name="close_wait_leak/not_closed",
    story="A server serves 23 clients. They close, the server reads end-of-file and forgets to close its sockets.",
    provoke=provoke,
    expected=(
        Expected(name="close_wait_leak/not_closed", severity=Severity.WARNING, by=Role.SERVER),
        Expected(name="fin_wait_2_stuck/orphaned", severity=Severity.INFO, other_end=Role.SERVER),
    ),
)
