"""A server that restarts within a minute, and never set SO_REUSEADDR."""

import errno

from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Stop a server that closed its connections first, and start it again."""
    stage.server.listen(PORT, reuse_address=False)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.server.close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.client.close()
    stage.server.stop_listening()
    stage.await_states(time_wait=COUNT, listen=0)
    with stage.refused(errno.EADDRINUSE):
        stage.server.listen(PORT, reuse_address=False)
    stage.tell("SO_REUSEADDR now comes too late: the sockets in TIME_WAIT were opened without it.")
    with stage.refused(errno.EADDRINUSE):
        stage.server.listen(PORT, reuse_address=True)


SCENARIO = Scenario(
    name="time_wait_buildup/bind_blocked",
    story="A server without SO_REUSEADDR closes its 23 connections, stops, and wants to start again.",
    provoke=provoke,
    expected=(Expected(name="time_wait_buildup/bind_blocked", severity=Severity.INFO),),
)
