"""The handshake needs no accept(): clients came and went while the server was busy."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Let the clients come and go while the server does not accept."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.tell("The kernel finished the handshakes; the connections wait in the accept queue and belong to no process.")
    stage.client.close()
    stage.await_states(close_wait=COUNT, fin_wait_2=COUNT)


SCENARIO = Scenario(
    name="close_wait_leak/never_accepted",
    story="23 clients connect and give up again. The server is stuck and never calls accept().",
    provoke=provoke,
    expected=(
        Expected(name="close_wait_leak/never_accepted", severity=Severity.WARNING, by=Role.SERVER),
        Expected(name="fin_wait_2_stuck/orphaned", severity=Severity.INFO, other_end=Role.SERVER),
    ),
)
