"""Network namespaces that only a thread or an open file keeps: rare, and there are many of both to look through."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from sockwatch.clock import Clock
from sockwatch.model.snapshot import Gap

SEARCH_EVERY_SECONDS = 60.0
SEARCH_SECONDS = 1.0
GONE = (FileNotFoundError, ProcessLookupError, NotADirectoryError)
_LINK = re.compile(r"net:\[([0-9]+)\]")
_BATCH = 64
"""Links that are read between two looks at the clock: less than a millisecond."""
_PF_KTHREAD = 0x0020_0000
"""include/linux/sched.h"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A process that is being searched: the rest of its links, and what was found, inode -> the first path."""

    pid: str
    links: Iterator[tuple[int | None, str]]
    ways: dict[int, str] = field(default_factory=dict)


class NamespaceSearch:
    """Searches threads and open files every SEARCH_EVERY_SECONDS, at most `budget` seconds long.

    Who was never searched comes first, then whose search is longest ago. One that the time did not suffice for is gone
    on with at the next search.
    """

    def __init__(self, *, clock: Clock, proc: Path, budget: float = SEARCH_SECONDS) -> None:
        self._clock = clock
        self._proc = proc
        self._budget = budget
        self._at = float("-inf")
        self._found: dict[str, dict[int, str]] = {}
        """As in _Begun, of each process that was searched; the longest ago is the first."""
        self._refused: set[str] = set()
        self._begun: _Begun | None = None

    def search(self, pids: Sequence[str]) -> None:
        """Search these processes, if it is time to, and forget all others."""
        present = set(pids)
        self._found = {pid: ways for pid, ways in self._found.items() if pid in present}
        self._refused &= present
        started = self._clock.monotonic()
        if started - self._at < SEARCH_EVERY_SECONDS:
            return
        self._at = started
        waiting = dict.fromkeys(pid for pid in pids if pid not in self._found) | dict.fromkeys(self._found)
        first = () if self._begun is None else (self._begun.pid,)
        for pid in dict.fromkeys(first) | waiting:
            if not self._search(pid, lambda: self._clock.monotonic() - started > self._budget):
                return

    def _search(self, pid: str, is_over: Callable[[], bool]) -> bool:
        """Whether the time sufficed for this process."""
        if is_over():
            return False
        process = f"{self._proc}/{pid}"
        if self._begun is None:
            self._begun = _Begun(pid=pid, links=chain(_of_threads(process), _of_files(process)))
        refused = False
        try:
            for number, (inode, path) in enumerate(self._begun.links, 1):
                if inode is not None:
                    self._begun.ways.setdefault(inode, path)
                if number % _BATCH == 0 and is_over():
                    return False
        except GONE:
            pass
        except PermissionError:
            refused = is_kernel_thread(process) is False
        self._found.pop(pid, None)
        self._found[pid] = self._begun.ways
        self._begun = None
        (self._refused.add if refused else self._refused.discard)(pid)
        return True

    def ways(self) -> Iterator[tuple[int, str]]:
        """Inodes of namespaces, and paths that lead there."""
        for ways in self._found.values():
            yield from ways.items()
        if self._begun is not None:
            yield from self._begun.ways.items()

    def gaps(self, pids: Sequence[str]) -> Iterator[Gap]:
        """What was not searched of these processes."""
        what, hold = "network namespaces", "whether a thread or an open file keeps another one"
        if refused := len(self._refused):
            why = f"{_processes(refused)}: no permission to see {hold} (CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH)"
            yield Gap(what=what, why=why, count=refused)
        if unreached := sum(pid not in self._found for pid in pids):
            why = f"{_processes(unreached)}: not searched within {self._budget:g} s for {hold}"
            yield Gap(what=what, why=why, count=unreached)


def inode_of(link: str) -> int | None:
    """Of `net:[4026531840]`; nothing else is a network namespace."""
    found = _LINK.fullmatch(link) if link.startswith("net:") else None
    return None if found is None else int(found[1])


def is_kernel_thread(process: str) -> bool | None:
    """Whether /proc/PID is a thread of the kernel, which has no files and is in the initial namespaces.

    None where this user does not see the process, or it is gone.
    """
    try:
        stat = Path(f"{process}/stat").read_bytes()
    except OSError:
        return None
    return bool(int(stat[stat.rindex(b")") + 2 :].split()[6]) & _PF_KTHREAD)


def _processes(count: int) -> str:
    return f"{count} process" if count == 1 else f"{count} processes"


def _of_threads(process: str) -> Iterator[tuple[int | None, str]]:
    """The namespace of each thread but the first, whose is the process's."""
    # The number of links tells the threads without listing them (proc_task_getattr, fs/proc/base.c).
    if os.stat(f"{process}/task").st_nlink <= 3:  # noqa: PTH116, PLR2004 - thousands; "." and ".." and one thread
        return
    for thread in os.listdir(f"{process}/task"):  # noqa: PTH208 - names, not paths
        yield from _read(f"{process}/task/{thread}/ns/net")


def _of_files(process: str) -> Iterator[tuple[int | None, str]]:
    """The namespace that each open file is, None for one that is none."""
    for name in os.listdir(f"{process}/fd"):  # noqa: PTH208 - names, not paths
        yield from _read(f"{process}/fd/{name}")


def _read(path: str) -> Iterator[tuple[int | None, str]]:
    try:
        yield inode_of(os.readlink(path)), path  # noqa: PTH115 - tens of thousands of them
    except GONE:
        return
