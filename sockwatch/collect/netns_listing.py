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
from sockwatch.collect.netns_search import GONE, SEARCH_SECONDS, NamespaceSearch, inode_of, is_kernel_thread
from sockwatch.model.snapshot import Gap

MOST = 65_534
"""A table of sockets numbers the namespaces with 16 bits."""
_WHAT = "network namespaces"
_WAYS = 4
"""How many processes of a namespace are remembered as ways in: any may end before it is used."""
_MOST_WAYS = 16
"""Of all kinds of ways."""
_PID_INITIAL = 0xEFFF_FFFC
"""PROC_PID_INIT_INO in include/linux/proc_ns.h: the inode of the initial PID namespace."""
_MOUNT = re.compile(rb"^\S+ \S+ \S+ net:\[([0-9]+)\] (\S+) .* - nsfs ", re.MULTILINE)
"""proc_pid_mountinfo(5): the fourth field is the root of the mount, the fifth where it is."""
_OCTAL = re.compile(rb"\\([0-7]{3})")

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


class NamespaceLister:
    """Lists the namespaces, and remembers what is costly to find.

    The namespace of each process and those that are mounted are looked up each time; threads and open files by
    NamespaceSearch, `budget` seconds long. Paths inside another mount namespace are never opened, so one that is only
    mounted in there is not seen; nor is one that only a socket keeps.
    """

    def __init__(self, *, clock: Clock, proc: Path = Path("/proc"), budget: float = SEARCH_SECONDS) -> None:
        self._proc = proc
        self._search = NamespaceSearch(clock=clock, proc=proc, budget=budget)
        self._containers: dict[int, str] = {}

    def find(self) -> Listing:
        """The namespaces as they are now. Raises DumpError without /proc."""
        own = own_inode(self._proc)
        pids = [name for name in os.listdir(self._proc) if name.isdecimal()]  # noqa: PTH208 - names, not paths
        pids.sort(key=int)
        processes, hidden = self._of_processes(pids)
        self._search.search(pids)
        ways: Ways = {}
        for inode, path in chain(
            mounted(self._proc),
            ((inode, f"{self._proc}/{pid}/ns/net") for inode, held in processes.items() for pid in held[:_WAYS]),
            self._search.ways(),
        ):
            paths = ways.setdefault(inode, [])
            if len(paths) < _MOST_WAYS:
                paths.append(path)
        ways.pop(own, None)
        names = self._name(ways, processes)
        places = [Place(inode=inode, name=names[inode], paths=tuple(paths)) for inode, paths in ways.items()]
        places.sort(key=lambda place: (place.name.startswith("net:["), place.name))
        return Listing(
            places=tuple(places[:MOST]),
            hidden=hidden - {net_number(self._proc, "thread-self") or 0},
            gaps=(*self._search.gaps(pids), *_unseen(self._proc), *_too_many(len(places))),
        )

    def _of_processes(self, pids: list[str]) -> tuple[dict[int, list[str]], frozenset[int]]:
        """The pids in each namespace, and the namespaces of which this user may know no more than that they are."""
        held: dict[int, list[str]] = {}
        hidden: set[int] = set()
        for pid in pids:
            try:
                inode = inode_of(os.readlink(f"{self._proc}/{pid}/ns/net"))  # noqa: PTH115 - thousands of them
            except GONE:
                continue
            except PermissionError:
                hidden.add(net_number(self._proc, pid) or 0)
            else:
                if inode is not None:
                    held.setdefault(inode, []).append(pid)
        return held, frozenset(hidden - {0})

    def _name(self, ways: Ways, processes: Mapping[int, list[str]]) -> Mapping[int, str]:
        """A name for each; no two have the same one.

        A container's name is the id in the cgroup of a process inside. Whoever may make cgroups can claim any id, so
        one that two namespaces claim belongs to the one that had it before, or to neither.
        """
        given = dict(given_names())
        names = {inode: f"net:[{inode}]" for inode in ways} | given
        claims = {
            inode: claimed
            for inode in ways
            if names[inode].startswith("net:[")
            and (claimed := self._containers_of(processes.get(inode, [])[:_WAYS])) is not None
        }
        # An inode may serve again, but then another process inside claims another id.
        named = set(given.values())
        had = {
            inode: name
            for inode, name in self._containers.items()
            if name in claims.get(inode, ()) and name not in named
        }
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


def _too_many(places: int) -> Iterator[Gap]:
    if places > MOST:
        yield Gap(what=_WHAT, why=f"more than the {MOST} that are looked at", count=places - MOST)


def _unseen(proc: Path) -> Iterator[Gap]:
    """Whether this /proc may have processes that this user does not see at all, and with them namespaces.

    Pid 2 is the kernel's own kthreadd, in the initial PID namespace and in no other (rest_init, init/main.c). With the
    mount option hidepid only who may trace everybody sees it (has_pid_permissions, fs/proc/base.c).
    """
    if is_kernel_thread(f"{proc}/2"):
        return
    try:
        initial = (proc / "thread-self" / "ns" / "pid").stat().st_ino == _PID_INITIAL
    except OSError:
        initial = False
    if initial:
        why = "those of processes that /proc hides from this user are not seen (hidepid; CAP_SYS_PTRACE)"
    else:
        why = "those of processes outside of this PID namespace are not seen"
    yield Gap(what=_WHAT, why=why)


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


def mounted(proc: Path) -> Iterator[tuple[int, str]]:
    """The namespaces that are mounted, and where."""
    try:
        mounts = (proc / "thread-self" / "mountinfo").read_bytes()
    except OSError:
        return
    for inode, path in _MOUNT.findall(mounts):
        yield int(inode), os.fsdecode(_OCTAL.sub(lambda code: bytes([int(code[1], 8)]), path))
