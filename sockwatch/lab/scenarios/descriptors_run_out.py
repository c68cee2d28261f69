"""Sockets that are never closed take the last file descriptors, and the server cannot accept any more."""

import errno

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

LIMIT = 64


def provoke(stage: Stage) -> None:
    """Leak 23 sockets, and let the process run into its limit."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.close()
    stage.server.read_to_end()
    stage.await_states(close_wait=COUNT, fin_wait_2=COUNT)
    stage.server.use_up_descriptors(LIMIT)
    stage.client.connect(PORT)
    stage.tell("The kernel has finished the next client's handshake, and accept() cannot hand it over:")
    with stage.refused(errno.EMFILE):
        stage.server.accept(1)


SCENARIO = Scenario(
    name="descriptors_run_out",
    story="A server forgets to close 23 sockets whose clients have closed. It may open 64 files, and all are in use.",
    provoke=provoke,
    expected=(
        Expected(name="close_wait_leak/not_closed", severity=Severity.CRITICAL, by=Role.SERVER),
        Expected(name="fin_wait_2_stuck/orphaned", severity=Severity.INFO, other_end=Role.SERVER),
    ),
)
