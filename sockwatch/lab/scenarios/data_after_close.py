"""To write to a peer that closed: RST and EPIPE after its close(), success after its shutdown(SHUT_WR)."""

import errno

from sockwatch.errors import ProvokeError
from sockwatch.lab.scenario import COUNT, PORT, Scenario
from sockwatch.lab.stage import Stage

SIZE = 100


def provoke(stage: Stage) -> None:
    """Write twice to peers that called close(), and once to peers that called shutdown()."""
    stage.server.listen(PORT)
    _connect(stage)
    stage.client.close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.tell("The FIN says only that no more data comes from there. So the first write succeeds, and draws RST:")
    stage.server.send(SIZE)
    stage.await_states(fin_wait_2=0, close_wait=0)
    stage.tell("The second one fails with EPIPE, and raises SIGPIPE in a program that does not ignore it:")
    with stage.refused(errno.EPIPE):
        stage.server.send(SIZE)
    _receive(stage.server.read_to_end(), 0)
    stage.tell("read() returns the end of file, because the FIN came first, and not ECONNRESET. Now with shutdown():")
    stage.server.close()
    _connect(stage)
    stage.client.half_close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.server.send(SIZE)
    stage.server.close()
    _receive(stage.client.read_to_end(), COUNT * SIZE)
    stage.client.close()
    stage.await_states(time_wait=COUNT, close_wait=0, fin_wait_2=0)
    stage.tell("After shutdown(SHUT_WR) everything arrived: the FIN is the same, but somebody still reads.")


def _connect(stage: Stage) -> None:
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)


def _receive(size: int, expected: int) -> None:
    if size != expected:
        raise ProvokeError(f"{size} bytes arrived, not {expected}: not what Linux does")


SCENARIO = Scenario(
    name="data_after_close",
    story="A server writes to 23 clients that have called close(), and then to 23 that have called shutdown(SHUT_WR).",
    provoke=provoke,
    looks=8,  # longer than the age from which on something would be called stuck
    expected=(),
)
