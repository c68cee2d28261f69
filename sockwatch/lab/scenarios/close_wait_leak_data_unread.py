"""The peer sent data and closed; the application reads neither."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Send and close at the clients' ends, and have the server hang."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.send(100)
    stage.client.close()
    stage.await_states(close_wait=COUNT, fin_wait_2=COUNT)
    stage.tell(
        "100 bytes and the FIN wait in each receive queue (Recv-Q 101): the server hangs, or has lost the sockets. "
        "If it called close() now, the kernel would answer the unread data with a reset."
    )


SCENARIO = Scenario(
    name="close_wait_leak/data_unread",
    story="23 clients send a request and close. The server hangs and reads none of it.",
    provoke=provoke,
    expected=(
        Expected(name="close_wait_leak/data_unread", severity=Severity.WARNING, by=Role.SERVER),
        Expected(name="fin_wait_2_stuck/orphaned", severity=Severity.INFO, other_end=Role.SERVER),
    ),
)
