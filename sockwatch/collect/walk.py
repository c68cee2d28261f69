"""The walk over /proc/*/fd, which remembers what it saw and goes on where it stopped."""

from collections.abc import Callable, Iterable, Sequence, Set as AbstractSet
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sockwatch.collect.fd_walk import Identity, Reading, list_processes, read_sockets, verify
from sockwatch.collect.processes import count_fds

CAPACITY = 1 << 20
"""How many open sockets are remembered, 8 bytes each; at most half of them such that nobody asked about yet."""
SWEEP_SHARE = 0.01
"""What part of all open files is read again at each look at least, though nothing says that it changed: there a socket
may be that was passed on over SCM_RIGHTS."""
SWEEP_SECONDS = 60.0
"""Within so long all of them are read again, as far as SWEEP_FILES suffices."""
SWEEP_FILES = 2000
"""So many files a second are read again at most for that: less than a hundredth of a core."""
LONGEST_PAUSE = 10.0
"""What passed since the look before counts for so long at most: who asks once a minute does not pay for all at once."""
_LEAST_FILES = 8
"""What reading a process costs at least, in files."""

Now = Callable[[], float]


class Walk:
    """Which process has which socket open, as far as it was read, process by process.

    A socket that is new since the last look is held by the process that opened it, by those that were forked from it
    since, and by those that it was passed to over a Unix socket. So a look reads all processes that it does not know,
    and of the others only so many as it takes to find each new socket once; what was passed on is found where its
    former holder has closed it, else when the sweep comes by.
    """

    def __init__(self, proc: Path, capacity: int = CAPACITY) -> None:
        self._proc = proc
        self._capacity = capacity
        self._turn = 0
        self._folders: dict[int, int] = {}
        self._readings: dict[int, Reading] = {}
        self._complete: set[int] = set()
        self._size = 0
        self._files = 0
        self._saved = 0.0
        self._began: float | None = None
        self._elapsed = 0.0
        """Seconds since the look before, 0 at the first one."""
        self._columns: tuple[NDArray[np.uint32], NDArray[np.int32]] | None = None
        self._unsure: set[int] = set()
        self.forgotten = 0
        """Holders that were asked about at this look, and had no place."""

    def begin(self, wanted: NDArray[np.uint32], now: Now, deadline: float) -> None:
        """A new look: forget who is gone, and of the rest what no longer holds these inodes. Raises OSError."""
        self._turn += 1
        began = now()
        self._elapsed = 0.0 if self._began is None else began - self._began
        self._began = began
        self._unsure = set()
        self.forgotten = 0
        folders = list_processes(self._proc)
        for pid in [pid for pid in self._readings if folders.get(pid) != self._folders[pid]]:
            self._forget(pid)
        self._folders = folders
        inodes, holders = self._table()
        known = np.unique(holders[np.isin(inodes, wanted)]).tolist()
        for number, pid in enumerate(known):
            if now() > deadline:
                self._unsure.update(known[number:])
                break
            stopped = self._verify(pid, wanted, lambda: now() > deadline)
            if stopped is not None:
                reading = self._readings[pid]
                self._keep(pid, replace(reading.without(reading.fds >= stopped), resume_at=stopped))

    def go(
        self, wanted: NDArray[np.uint32], missing: set[int], likely: Iterable[int], now: Now, deadline: float
    ) -> bool:
        """Read every process not known yet, and while an inode is missing the others: the likely ones first.

        `missing` loses what is found. False where the time was over before.
        """
        unread = sorted(self.unreached, key=lambda pid: count_fds(f"{self._proc}/{pid}"))  # the largest delays nobody
        for pid in chain(likely if missing else (), unread, self._least_recent() if missing else ()):
            if not missing and pid in self._complete:
                continue
            if not self._read(pid, wanted, missing, now, deadline):
                return False
        return self._sweep(wanted, missing, now, deadline)

    def holders_of(self, wanted: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
        """These inodes with the pids that hold them at this look: two parallel columns, a row for each descriptor."""
        inodes, holders = self._table()
        rows = np.isin(inodes, wanted)
        if self._unsure:
            rows &= ~np.isin(holders, list(self._unsure))
        return inodes[rows], holders[rows]

    def identity(self, pid: int) -> Identity:
        """Pid and start time of a process that was read."""
        return self._readings[pid].identity

    def files(self, pid: int) -> int:
        """How many files a process had open, of any kind, when it was read."""
        return self._readings[pid].files

    @property
    def refused(self) -> Sequence[int]:
        """Pids whose open files this user may not see."""
        return [pid for pid, reading in self._readings.items() if reading.refused]

    @property
    def unreached(self) -> AbstractSet[int]:
        """Pids whose open files are not all read yet, or were not verified at this look."""
        return (self._folders.keys() - self._complete) | self._unsure

    def _verify(self, pid: int, wanted: NDArray[np.uint32], out_of_time: Callable[[], bool]) -> int | None:
        """Forget what this process does not hold any more; the file descriptor before which the time was over."""
        reading = self._readings[pid]
        rows = np.flatnonzero(np.isin(reading.inodes, wanted))
        holds = verify(self._proc, reading, rows, out_of_time)
        if holds is None:
            self._forget(pid)
            return None
        if not holds.all():
            lost = np.zeros(len(reading.inodes), np.bool_)
            lost[rows[: len(holds)][~holds]] = True
            self._keep(pid, reading.without(lost))
        return int(reading.fds[rows[len(holds)]]) if len(holds) < len(rows) else None

    def _read(self, pid: int, wanted: NDArray[np.uint32], missing: set[int], now: Now, deadline: float) -> bool:
        """Read one process, if that was not done at this look; False where the time was over before its last file."""
        before = self._readings.get(pid)
        if pid not in self._folders or (before is not None and before.turn == self._turn):
            return True
        if now() > deadline:
            return False
        reading = read_sockets(self._proc, pid, self._turn, before=before, out_of_time=lambda: now() > deadline)
        if reading is None:
            self._forget(pid)
            del self._folders[pid]
            return True
        # What was read of it at an earlier look, and not verified at this one for want of time.
        unsure = pid in self._unsure and before is not None and before.resume_at is not None
        self._keep(pid, self._fit(reading, wanted))
        self._unsure.discard(pid)
        if unsure and self._verify(pid, wanted, lambda: now() > deadline) is not None:
            self._unsure.add(pid)
            return False
        if missing and pid in self._readings:
            missing.difference_update(self._readings[pid].inodes.tolist())
        return reading.resume_at is None

    def _least_recent(self) -> Sequence[int]:
        return sorted(self._readings, key=lambda pid: self._readings[pid].turn)

    def _sweep(self, wanted: NDArray[np.uint32], missing: set[int], now: Now, deadline: float) -> bool:
        """Read again what was not read for the longest; what a large process takes is saved up for over the looks."""
        passed = min(self._elapsed, LONGEST_PAUSE)
        due = min(passed * self._files / SWEEP_SECONDS, passed * SWEEP_FILES)
        self._saved = min(self._saved + max(SWEEP_SHARE * self._files, due), self._files)
        for pid in self._least_recent():
            reading = self._readings[pid]
            cost = max(reading.files, _LEAST_FILES)
            if reading.turn == self._turn or cost > self._saved:
                break
            self._saved -= cost
            if not self._read(pid, wanted, missing, now, deadline):
                return False
        return True

    def _fit(self, reading: Reading, wanted: NDArray[np.uint32]) -> Reading:
        """As much of it as there is room for: first what was asked about."""
        before = self._readings.get(reading.identity[0])
        room = self._capacity - self._size + (0 if before is None else len(before.inodes))
        if len(reading.inodes) <= room - self._capacity // 2:
            return reading
        others = ~np.isin(reading.inodes, wanted)
        over = len(reading.inodes) - int(others.sum()) - max(room, 0)
        if over > 0:
            self.forgotten += over
            others[np.flatnonzero(~others)[-over:]] = True
        return reading.without(others)

    def _keep(self, pid: int, reading: Reading) -> None:
        self._forget(pid)
        self._readings[pid] = reading
        self._size += len(reading.inodes)
        self._files += max(reading.files, _LEAST_FILES)
        if reading.resume_at is None:
            self._complete.add(pid)

    def _forget(self, pid: int) -> None:
        before = self._readings.pop(pid, None)
        if before is not None:
            self._size -= len(before.inodes)
            self._files -= max(before.files, _LEAST_FILES)
            self._complete.discard(pid)
        self._unsure.discard(pid)
        self._columns = None

    def _table(self) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
        """All that is remembered: the inodes, and the pid that has each open."""
        if self._columns is None:
            readings = [reading for reading in self._readings.values() if len(reading.inodes)]
            pids = np.array([reading.identity[0] for reading in readings], np.int32)
            inodes = [np.empty(0, np.uint32), *(reading.inodes for reading in readings)]
            self._columns = np.concatenate(inodes), np.repeat(pids, [len(reading.inodes) for reading in readings])
        return self._columns
