"""Which processes hold a socket: its inode, looked for behind every open file of every process."""

import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sockwatch.clock import Clock
from sockwatch.collect.processes import count_fds, describe
from sockwatch.model.snapshot import UNKNOWN, Gap, Owners, Process
from sockwatch.model.sockets import SocketTable

BUDGET_SECONDS = 2.0
REMEMBER_SECONDS = 60.0
"""How long a walk is believed. Its holders are verified each time, but one that joined them since (by fork or
SCM_RIGHTS) is only seen by the next walk."""
CAPACITY = 1 << 20
"""How many open sockets a walk remembers, 12 bytes each; at most half of them such that nobody asked about yet."""
_BATCH = 1024
"""Files between two looks at the clock: some 4 ms."""
_VANISHED = (FileNotFoundError, ProcessLookupError)
_PF_KTHREAD = 0x0020_0000
"""include/linux/sched.h"""

Identity = tuple[int, int]
"""Pid and start time in clock ticks since boot: no two processes of one boot share both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """What one walk saw: three parallel columns, one row per open file that is a socket."""

    walked_at: float = float("-inf")
    identities: tuple[Identity, ...] = ()
    inodes: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    holders: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    """Indexes in `identities`."""
    fds: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    open_files: dict[int, int] = field(default_factory=dict)
    """Pid -> how many files it had open."""
    nobodys: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    """What was asked about and found nowhere."""
    refused: tuple[int, ...] = ()
    """Pids whose open files this user may not see."""
    unreached: int = 0
    """Processes that the time did not suffice for."""
    forgotten: int = 0
    """Holders that were asked about, and had no place."""

    def rows_of(self, wanted: NDArray[np.uint32]) -> NDArray[np.intp]:
        """The rows with one of these inodes."""
        return np.flatnonzero(np.isin(self.inodes, wanted))


class _Walk:
    """One walk over the processes, as it grows."""

    def __init__(self, wanted: frozenset[int], capacity: int) -> None:
        self._wanted = wanted
        self._capacity = capacity
        self._identities: list[Identity] = []
        self._inodes, self._holders, self._fds = array("I"), array("i"), array("i")
        self._open_files: dict[int, int] = {}
        self._forgotten = 0
        self.refused: list[int] = []

    def read(self, pid: int, process: int, *, out_of_time: Callable[[], bool]) -> bool:
        """Add the sockets of one process (an open /proc/PID); False when the time was over before its last file."""
        inodes, fds = array("I"), array("i")
        in_time = True
        with _opened("fd", process) as folder:
            names = os.listdir(folder)  # noqa: PTH208 - a file descriptor, not a path
            for start in range(0, len(names), _BATCH):
                if out_of_time():
                    in_time = False
                    break
                for name in names[start : start + _BATCH]:
                    link = _link(name, folder)
                    if link.startswith("socket:["):
                        inodes.append(int(link[8:-1]))
                        fds.append(int(name))
        if inodes:
            self._add((pid, _start_ticks(process)), inodes, fds)
            self._open_files[pid] = len(names)
        return in_time

    def _add(self, identity: Identity, inodes: "array[int]", fds: "array[int]") -> None:
        holder = len(self._identities)
        self._identities.append(identity)
        for inode, fd in zip(inodes, fds, strict=True):
            asked = inode in self._wanted
            if len(self._inodes) < (self._capacity if asked else self._capacity // 2):
                self._inodes.append(inode)
                self._holders.append(holder)
                self._fds.append(fd)
            elif asked:
                self._forgotten += 1

    def listing(self, *, walked_at: float, unreached: int) -> _Listing:
        """What was found."""
        return _Listing(
            walked_at=walked_at,
            identities=tuple(self._identities),
            inodes=np.array(self._inodes, np.uint32),
            holders=np.array(self._holders, np.int32),
            fds=np.array(self._fds, np.int32),
            nobodys=np.array(sorted(self._wanted.difference(self._inodes)), np.uint32),
            open_files=self._open_files,
            refused=tuple(self.refused),
            unreached=unreached,
            forgotten=self._forgotten,
        )


class OwnerFinder:
    """Names the holders of sockets, and remembers between steps where it saw them.

    A remembered holder is believed only if it still is the same process and its file still is that socket. An inode
    that is not remembered costs one walk over /proc/*/fd: about 4 us per open file on the host, at most `budget`
    seconds. /proc/PID/fd is the table of the thread group's leader: what a thread that left it (unshare(CLONE_FILES))
    opened is not seen.
    """

    def __init__(
        self, *, clock: Clock, proc: Path = Path("/proc"), budget: float = BUDGET_SECONDS, capacity: int = CAPACITY
    ) -> None:
        self._clock = clock
        self._proc = proc
        self._budget = budget
        self._capacity = capacity
        self._listing = _Listing()
        self._started: dict[Identity, float] = {}

    def find(self, suspects: SocketTable) -> tuple[Owners, tuple[Gap, ...]]:
        """Every holder of these sockets, and a gap where one remained unknown.

        A socket with inode 0 has no file, so it has no holder and is no gap. Without any other socket nothing is read.
        """
        held = suspects.inode[suspects.inode != 0]
        if not len(held):  # asked before np.unique, whose first call imports numpy.ma: a healthy host does without
            return Owners(), ()
        wanted = np.unique(held)
        try:
            owners = self._describe(self._locate(wanted))
        except OSError as error:  # no /proc, or no file descriptor left for this process
            return Owners(), (Gap(what="owners", why=f"{self._proc}: {error.strerror}"),)
        return owners, self._gaps(len(wanted) - len(owners.inodes))

    def _locate(self, wanted: NDArray[np.uint32]) -> NDArray[np.intp]:
        """The rows of the listing that say who holds these inodes, the listing renewed where it must be."""
        started = self._clock.monotonic()
        if started - self._listing.walked_at <= REMEMBER_SECONDS:
            rows = self._verify(self._listing.rows_of(wanted), started + self._budget / 2)
            # What the walk itself did not find, another one would not either.
            if np.isin(wanted, self._listing.inodes[rows]).sum() == (~np.isin(wanted, self._listing.nobodys)).sum():
                return rows
        self._listing = self._walk(wanted, started + self._budget)
        return self._listing.rows_of(wanted)

    def _verify(self, rows: NDArray[np.intp], deadline: float) -> NDArray[np.intp]:
        """Those of the rows that still are true; rows of one process are neighbours, as the walk left them."""
        holders = self._listing.holders[rows]
        true = np.zeros(len(rows), np.bool_)
        for holder in np.unique(holders).tolist():
            if self._clock.monotonic() > deadline:
                break
            low, high = np.searchsorted(holders, [holder, holder + 1])
            true[low:high] = self._still_holds(self._listing.identities[holder], rows[low:high])
        return rows[true]

    def _still_holds(self, identity: Identity, rows: NDArray[np.intp]) -> list[bool]:
        inodes, fds = self._listing.inodes[rows].tolist(), self._listing.fds[rows].tolist()
        try:
            with _opened(self._proc / str(identity[0])) as process:
                if _start_ticks(process) == identity[1]:
                    with _opened("fd", process) as folder:
                        links = [_link(str(fd), folder) for fd in fds]
                    return [link == f"socket:[{inode}]" for link, inode in zip(links, inodes, strict=True)]
        except (*_VANISHED, PermissionError):
            pass
        return [False] * len(inodes)

    def _walk(self, wanted: NDArray[np.uint32], deadline: float) -> _Listing:
        """Every open socket of every process, as far as the time allows."""
        started = self._clock.monotonic()
        walk = _Walk(frozenset(wanted.tolist()), self._capacity)
        # The process with the most files last, so that it takes only its own time.
        pids = sorted((int(path.name) for path in self._proc.iterdir() if path.name.isdecimal()), key=self._count_fds)

        def out_of_time() -> bool:
            return self._clock.monotonic() > deadline

        unreached = 0
        for number, pid in enumerate(pids):
            try:
                with _opened(self._proc / str(pid)) as process:
                    in_time = walk.read(pid, process, out_of_time=out_of_time)
            except _VANISHED:
                continue
            except PermissionError:
                walk.refused.append(pid)
                continue
            if not in_time:
                unreached = len(pids) - number
                break
        return walk.listing(walked_at=started, unreached=unreached)

    def _count_fds(self, pid: int) -> int:
        return count_fds(self._proc / str(pid))

    def _describe(self, rows: NDArray[np.intp]) -> Owners:
        """Turn rows into processes, oldest first; one that vanished meanwhile holds nothing any more."""
        holders, inodes = self._listing.holders[rows], self._listing.inodes[rows]
        index = np.full(len(self._listing.identities), UNKNOWN, np.int32)
        processes: list[Process] = []
        started: dict[Identity, float] = {}
        for holder in sorted(np.unique(holders).tolist(), key=lambda h: _age(self._listing.identities[h])):
            identity = self._listing.identities[holder]
            process = describe(identity[0], proc=self._proc, fds=self._listing.open_files[identity[0]])
            if process is not None and self._is_alive(identity):
                # Seconds since 1970 move when the clock is set; who it is must not.
                started[identity] = self._started.get(identity, process.started)
                index[holder] = len(processes)
                processes.append(replace(process, started=started[identity]))
        self._started = started
        alive = index[holders] != UNKNOWN
        # Inode and index in one number: sorted, each pair once, however many fds of a process lead to the socket.
        pairs = np.unique(inodes[alive].astype(np.int64) << 32 | index[holders[alive]])
        inodes, by = (pairs >> 32).astype(np.uint32), (pairs & 0xFFFF_FFFF).astype(np.int32)
        first = np.diff(inodes, prepend=0) != 0
        others: dict[int, tuple[int, ...]] = {}
        for inode, number in zip(inodes[~first].tolist(), by[~first].tolist(), strict=True):
            others[inode] = (*others.get(inode, ()), number)
        return Owners(processes=tuple(processes), inodes=inodes[first], first=by[first], others=others)

    def _is_alive(self, identity: Identity) -> bool:
        try:
            with _opened(self._proc / str(identity[0])) as process:
                return _start_ticks(process) == identity[1]
        except (*_VANISHED, PermissionError):
            return False

    def _gaps(self, unknown: int) -> tuple[Gap, ...]:
        """Why so many inodes have no known holder; nothing where all of them have one."""
        if not unknown and not self._listing.forgotten:
            return ()
        listing = self._listing
        refused = sum(not self._is_kernel_thread(pid) for pid in listing.refused)
        permission = "no permission to read their file descriptors (CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH)"
        reasons = (
            (refused, "process", permission),
            (listing.unreached, "process", f"not read within {self._budget:g} s"),
            (listing.forgotten, "open socket", f"more than the {self._capacity} that are kept"),
        )
        gaps = tuple(_gap(count, noun, why) for count, noun, why in reasons if count)
        if gaps or not unknown:
            return gaps
        why = "nobody seen has them (closed meanwhile, the kernel's own, in another PID namespace, hidden by hidepid)"
        return (_gap(unknown, "socket", why),)

    def _is_kernel_thread(self, pid: int) -> bool:
        """Whether it is a thread of the kernel, which has no open files that anybody could miss."""
        try:
            stat = (self._proc / str(pid) / "stat").read_bytes()
        except (*_VANISHED, PermissionError):
            return False
        return bool(int(_fields_after_name(stat)[6]) & _PF_KTHREAD)


def _gap(count: int, noun: str, why: str) -> Gap:
    plural = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return Gap(what="owners", why=f"{count} {noun}{plural}: {why}", count=count)


@contextmanager
def _opened(path: Path | str, folder: int | None = None) -> Iterator[int]:
    """A folder of /proc as a file descriptor: what is read through it is of one process, even if the pid is reused."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


def _link(name: str, folder: int) -> str:
    """Where the link leads, or nothing if it was just closed. Raises ProcessLookupError or PermissionError."""
    try:
        return os.readlink(name, dir_fd=folder)
    except FileNotFoundError:
        return ""


def _start_ticks(process: int) -> int:
    fd = os.open("stat", os.O_RDONLY, dir_fd=process)
    try:
        return int(_fields_after_name(os.read(fd, 4096))[19])
    finally:
        os.close(fd)


def _fields_after_name(stat: bytes) -> list[bytes]:
    """/proc/PID/stat from its third field on: the name before them may hold anything, parentheses included."""
    return stat[stat.rindex(b")") + 2 :].split()


def _age(identity: Identity) -> tuple[int, int]:
    """Sorts the oldest process first."""
    return identity[1], identity[0]
