"""SO_REUSEADDR, as it is meant: set before every bind(), it lets a server restart at once."""

import errno

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Stop a server that set SO_REUSEADDR, and start it again without it and with it."""
    stage.server.listen(PORT, reuse_address=True)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.server.close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.client.close()
    stage.server.stop_listening()
    stage.await_states(time_wait=COUNT, listen=0)
    stage.tell("Both must have it: the sockets in TIME_WAIT, which have, and the new one.")
    with stage.refused(errno.EADDRINUSE):
        stage.server.listen(PORT, reuse_address=False)
    stage.server.listen(PORT, reuse_address=True)
    stage.await_states(time_wait=COUNT, listen=1)


SCENARIO = Scenario(
    name="bind_with_reuse_address",
    story="A server with SO_REUSEADDR closes its 23 connections, stops, and starts again while TIME_WAIT lasts.",
    provoke=provoke,
    expected=(Expected(name="time_wait_buildup/server_side", severity=Severity.INFO, by=Role.SERVER),),
)
