"""Which processes hold a socket, and where one was created that nobody holds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sockwatch.clock import Clock
from sockwatch.collect.cgroup import ROOT_ID, CgroupTree
from sockwatch.collect.processes import Describer
from sockwatch.collect.walk import CAPACITY, Walk
from sockwatch.model.snapshot import Cgroup, Gap, Owners, Process
from sockwatch.model.sockets import SocketTable

BUDGET_SECONDS = 2.0
REMEMBER_SECONDS = 60.0
"""How long a socket that nobody was found to have is not looked for again, and how old a list of the cgroups may be."""
_MOST_IN_CGROUP = 16
"""Of a cgroup with more processes none is named: they are no single service."""
_MOST_PIDS = 3
"""So many pids a gap names."""


class OwnerFinder:
    """Names the holders of sockets, and remembers between steps where it saw them (Walk).

    A remembered holder is believed only if it still is the same process and its file still is that socket. The first
    look costs about 4 us per open file on the host, the next ones only what changed; each takes at most `budget`
    seconds, and what it did not reach comes first at the next. /proc/PID/fd is the table of the thread group's leader:
    what a thread that left it (unshare(CLONE_FILES)) opened is not seen.
    """

    def __init__(
        self, *, clock: Clock, proc: Path = Path("/proc"), budget: float = BUDGET_SECONDS, capacity: int = CAPACITY
    ) -> None:
        self._clock = clock
        self._proc = proc
        self._budget = budget
        self._capacity = capacity
        self._walk = Walk(proc, capacity)
        self._describer = Describer(proc=proc)
        self._tree = CgroupTree(proc)
        self._tree_read_at = float("-inf")
        self._removed: set[int] = set()
        """Ids of cgroups that were not in the tree when it was last read."""
        self._nobodys: dict[int, float] = {}
        """Cookies of sockets that nobody had, and when that was."""

    def find(self, suspects: SocketTable) -> tuple[Owners, tuple[Gap, ...]]:
        """Every holder of these sockets, and a gap where one remained unknown.

        A socket with inode 0 has no file, so it has no holder and is no gap. Without any other socket, and without one
        that was created in a cgroup of its own, nothing is read.
        """
        held = suspects.take(suspects.inode != 0)
        placed = bool((suspects.cgroup > ROOT_ID).any())
        if not len(held) and not placed:  # asked before np.unique, whose first call imports numpy.ma
            return Owners(), ()
        try:
            owners = self._find(held) if len(held) else Owners()
            owners = self._add_cgroups(owners, suspects) if placed else owners
            self._describer.forget_unused()
        except OSError as error:  # no /proc, or no file descriptor left for this process
            return Owners(), (Gap(what="owners", why=f"{self._proc}: {error.strerror}"),)
        unknown = len(np.unique(held.inode)) - len(owners.inodes) if len(held) else 0
        return owners, self._gaps(unknown) if len(held) else ()

    def _find(self, held: SocketTable) -> Owners:
        started = self._clock.monotonic()
        wanted, first = np.unique(held.inode, return_index=True)
        self._walk.begin(wanted, self._clock.monotonic, started + self._budget / 2)
        inodes, pids = self._walk.holders_of(wanted)
        lost = ~np.isin(wanted, inodes)
        cookies = held.cookie[first]
        self._nobodys = {
            cookie: at
            for cookie in cookies[lost].tolist()
            if (at := self._nobodys.get(cookie)) is not None and started - at <= REMEMBER_SECONDS
        }
        lost &= ~np.isin(cookies, list(self._nobodys))
        missing = set(wanted[lost].tolist())
        likely = self._likely(held.take(np.isin(held.inode, wanted[lost])), pids) if missing else ()
        if self._walk.go(wanted, missing, likely, self._clock.monotonic, started + self._budget):
            self._nobodys |= dict.fromkeys(cookies[np.isin(wanted, list(missing))].tolist(), started)
        return self._describe(*self._walk.holders_of(wanted))

    def _likely(self, missing: SocketTable, holders: NDArray[np.int32]) -> tuple[int, ...]:
        """Who may have opened these sockets: those in the cgroups where it was, and those who hold other suspects."""
        cgroups = np.unique(missing.cgroup[missing.cgroup > ROOT_ID]).tolist()
        self._refresh_tree(cgroups)
        near = [pid for number in cgroups for pid in self._tree.pids(number)]
        return (*near, *(pid for pid, _ in Counter(holders.tolist()).most_common()))

    def _describe(self, inodes: NDArray[np.uint32], pids: NDArray[np.int32]) -> Owners:
        """Turn rows into processes, oldest first; one that vanished meanwhile holds nothing any more."""
        identities = sorted((self._walk.identity(pid) for pid in np.unique(pids).tolist()), key=lambda i: (i[1], i[0]))
        numbers: dict[int, int] = {}
        processes: list[Process] = []
        for pid, ticks in identities:
            known = self._describer.describe(pid, ticks=ticks, files=self._walk.files(pid))
            if known is not None:
                numbers[pid] = len(processes)
                processes.append(known)
        alive = np.isin(pids, list(numbers))
        place = np.zeros(int(pids.max(initial=0)) + 1, np.int64)
        place[list(numbers)] = list(numbers.values())
        # Inode and index in one number: sorted, each pair once, however many fds of a process lead to the socket.
        pairs = np.unique(inodes[alive].astype(np.int64) << 32 | place[pids[alive]])
        inodes, by = (pairs >> 32).astype(np.uint32), (pairs & 0xFFFF_FFFF).astype(np.int32)
        first = np.diff(inodes, prepend=0) != 0
        others: dict[int, tuple[int, ...]] = {}
        for inode, number in zip(inodes[~first].tolist(), by[~first].tolist(), strict=True):
            others[inode] = (*others.get(inode, ()), number)
        return Owners(processes=tuple(processes), inodes=inodes[first], first=by[first], others=others)

    def _add_cgroups(self, owners: Owners, suspects: SocketTable) -> Owners:
        """With the cgroups where the suspects were created, and of those that nobody holds who is in them now."""
        numbers = np.unique(suspects.cgroup[suspects.cgroup > ROOT_ID]).tolist()
        without_holder = set(suspects.cgroup[suspects.inode == 0].tolist())
        self._refresh_tree(numbers)
        processes = list(owners.processes)
        cgroups: dict[int, Cgroup] = {}
        for number in numbers:
            cgroup = self._tree.describe(number)
            if cgroup is None:
                continue
            inside = self._members(number, cgroup, processes) if number in without_holder else ()
            cgroups[number] = replace(cgroup, processes=inside)
        return replace(owners, processes=tuple(processes), cgroups=cgroups)

    def _members(self, number: int, cgroup: Cgroup, processes: list[Process]) -> tuple[int, ...]:
        """The processes of a cgroup by their place in `processes`, which gets those that are not there yet."""
        pids = self._tree.pids(number)
        if len(pids) > _MOST_IN_CGROUP:
            return ()
        places: Mapping[int, int] = {process.pid: place for place, process in enumerate(processes)}
        inside = []
        for pid in pids:
            known = self._describer.describe(pid)
            if known is None or (known.unit, known.container) != (cgroup.unit, cgroup.container):
                continue  # it moved, or ended and another one has its pid
            if pid not in places:
                processes.append(known)
            inside.append(places.get(pid, len(processes) - 1))
        return tuple(sorted(inside, key=lambda place: (processes[place].started, processes[place].pid)))

    def _refresh_tree(self, numbers: list[int]) -> None:
        now = self._clock.monotonic()
        new = {number for number in numbers if not self._tree.knows(number)} - self._removed
        if new or now - self._tree_read_at > REMEMBER_SECONDS:
            self._tree.refresh()
            self._tree_read_at = now
            self._removed = {number for number in numbers if not self._tree.knows(number)}

    def _gaps(self, unknown: int) -> tuple[Gap, ...]:
        """Why so many inodes have no known holder; nothing where all of them have one."""
        refused = self._walk.refused if unknown else ()
        unreached = len(self._walk.unreached)
        permission = "no permission to read their file descriptors (CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH)"
        late = f"not read within {self._budget:g} s; the next look goes on there"
        reasons = (
            (len(refused), "process", _named(refused), permission),
            (unreached, "process", "", late),
            (self._walk.forgotten, "open socket", "", f"more than the {self._capacity} that are kept"),
        )
        gaps = tuple(_gap(count, noun, why, named) for count, noun, named, why in reasons if count)
        if gaps or not unknown:
            return gaps
        why = "nobody seen has them (closed meanwhile, the kernel's own, in another PID namespace, hidden by hidepid)"
        return (_gap(unknown, "socket", why),)


def _named(pids: Sequence[int]) -> str:
    """` (pid 1)`, ` (pids 1, 7)`; nothing where they are many."""
    if not 0 < len(pids) <= _MOST_PIDS:
        return ""
    return f" ({'pid' if len(pids) == 1 else 'pids'} {', '.join(map(str, sorted(pids)))})"


def _gap(count: int, noun: str, why: str, named: str = "") -> Gap:
    plural = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return Gap(what="owners", why=f"{count} {noun}{plural}{named}: {why}", count=count)
