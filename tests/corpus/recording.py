"""Looks that keep everything, so that a detector that is written later finds what it asks for."""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sockwatch.clock import Clock
from sockwatch.collect.attributes import FIELDS
from sockwatch.collect.live import LiveSource
from sockwatch.model.snapshot import Asks, FollowUp, Owners, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

SYSCTL_FOLDERS = ("net/core", "net/ipv4", "net/netfilter")
HOST = "corpus"


class RecordingSource:
    """This host's kernel, asked for all it can tell; `looks` are those that were taken."""

    def __init__(self, clock: Clock) -> None:
        self._live = LiveSource(clock=clock)
        self.looks: list[Snapshot] = []

    def look(self, _asks: Asks) -> Snapshot:
        """Everything of every socket, whatever is asked for."""
        everything = Asks(
            states=frozenset(State),
            details=frozenset(FIELDS),
            sysctls=frozenset(_sysctls()),
            udp=True,
            mptcp=True,
            sysctl_files=True,
        )
        return self._live.look(everything)

    def follow_up(self, snapshot: Snapshot, _wanted: FollowUp) -> Snapshot:
        """The holders of all sockets."""
        every = SocketTable.concatenate([snapshot.sockets, snapshot.udp, snapshot.mptcp])
        look = self._live.follow_up(snapshot, FollowUp(suspects=every, autobound=True))
        self.looks.append(look)
        return look


def _sysctls() -> Iterator[str]:
    for folder in SYSCTL_FOLDERS:
        for path in Path("/proc/sys", folder).glob("*"):
            if path.is_file() and path.stat().st_mode & stat.S_IROTH and "key" not in path.name:
                yield f"{folder.replace('/', '.')}.{path.name}"


def anonymous(looks: Sequence[Snapshot]) -> list[Snapshot]:
    """The looks without the name of the host and the units of its processes; addresses are of private namespaces."""
    return [replace(look, host=HOST, owners=_without_units(look.owners)) for look in looks]


def _without_units(owners: Owners) -> Owners:
    return replace(owners, processes=tuple(replace(p, unit=None, container=None) for p in owners.processes))
