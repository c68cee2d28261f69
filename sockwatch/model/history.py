"""What more than two looks tell: a bounded value that the pipeline carries from step to step."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sockwatch.model.identity import NOT_THERE, find_cookies
from sockwatch.model.snapshot import UNKNOWN, Process
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

MOST_SOCKETS = 100_000
"""More are not remembered: those that came last are left out."""
MOST_LOOKS = 12
"""How far counts go back."""
_LINE = 3
"""A slope takes so many looks at least."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts:
    """How many sockets in one state, or open files, a process had at each of the last looks, oldest first."""

    times: tuple[float, ...] = ()
    numbers: tuple[int, ...] = ()

    @property
    def slope(self) -> float | None:
        """How much they grow in a second, a straight line through all looks; None for less than three."""
        if len(self.times) < _LINE:
            return None
        times = np.array(self.times) - self.times[0]
        away = times - times.mean()
        return float((away * np.array(self.numbers)).sum() / (away**2).sum())

    def then(self, time: float, number: int) -> "Counts":
        """With one look more; the oldest is forgotten when they are too many."""
        return Counts(times=(*self.times, time)[-MOST_LOOKS:], numbers=(*self.numbers, number)[-MOST_LOOKS:])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """The sockets that detectors looked at and that were still there at the last look; all columns of equal length.

    `since` is when a socket was first seen in the state it has (by its cookie, without a break), in seconds as
    Snapshot.monotonic, at the end of that look. `owner` is the index in `processes` of its last known holder, or
    UNKNOWN; `role` its last known Role. `counts` has what each pid, as it started, held in each state: of the sockets
    remembered here, not of all. `files` has how many files it had open, over the looks without a break that knew it.
    """

    cookie: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    state: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    since: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))
    owner: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    role: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    processes: tuple[Process, ...] = ()
    counts: Mapping[tuple[int, float, State], Counts] = field(default_factory=dict)
    files: Mapping[tuple[int, float], Counts] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cookie)

    def find(self, sockets: SocketTable) -> NDArray[np.intp]:
        """For each socket its row here, or NOT_THERE."""
        place = np.full(len(sockets), NOT_THERE, np.intp)
        if not len(self) or not len(sockets):
            return place
        rows = find_cookies(self.cookie, sockets.cookie)  # few are remembered of many
        known = rows != NOT_THERE
        place[rows[known]] = np.flatnonzero(known)
        return place

    def holders(self, sockets: SocketTable) -> tuple[Process, ...]:
        """Every process that any of these sockets was last seen with, oldest first."""
        place = self.find(sockets)
        owners = self.owner[place[place != NOT_THERE]]
        known = [self.processes[i] for i in np.unique(owners[owners != UNKNOWN])]
        return tuple(sorted(known, key=lambda process: (process.started, process.pid)))

    def slope(self, process: Process, state: State) -> float | None:
        """Sockets a second by which those of a process in a state grew over the last looks; None where not known."""
        counts = self.counts.get((process.pid, process.started, state))
        return None if counts is None else counts.slope

    def files_slope(self, process: Process, monotonic: float) -> float | None:
        """Files a second by which those of a process grow now, its `fds` being those of a look at `monotonic`.

        The lesser of their growth since the last look and of that over the looks before, so that neither a jump nor
        one that is over counts as growth. None where the last look did not know them.
        """
        files = self.files.get((process.pid, process.started))
        if files is None or process.fds is None or monotonic <= files.times[-1]:
            return None
        latest = (process.fds - files.numbers[-1]) / (monotonic - files.times[-1])
        return latest if files.slope is None else min(latest, files.slope)
