"""Where the daemon under test looks: prepared looks, or none that ever comes back."""

from collections.abc import Callable, Iterable

from builders import later, snapshot, socket
from sockwatch.clock import Clock, SystemClock
from sockwatch.daemon.health import Health
from sockwatch.daemon.poller import Poller, Setup
from sockwatch.diagnose.registry import load_detectors
from sockwatch.model.settings import DaemonSettings
from sockwatch.model.snapshot import Asks, FollowUp, Snapshot
from sockwatch.model.state import State
from sockwatch.pipeline import Source

LEAK = 23


class SteppedClock(SystemClock):
    """Goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 100_000.0

    def monotonic(self) -> float:
        return self.now

    def unixtime(self) -> float:
        return 1_700_000_000.0 + self.now


def leaking() -> Snapshot:
    """23 connections that the peer closed long ago."""
    rows = [
        socket(
            State.CLOSE_WAIT,
            "10.0.0.1:8080",
            f"10.0.0.9:{40_000 + i}",
            inode=100 + i,
            last_ack_recv=300_000,
            last_data_recv=400_000,
            last_data_sent=400_000,
        )
        for i in range(LEAK)
    ]
    return snapshot(*rows, socket(State.LISTEN, "0.0.0.0:8080", inode=50, send_q=128))


class Looks:
    """Gives the same look again and again, 10 s later each time, or raises what the test puts here."""

    def __init__(self, look: Snapshot, clock: SteppedClock | None = None) -> None:
        self.next = look
        self.error: Exception | None = None
        self.takes = 0.0
        self._clock = clock or SteppedClock()

    def look(self, _asks: Asks) -> Snapshot:
        self._clock.now += self.takes
        if self.error is not None:
            raise self.error
        now, self.next = self.next, later(self.next, 10.0)
        return now

    def follow_up(self, snapshot: Snapshot, _wanted: FollowUp) -> Snapshot:
        return snapshot


def setup(settings: DaemonSettings | None = None, *, detectors: Iterable[str] = ("close_wait_leak",)) -> Setup:
    """These detectors only, so that a poll is quick."""
    return Setup(detectors={code: load_detectors()[code] for code in detectors}, settings=settings or DaemonSettings())


def health() -> Health:
    """Of a daemon that may see everything."""
    return Health(capabilities=frozenset(), state_usable=True, reloaded=0.0)


def poller(source_of: Callable[[str], Source], clock: Clock, watched: Health, told: Setup | None = None) -> Poller:
    """Without a state directory."""
    return Poller(told or setup(), source_of=source_of, clock=clock, health=watched)
