"""What one poll leaves behind, hundreds would show: real sockets in a private namespace, and a clock that jumps."""

import gc
import socket
from pathlib import Path

from daemon.sources import health, setup
from netns import PrivateNetns, keep
from sockwatch.clock import SystemClock
from sockwatch.collect.live import LiveSource
from sockwatch.daemon.poller import Poller
from sockwatch.diagnose.registry import load_detectors
from sockwatch.model.state import State

LEAK = 23
BATCH, BATCHES = 15, 4


class JumpingClock(SystemClock):
    """10 s later at each poll."""

    def __init__(self) -> None:
        self.jumped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.jumped

    def unixtime(self) -> float:
        return super().unixtime() + self.jumped


def leak() -> None:
    listener = keep(socket.create_server(("127.0.0.1", 0), backlog=64))
    clients = [socket.create_connection(listener.getsockname()) for _ in range(LEAK)]
    for client in clients:
        keep(listener.accept()[0])
        client.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Polls:
    """Kept in the namespace."""

    def __init__(self) -> None:
        self.clock, self.health = JumpingClock(), health()
        self.poller = Poller(
            setup(detectors=load_detectors()),
            source_of=lambda _: LiveSource(clock=self.clock, netns="current"),
            clock=self.clock,
            health=self.health,
        )

    def poll(self, times: int) -> tuple[int, int, int, int]:
        """How many objects and open files there are now, how many polls failed, and how many sockets leak."""
        leaking = 0
        for _ in range(times):
            leaking = self.poller.poll().poll.report.by_state[State.CLOSE_WAIT] or 0
            self.clock.jumped += 10.0
        gc.collect()
        return len(gc.get_objects()), open_files(), self.health.failed + self.health.errors.total(), leaking


_polls: list[Polls] = []


def poll(times: int) -> tuple[int, int, int, int]:
    if not _polls:
        _polls.append(keep(Polls()))
    return _polls[0].poll(times)


def test_polls_leave_nothing_behind() -> None:
    with PrivateNetns() as netns:
        netns.run(leak)
        netns.run(poll, BATCH)
        objects, files, *_ = netns.run(poll, BATCH)
        later = [netns.run(poll, BATCH) for _ in range(BATCHES)]
    assert {seen[1:] for seen in later} == {(files, 0, LEAK)}
    assert later[-1][0] - objects < BATCHES * BATCH
