"""What a detector is made of. A detector module ends with `DETECTOR = Detector(...)`; its file name is its code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

MIN_AGE_SECONDS = 60.0
"""How long a state must have lasted to be called stuck."""


class NoDataError(Exception):
    """A detector cannot tell: a field, a counter or a second look is missing. The message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Thresholds that every detector has; a detector with more of them derives its own from this."""

    min_age: float = MIN_AGE_SECONDS
    """How long, in seconds, a state must have lasted to be called stuck."""


S = TypeVar("S", bound=Settings)


def _nobody(_window: Window, _settings: Settings) -> SocketTable:
    return SocketTable.empty()


def _never(_window: Window, _settings: Settings) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector(Generic[S]):
    """One diagnosis.

    `detect` is a pure function of a window; it raises NoDataError where it cannot tell. `suspects` chooses the sockets
    whose holders `detect` wants to name: it runs before owners are looked up, so that a healthy host pays nothing for
    them. `asks_autobound` runs then as well, and says whether the column `autobound` shall be filled, which costs one
    more walk over all sockets.
    """

    variants: tuple[str, ...] = ()
    asks: Asks
    settings: S
    detect: Callable[[Window, S], Iterator[Finding]]
    rows: frozenset[State] = frozenset()
    """Further states than `asks.states` whose sockets it must see all of: where they were not read, it has no data."""
    partly: bool = False
    """Whether what it finds without some of these sockets is right all the same; it runs then, and has no data."""
    suspects: Callable[[Window, S], SocketTable] = _nobody
    asks_autobound: Callable[[Window, S], bool] = _never

    def misses(self, window: Window) -> frozenset[State]:
        """The states whose sockets it must see, and which were not read."""
        return (self.asks.states | self.rows) & window.unread
