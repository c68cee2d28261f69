"""This host's kernel as a source of snapshots."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from sockwatch.clock import Clock
from sockwatch.collect.autobound import fill_autobound
from sockwatch.collect.counters import read_counters
from sockwatch.collect.dump import Dump, dump_sockets
from sockwatch.collect.mptcp import read_mptcp
from sockwatch.collect.namespaces import CURRENT, call_in_namespace, name_namespace
from sockwatch.collect.owners import OwnerFinder
from sockwatch.collect.sysctl_files import read_sysctl_files
from sockwatch.collect.sysctls import read_sysctls
from sockwatch.collect.udp import read_udp
from sockwatch.model.printable import printable
from sockwatch.model.snapshot import Asks, FollowUp, Gap, Namespace, Snapshot
from sockwatch.model.sockets import SocketTable


class LiveSource:
    """Looks at one network namespace: "current" (of the calling thread), a name in /run/netns, or a path."""

    def __init__(
        self, *, clock: Clock, netns: str = CURRENT, proc: Path = Path("/proc"), root: Path = Path("/")
    ) -> None:
        self._clock = clock
        self._netns = netns
        self._proc = proc
        self._root = root
        self._owners = OwnerFinder(clock=clock, proc=proc)

    def look(self, asks: Asks) -> Snapshot:
        """Sockets, counters and sysctls as they are now, nobody named. Raises DumpError, and UsageError for `netns`."""
        return call_in_namespace(self._netns, partial(self._look, asks))

    def follow_up(self, snapshot: Snapshot, wanted: FollowUp) -> Snapshot:
        """The same snapshot with the processes that hold the suspects, and with `autobound` if that is wanted."""
        sockets, gaps = snapshot.sockets, snapshot.gaps
        if wanted.autobound:
            sockets, unknown = call_in_namespace(self._netns, partial(fill_autobound, sockets))
            gaps += unknown
        owners, unnamed = self._owners.find(wanted.suspects)
        return replace(snapshot, sockets=sockets, owners=owners, gaps=gaps + unnamed)

    def _look(self, asks: Asks) -> Snapshot:
        time, monotonic = self._clock.unixtime(), self._clock.monotonic()
        dump = dump_sockets(asks)
        took = self._clock.monotonic() - monotonic
        counters, odd_counters = read_counters(self._proc)
        sysctls, odd_sysctls = read_sysctls(asks.sysctls, self._proc)
        udp, no_udp = read_udp() if asks.udp else (SocketTable.empty(), ())
        mptcp, no_mptcp = read_mptcp(counters) if asks.mptcp else (SocketTable.empty(), ())
        name, inode, initial = name_namespace(self._netns, self._proc)
        # Nothing says which files, if any, were applied to another namespace.
        files, no_files = read_sysctl_files(self._root) if asks.sysctl_files and initial else ((), ())
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
            took=took,
            host=printable(system.nodename),
            kernel=printable(system.release),
            namespaces=(namespace,),
            sockets=dump.sockets,
            gaps=dump.gaps + _unlisted(dump) + no_udp + no_mptcp + odd_counters + odd_sysctls + no_files,
            udp=udp,
            mptcp=mptcp,
            sysctl_files=files,
        )


def _unlisted(dump: Dump) -> tuple[Gap, ...]:
    """What this kernel does not list at all; its counts are null."""
    if dump.lists_bound:
        return ()
    return (Gap(what="sockets in bound and close", why="this kernel does not list them; Linux 6.8 and later do"),)
