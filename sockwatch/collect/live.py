"""This host's kernel as a source of snapshots."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import ParamSpec, TypeVar

import numpy as np

from sockwatch.clock import Clock
from sockwatch.collect.autobound import fill_autobound
from sockwatch.collect.namespace_reader import NamespaceReader, Reading
from sockwatch.collect.namespaces import ALL, CURRENT, HOST, Place, call_in_namespace, name_namespace, visit
from sockwatch.collect.netns_listing import NamespaceLister, mounted, net_number, number_of
from sockwatch.collect.owners import OwnerFinder
from sockwatch.collect.sysctl_files import read_sysctl_files
from sockwatch.errors import DumpError
from sockwatch.model.printable import printable
from sockwatch.model.snapshot import Asks, FollowUp, Gap, Namespace, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

_FEW_ROWS = 1 << 12

P = ParamSpec("P")
T = TypeVar("T")


class LiveSource:
    """Looks at a network namespace: "current" (of the calling thread), a name, or a path; or at "all".

    A name is one in /run/netns, or another that a report of all namespaces gives.
    """

    def __init__(
        self, *, clock: Clock, netns: str = CURRENT, proc: Path = Path("/proc"), root: Path = Path("/")
    ) -> None:
        self._clock = clock
        self._netns = netns
        self._proc = proc
        self._root = root
        self._owners = OwnerFinder(clock=clock, proc=proc)
        self._reader = NamespaceReader(clock=clock, proc=proc)
        self._lister = NamespaceLister(clock=clock, proc=proc)
        self._places: tuple[Place | None, ...] = ()
        """Of the last look, by the number of the namespace: where it is, None for the caller's own."""
        self._cpu_elsewhere = 0.0
        """CPU seconds of the threads that entered namespaces for this look."""

    def look(self, asks: Asks) -> Snapshot:
        """Sockets, counters and sysctls as they are now, nobody named. Raises DumpError, and UsageError for `netns`.

        Of all namespaces the caller's own is the first.
        """
        time, monotonic = self._clock.unixtime(), self._clock.monotonic()
        gaps: tuple[Gap, ...] = ()
        self._cpu_elsewhere = 0.0
        if self._netns == ALL:
            found, gaps = self._tour(asks)
        else:
            found = [self._call(self._measured(partial(self._read, asks)))]
        namespaces, readings = zip(*found, strict=True)
        self._reader.keep([namespace.cookie for namespace in namespaces])
        # Nothing says which files, if any, were applied to another namespace.
        initial = any(namespace.initial for namespace in namespaces)
        files, no_files = read_sysctl_files(self._root) if asks.sysctl_files and initial else ((), ())
        every = [gap for reading in readings for gap in reading.gaps]
        system = os.uname()
        return Snapshot(
            time=time,
            monotonic=monotonic,
            took=max(reading.read_at for reading in readings) - monotonic,
            host=printable(system.nodename),
            kernel=printable(system.release),
            namespaces=namespaces,
            sockets=_join([reading.sockets for reading in readings]),
            gaps=_add_up(every) + _unlisted(namespaces) + gaps + no_files,
            udp=_join([reading.udp for reading in readings]),
            mptcp=_join([reading.mptcp for reading in readings]),
            sysctl_files=files,
            cpu_elsewhere=self._cpu_elsewhere,
        )

    def follow_up(self, snapshot: Snapshot, wanted: FollowUp) -> Snapshot:
        """The same snapshot with the processes that hold the suspects, and with `autobound` if that is wanted."""
        sockets, gaps = snapshot.sockets, snapshot.gaps
        if wanted.autobound:
            sockets, unknown = self._fill_autobound(sockets)
            gaps += unknown
        owners, unnamed = self._owners.find(wanted.suspects)
        return replace(
            snapshot,
            sockets=sockets,
            owners=owners,
            gaps=gaps + unnamed,
            cpu_elsewhere=self._cpu_elsewhere,
        )

    def _measured(self, function: Callable[P, T]) -> Callable[P, T]:
        """The function, counting what it takes on a thread that is not the one that asked for it."""
        asking = get_ident()

        def measured(*args: P.args, **kwargs: P.kwargs) -> T:
            began = self._clock.cpu()
            result = function(*args, **kwargs)
            if get_ident() != asking:
                self._cpu_elsewhere += self._clock.cpu() - began
            return result

        return measured

    def _call(self, function: Callable[[], T]) -> T:
        """In the namespace that was asked for."""
        return call_in_namespace(self._netns, function, listed=lambda: self._lister.find().places, proc=self._proc)

    def _read(self, asks: Asks) -> tuple[Namespace, Reading]:
        """The namespace of the calling thread."""
        name, inode = name_namespace(self._netns, self._proc)
        reading = self._reader.read(asks)
        return _describe(name, inode, reading), reading

    def _tour(self, asks: Asks) -> tuple[list[tuple[Namespace, Reading]], tuple[Gap, ...]]:
        """Every namespace, the caller's own first, and what could not be looked at."""
        listing = self._lister.find()
        hidden = set(listing.hidden)
        found: list[tuple[Namespace, Reading]] = []
        places: list[Place | None] = [None]
        failed: list[Gap] = []

        def read_own() -> None:
            found.append(self._read(asks))

        def read(place: Place) -> None:
            if hidden:
                hidden.discard(net_number(self._proc, "thread-self") or 0)
            try:
                reading = self._reader.read(asks)
            except DumpError as error:
                failed.append(Gap(what=f"namespace {place.name}", why=str(error), fatal=True))
                return
            found.append((_describe(HOST if reading.initial else place.name, place.inode, reading), _copied(reading)))
            places.append(place)

        tour = visit(listing.places, self._measured(read), first=self._measured(read_own))
        self._places = tuple(places)
        # A namespace may be hidden behind one process and refused by way of another.
        refused = hidden | {number_of(self._proc, place) for place in tour.refused}
        return found, (*failed, *_refused(len(refused)), *_shadowed(tour.missed, self._proc), *listing.gaps)

    def _fill_autobound(self, sockets: SocketTable) -> tuple[SocketTable, tuple[Gap, ...]]:
        if self._netns != ALL:
            return self._call(self._measured(partial(fill_autobound, sockets)))
        column = sockets.autobound.copy()
        gaps: list[Gap] = []

        def fill(number: int) -> None:
            rows = np.flatnonzero(sockets.netns == number)
            filled, unknown = fill_autobound(sockets.take(rows))
            column[rows] = filled.autobound
            gaps.extend(unknown)

        connected = np.bincount(sockets.netns[~sockets.is_in_state(State.LISTEN)], minlength=len(self._places))
        numbers = {place.inode: n for n, place in enumerate(self._places) if place is not None and connected[n]}
        places = [place for place in self._places if place is not None and place.inode in numbers]
        visit(
            places,
            self._measured(lambda place: fill(numbers[place.inode])),
            first=self._measured(partial(fill, 0)),
        )
        return replace(sockets, autobound=column), _add_up(gaps)


def _describe(name: str, inode: int, reading: Reading) -> Namespace:
    return Namespace(
        name=name,
        inode=inode,
        initial=reading.initial,
        lists_bound=reading.lists_bound,
        cookie=reading.cookie,
        counters=reading.counters,
        sysctls=reading.sysctls,
        counted=reading.counted,
    )


def _copied(reading: Reading) -> Reading:
    """The same with small tables copied: each column has a mapping of its own, and a process may not have many."""
    return replace(reading, sockets=_compact(reading.sockets), udp=_compact(reading.udp), mptcp=_compact(reading.mptcp))


def _compact(table: SocketTable) -> SocketTable:
    if not 0 < len(table) < _FEW_ROWS:
        return table
    copied = table.take(np.arange(len(table)))
    return replace(copied, details={name: column.copy() for name, column in table.details.items()})


def _join(tables: Sequence[SocketTable]) -> SocketTable:
    """One table, in which `netns` is the number of the table."""
    if len(tables) == 1:
        return tables[0]
    numbered = [
        replace(table, netns=np.full(len(table), number, np.uint16))
        for number, table in enumerate(tables)
        if len(table)
    ]
    return SocketTable.concatenate(numbered)


def _add_up(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """Each gap once, with the sum of their counts."""
    counts: Counter[Gap] = Counter()
    for gap in gaps:
        counts[replace(gap, count=1)] += gap.count
    return tuple(replace(gap, count=count) for gap, count in counts.items())


def _refused(count: int) -> tuple[Gap, ...]:
    """What this user may not enter."""
    if not count:
        return ()
    noun = "network namespace" if count == 1 else "network namespaces"
    why = f"{count} {noun}: no permission to enter (CAP_SYS_ADMIN; CAP_SYS_PTRACE for those of other users' processes)"
    return (Gap(what="network namespaces", why=why, count=count),)


def _shadowed(missed: Iterable[Place], proc: Path) -> tuple[Gap, ...]:
    """What is still mounted but not to be reached; all else that was missed is gone."""
    inodes = {place.inode for place in missed}
    count = len(inodes & {inode for inode, _ in mounted(proc)}) if inodes else 0
    if not count:
        return ()
    why = f"{count} {'is' if count == 1 else 'are'} mounted where something else is mounted over"
    return (Gap(what="network namespaces", why=why, count=count),)


def _unlisted(namespaces: Iterable[Namespace]) -> tuple[Gap, ...]:
    """What this kernel does not list at all; its counts are null."""
    if all(namespace.lists_bound for namespace in namespaces):
        return ()
    return (Gap(what="sockets in bound and close", why="this kernel does not list them; Linux 6.8 and later do"),)
