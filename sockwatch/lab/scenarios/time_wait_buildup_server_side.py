"""A server that closes first collects TIME_WAIT on its listening port: harmless."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Open from the client's side and close from the server's."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.server.close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.client.close()
    stage.await_states(time_wait=COUNT, listen=1)
    stage.tell(
        "All 23 have the server's port as their local one. They use up none: new clients are accepted as before."
    )


SCENARIO = Scenario(
    name="time_wait_buildup/server_side",
    story="A server closes each of 23 connections first, as HTTP servers do.",
    provoke=provoke,
    expected=(Expected(name="time_wait_buildup/server_side", severity=Severity.INFO, by=Role.SERVER),),
)
