"""close() with unread data: RST instead of FIN, and the peer loses the answer."""

import errno

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

SIZE = 100


def provoke(stage: Stage) -> None:
    """Have requests arrive that the server does not read."""
    stage.server.listen(PORT)
    _ask(stage)


def _ask(stage: Stage) -> None:
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.send(SIZE)
    stage.await_states(established=2 * COUNT)


def _refuse(stage: Stage) -> None:
    """Close over the unread requests, let the clients see what they get, and ask again."""
    stage.server.close()
    stage.await_states(established=0, fin_wait_1=0, fin_wait_2=0, close_wait=0)
    stage.tell("One packet ends each connection, RST, and nobody waits in TIME_WAIT. What the clients read:")
    with stage.refused(errno.ECONNRESET):
        stage.client.read_to_end()
    stage.client.close()
    _ask(stage)


SCENARIO = Scenario(
    name="reset_by_close",
    story="A server closes 23 connections without having read the requests on them, and then gets 23 more.",
    provoke=provoke,
    meanwhile=_refuse,
    looks=2,
    expected=(Expected(name="reset_by_close", severity=Severity.WARNING, by=Role.SERVER),),
)
