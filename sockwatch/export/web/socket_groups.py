"""How many sockets there are of each kind: by state, process, peer, service port and namespace."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sockwatch.model.address import address_text
from sockwatch.model.grouping import group
from sockwatch.model.snapshot import UNKNOWN, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

_PORTS = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Sockets that have something in common: the name to show, the value to ask for, and for ports the side."""

    name: str
    value: str | None
    count: int
    side: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The same sockets counted in five ways: the largest groups of each, and then the others together.

    A process without a name is one that is not known. A port is that of the service: the local one where something
    listens there or where there is no other end, else the remote one.
    """

    state: tuple[Group, ...]
    process: tuple[Group, ...]
    peer: tuple[Group, ...]
    port: tuple[Group, ...]
    netns: tuple[Group, ...]


def group_sockets(snapshot: Snapshot, rows: NDArray[np.int32], most: int) -> Groups:
    """The largest groups of these rows, at most so many of each kind."""
    sockets = snapshot.sockets.take(rows)
    names = [namespace.name for namespace in snapshot.namespaces]
    by_netns = np.bincount(sockets.netns, minlength=len(names)).tolist()
    by_state = Counter({state.label: count for state, count in sockets.count_by_state().items() if count})
    return Groups(
        state=_largest(by_state, most),
        process=_processes(snapshot, sockets, most),
        peer=_peers(sockets, most),
        port=_ports(snapshot, sockets, most),
        netns=_largest(Counter({name: n for name, n in zip(names, by_netns, strict=True) if n}), most),
    )


def _processes(snapshot: Snapshot, sockets: SocketTable, most: int) -> tuple[Group, ...]:
    owners = snapshot.owners.of(sockets)
    numbers, counts = np.unique(owners, return_counts=True)
    by_name: Counter[str] = Counter()
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        by_name["" if number == UNKNOWN else snapshot.owners.processes[number].name] += count
    return _largest(by_name, most)


def _peers(sockets: SocketTable, most: int) -> tuple[Group, ...]:
    connected = np.flatnonzero(sockets.dport != 0)
    hi, lo = sockets.dst_hi[connected], sockets.dst_lo[connected]
    found = group(hi, lo)
    largest = np.argsort(-found.count, kind="stable")[:most].tolist()
    named = [address_text(int(hi[found.first[i]]), int(lo[found.first[i]])) for i in largest]
    return _rest(
        [Group(name=n, value=n, count=int(found.count[i])) for n, i in zip(named, largest, strict=True)],
        len(connected),
    )


def _ports(snapshot: Snapshot, sockets: SocketTable, most: int) -> tuple[Group, ...]:
    listeners = snapshot.sockets.in_state(State.LISTEN)
    local = np.isin(_local_ends(sockets), _local_ends(listeners)) | (sockets.dport == 0)
    counts = np.bincount(np.where(local, sockets.sport, sockets.dport) + _PORTS * ~local, minlength=2 * _PORTS)
    largest = np.argsort(-counts, kind="stable")[:most]
    chosen = [
        Group(
            name=str(number % _PORTS),
            value=str(number % _PORTS),
            count=int(counts[number]),
            side="local" if number < _PORTS else "remote",
        )
        for number in largest.tolist()
        if counts[number]
    ]
    return _rest(chosen, len(sockets))


def _local_ends(sockets: SocketTable) -> NDArray[np.int64]:
    """A number for each port of each namespace."""
    return sockets.netns.astype(np.int64) * _PORTS + sockets.sport


def _largest(counts: Counter[str], most: int) -> tuple[Group, ...]:
    chosen = [Group(name=name, value=name, count=count) for name, count in counts.most_common(most)]
    return _rest(chosen, counts.total())


def _rest(chosen: Sequence[Group], total: int) -> tuple[Group, ...]:
    """With a group more for those that are in none; it cannot be asked for."""
    left = total - sum(one.count for one in chosen)
    return (*chosen, Group(name="others", value=None, count=left)) if left else tuple(chosen)
