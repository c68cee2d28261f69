"""Every network namespace that something on this host keeps: a process, a thread, a mount, or an open file."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from sockwatch.clock import Clock
from sockwatch.collect.cgroup import parse_cgroup
from sockwatch.collect.namespaces import Place, given_names, is_free, own_inode
from sockwatch.model.snapshot import Gap

SEARCH_EVERY_SECONDS = 60.0
"""How often threads and open files are searched: a namespace that nothing but one of them keeps is rare, and there are
many of both."""
SEARCH_SECONDS = 1.0
MOST = 65_534
"""A table of sockets numbers the namespaces with 16 bits."""
_WAYS = 4
"""How many processes of a namespace are remembered as ways in: any may end before it is used."""
_LINK = re.compile(r"net:\[([0-9]+)\]")
_MOUNT = re.compile(rb"^\S+ \S+ \S+ net:\[([0-9]+)\] (\S+) .* - nsfs ", re.MULTILINE)
"""proc_pid_mountinfo(5): the fourth field is the root of the mount, the fifth where it is."""
_OCTAL = re.compile(rb"\\([0-7]{3})")
_GONE = (FileNotFoundError, ProcessLookupError, NotADirectoryError)
_PF_KTHREAD = 0x0020_0000
"""include/linux/sched.h"""

Ways = dict[int, list[str]]
"""Inode -> paths that lead to the namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The namespaces but for the caller's own.

    `hidden` are those of processes whose namespace this user may not see, as net_number() numbers them: each may be one
    of `places` all the same.
    """

    places: tuple[Place, ...]
    hidden: frozenset[int]
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """What the last search of threads and open files brought, and of how many processes it did not."""

    at: float = float("-inf")
    ways: Ways
    unreached: int = 0
    refused: int = 0


class NamespaceLister:
    """Lists the namespaces, and remembers what is costly to find.

    The namespace of each process and those that are mounted are looked up each time. Threads and open files are
    searched every SEARCH_EVERY_SECONDS, at most SEARCH_SECONDS long. Paths inside another mount namespace are never
    opened, so one that is only mounted in there is not seen; nor is one that only a socket keeps.
    """

    def __init__(self, *, clock: Clock, proc: Path = Path("/proc"), budget: float = SEARCH_SECONDS) -> None:
        self._clock = clock
        self._proc = proc
        self._budget = budget
        self._search = _Search(ways={})
        self._containers: dict[int, str] = {}

    def find(self) -> Listing:
        """The namespaces as they are now. Raises DumpError without /proc."""
        own = own_inode(self._proc)
        pids = [name for name in os.listdir(self._proc) if name.isdecimal()]  # noqa: PTH208 - names, not paths
        pids.sort(key=int)
        processes, hidden = self._of_processes(pids)
        if self._clock.monotonic() - self._search.at >= SEARCH_EVERY_SECONDS:
            self._search = self._search_in(pids)
        ways: Ways = {}
        for inode, path in chain(
            _of_mounts(self._proc),
            ((inode, f"{self._proc}/{pid}/ns/net") for inode, held in processes.items() for pid in held[:_WAYS]),
            ((inode, path) for inode, paths in self._search.ways.items() for path in paths),
        ):
            if inode != own:
                ways.setdefault(inode, []).append(path)
        names = self._name(ways, processes)
        places = [Place(inode=inode, name=names[inode], paths=tuple(paths)) for inode, paths in ways.items()]
        places.sort(key=lambda place: (place.name.startswith("net:["), place.name))
        return Listing(
            places=tuple(places[:MOST]),
            hidden=hidden - {net_number(self._proc, "thread-self") or 0},
            gaps=tuple(self._gaps(len(places))),
        )

    def _of_processes(self, pids: list[str]) -> tuple[dict[int, list[str]], frozenset[int]]:
        """The pids in each namespace, and the namespaces of which this user may know no more than that they are."""
        held: dict[int, list[str]] = {}
        hidden: set[int] = set()
        for pid in pids:
            try:
                inode = _inode(os.readlink(f"{self._proc}/{pid}/ns/net"))  # noqa: PTH115 - thousands of them
            except _GONE:
                continue
            except PermissionError:
                hidden.add(net_number(self._proc, pid) or 0)
            else:
                if inode is not None:
                    held.setdefault(inode, []).append(pid)
        return held, frozenset(hidden - {0})

    def _search_in(self, pids: list[str]) -> _Search:
        started = self._clock.monotonic()
        ways: Ways = {}
        refused = 0
        for number, pid in enumerate(pids):
            if self._clock.monotonic() - started > self._budget:
                return _Search(at=started, ways=ways, unreached=len(pids) - number, refused=refused)
            try:
                for inode, path in chain(_of_threads(f"{self._proc}/{pid}"), _of_files(f"{self._proc}/{pid}")):
                    paths = ways.setdefault(inode, [])
                    if len(paths) < _WAYS:
                        paths.append(path)
            except _GONE:
                continue
            except PermissionError:
                refused += not _is_kernel_thread(f"{self._proc}/{pid}")
        return _Search(at=started, ways=ways, refused=refused)

    def _name(self, ways: Ways, processes: Mapping[int, list[str]]) -> Mapping[int, str]:
        """A name for each; no two have the same one.

        A container's name is the id in the cgroup of a process inside. Whoever may make cgroups can claim any id, so
        one that two namespaces claim belongs to the one that had it before, or to neither.
        """
        names = {inode: f"net:[{inode}]" for inode in ways} | dict(given_names())
        claims = {
            inode: claimed
            for inode in ways
            if names[inode].startswith("net:[")
            and (claimed := self._containers_of(processes.get(inode, [])[:_WAYS])) is not None
        }
        had = {inode: name for inode, name in self._containers.items() if name in claims.get(inode, ())}
        # An inode may serve again, but then another process inside claims another id.
        taken = {*names.values(), *had.values()}
        claimants = Counter(chain.from_iterable(claims.values()))
        new = {
            inode: claimed[0]
            for inode, claimed in claims.items()
            if inode not in had and claimants[claimed[0]] == 1 and claimed[0] not in taken
        }
        self._containers = had | new
        return names | self._containers

    def _containers_of(self, pids: list[str]) -> tuple[str, ...] | None:
        """The ids of the containers that these processes are in; None where they are in none."""
        found: dict[str, None] = {}
        for pid in pids:
            try:
                text = Path(f"{self._proc}/{pid}/cgroup").read_bytes().decode("utf-8", "backslashreplace")
            except OSError:
                continue
            container = parse_cgroup(text).container
            if container is not None and is_free(container):
                found[container] = None
        return tuple(found) or None

    def _gaps(self, places: int) -> Iterator[Gap]:
        what, hold = "network namespaces", "whether a thread or an open file keeps another one"
        search = self._search
        if search.refused:
            why = f"{_processes(search.refused)}: no permission to see {hold} (CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH)"
            yield Gap(what=what, why=why, count=search.refused)
        if search.unreached:
            why = f"{_processes(search.unreached)}: not searched within {self._budget:g} s for {hold}"
            yield Gap(what=what, why=why, count=search.unreached)
        if places > MOST:
            yield Gap(what=what, why=f"more than the {MOST} that are looked at", count=places - MOST)


def _processes(count: int) -> str:
    return f"{count} process" if count == 1 else f"{count} processes"


def net_number(proc: Path, process: str) -> int | None:
    """A number that the network namespace of a process has for as long as it lives, which anybody may see.

    It is the inode of a file in /proc/PID/net, a folder that each namespace has one of (proc_net_ns_init,
    fs/proc/proc_net.c). None where the process is gone.
    """
    try:
        return os.stat(f"{proc}/{process}/net/sockstat").st_ino  # noqa: PTH116 - for each process
    except OSError:
        return None


def number_of(proc: Path, place: Place) -> int:
    """The net_number() of a namespace that may be entered or not; minus its inode where no process tells."""
    for path in place.paths:
        process = path.removeprefix(f"{proc}/").removesuffix("/ns/net")
        if process.isdecimal() and (number := net_number(proc, process)) is not None:
            return number
    return -place.inode


def _of_mounts(proc: Path) -> Iterator[tuple[int, str]]:
    try:
        mounts = (proc / "thread-self" / "mountinfo").read_bytes()
    except OSError:
        return
    for inode, path in _MOUNT.findall(mounts):
        yield int(inode), os.fsdecode(_OCTAL.sub(lambda code: bytes([int(code[1], 8)]), path))


def _of_threads(process: str) -> Iterator[tuple[int, str]]:
    """Of the threads but the first, whose namespace is the process's."""
    # The number of links tells the threads without listing them (proc_task_getattr, fs/proc/base.c).
    if os.stat(f"{process}/task").st_nlink <= 3:  # noqa: PTH116, PLR2004 - thousands; "." and ".." and one thread
        return
    for thread in os.listdir(f"{process}/task"):  # noqa: PTH208 - names, not paths
        path = f"{process}/task/{thread}/ns/net"
        try:
            inode = _inode(os.readlink(path))  # noqa: PTH115 - thousands of them
        except _GONE:
            continue
        if inode is not None:
            yield inode, path


def _of_files(process: str) -> Iterator[tuple[int, str]]:
    for name in os.listdir(f"{process}/fd"):  # noqa: PTH208 - names, not paths
        path = f"{process}/fd/{name}"
        try:
            inode = _inode(os.readlink(path))  # noqa: PTH115 - tens of thousands of them
        except _GONE:
            continue
        if inode is not None:
            yield inode, path


def _inode(link: str) -> int | None:
    """Of `net:[4026531840]`; nothing else is a network namespace."""
    found = _LINK.fullmatch(link) if link.startswith("net:") else None
    return None if found is None else int(found[1])


def _is_kernel_thread(process: str) -> bool:
    """Whether it is a thread of the kernel, which has no files and is in the initial namespace."""
    try:
        stat = Path(f"{process}/stat").read_bytes()
    except OSError:
        return True  # it is gone, and has no files any more
    return bool(int(stat[stat.rindex(b")") + 2 :].split()[6]) & _PF_KTHREAD)
