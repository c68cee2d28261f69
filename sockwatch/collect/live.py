"""This host's kernel as a source of snapshots."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from sockwatch.clock import Clock
from sockwatch.collect.counters import read_counters
from sockwatch.collect.dump import dump_sockets
from sockwatch.collect.namespaces import CURRENT, call_in_namespace, name_namespace
from sockwatch.collect.owners import OwnerFinder
from sockwatch.collect.sysctls import read_sysctls
from sockwatch.model.printable import printable
from sockwatch.model.snapshot import Asks, FollowUp, Namespace, Snapshot


class LiveSource:
    """Looks at one network namespace: "current" (of the calling thread), a name in /run/netns, or a path."""

    def __init__(self, *, clock: Clock, netns: str = CURRENT, proc: Path = Path("/proc")) -> None:
        self._clock = clock
        self._netns = netns
        self._proc = proc
        self._owners = OwnerFinder(clock=clock, proc=proc)

    def look(self, asks: Asks) -> Snapshot:
        """Sockets, counters and sysctls as they are now, nobody named. Raises DumpError, and UsageError for `netns`."""
        return call_in_namespace(self._netns, partial(self._look, asks))

    def follow_up(self, snapshot: Snapshot, wanted: FollowUp) -> Snapshot:
        """The same snapshot with the processes that hold the suspects, and a gap where one remained unknown."""
        owners, gaps = self._owners.find(wanted.suspects)
        return replace(snapshot, owners=owners, gaps=snapshot.gaps + gaps)

    def _look(self, asks: Asks) -> Snapshot:
        time, monotonic = self._clock.unixtime(), self._clock.monotonic()
        dump = dump_sockets(asks)
        counters, odd_counters = read_counters(self._proc)
        sysctls, odd_sysctls = read_sysctls(asks.sysctls, self._proc)
        name, inode, initial = name_namespace(self._netns, self._proc)
        system = os.uname()
        namespace = Namespace(
            name=name,
            inode=inode,
            initial=initial,
            lists_bound=dump.lists_bound,
            counters=counters,
            sysctls=sysctls,
        )
        return Snapshot(
            time=time,
            monotonic=monotonic,
            host=printable(system.nodename),
            kernel=printable(system.release),
            namespaces=(namespace,),
            sockets=dump.sockets,
            gaps=dump.gaps + odd_counters + odd_sysctls,
        )
