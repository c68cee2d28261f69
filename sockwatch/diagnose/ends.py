"""The other end of a connection, where both ends are on this host."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sockwatch.model.address import is_loopback
from sockwatch.model.finding import OtherEnd
from sockwatch.model.grouping import group
from sockwatch.model.snapshot import UNKNOWN, Owners, Snapshot
from sockwatch.model.sockets import Rows, SocketTable
from sockwatch.model.state import State

NOT_HERE = -1


def other_ends(snapshot: Snapshot, sockets: SocketTable) -> NDArray[np.intp]:
    """For each of `sockets` the row of its other end in the snapshot's table, or NOT_HERE.

    The other end has both addresses and ports mirrored. It is in the same namespace, or else in another one that was
    looked at: the other side of a veth, a bridge, a route. Namespaces that know nothing of each other may use the same
    addresses, so an end in another one counts only where there is no doubt: nobody else has these addresses and ports,
    and no two namespaces have either address. A socket connected to itself has no other end.
    """
    found = np.full(len(sockets), NOT_HERE, np.intp)
    if not len(sockets):
        return found
    every = snapshot.sockets
    near = _ports(sockets.dport)[every.sport] & _ports(sockets.sport)[every.dport]
    near &= ~every.is_in_state(State.LISTEN, State.BOUND)
    rows = np.flatnonzero(near)
    if not len(rows):
        return found
    candidates = every.take(rows)
    groups = group(np.concatenate([sockets.netns, candidates.netns]), *_mirrored(sockets, candidates))
    mine, theirs = groups.index[: len(sockets)], groups.index[len(sockets) :]
    row_of_group = np.full(len(groups), NOT_HERE, np.intp)
    row_of_group[theirs] = rows
    found = row_of_group[mine]
    found[(found != NOT_HERE) & (every.cookie[found] == sockets.cookie)] = NOT_HERE
    if len(snapshot.namespaces) > 1:
        loopback = is_loopback(sockets.dst_hi, sockets.dst_lo) | is_loopback(sockets.src_hi, sockets.src_lo)
        alone = np.flatnonzero((found == NOT_HERE) & ~loopback)
        if len(alone):
            found[alone] = _elsewhere(every, sockets.take(alone), rows)
    return found


def _elsewhere(every: SocketTable, sockets: SocketTable, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """The other ends in other namespaces, of `rows`; these sockets have none in their own."""
    candidates = every.take(rows)
    groups = group(*_mirrored(sockets, candidates))
    mine, theirs = groups.index[: len(sockets)], groups.index[len(sockets) :]
    row_of_group = np.full(len(groups), NOT_HERE, np.intp)
    row_of_group[theirs] = rows
    # Among the candidates are all that have the other end's addresses and ports, but of this end's only if both ends'
    # ports are looked for: so those are counted in the whole table.
    alike = group(*(np.concatenate([getattr(t, name) for t in (sockets, every)]) for name in _TUPLE))
    connected = ~every.is_in_state(State.LISTEN, State.BOUND)
    same = np.bincount(alike.index[len(sockets) :][connected], minlength=len(alike))[alike.index[: len(sockets)]]
    found: NDArray[np.intp] = row_of_group[mine]
    sure = (found != NOT_HERE) & (np.bincount(theirs, minlength=len(groups))[mine] == 1) & (same == 1)
    sure &= every.netns[found] != sockets.netns
    sure &= ~_is_of_several(every, sockets.src_hi, sockets.src_lo) & ~_is_of_several(
        every, sockets.dst_hi, sockets.dst_lo
    )
    return np.where(sure, found, NOT_HERE)


_TUPLE = ("sport", "dport", "src_hi", "src_lo", "dst_hi", "dst_lo")


def _mirrored(sockets: SocketTable, others: SocketTable) -> list[NDArray[Any]]:
    """Columns in which a socket and its other end agree: the former's destination is the latter's source."""
    pairs = (
        ("dport", "sport"),
        ("sport", "dport"),
        ("dst_hi", "src_hi"),
        ("dst_lo", "src_lo"),
        ("src_hi", "dst_hi"),
        ("src_lo", "dst_lo"),
    )
    return [np.concatenate([getattr(sockets, mine), getattr(others, theirs)]) for mine, theirs in pairs]


def _is_of_several(every: SocketTable, hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether sockets of more than one namespace have this source address."""
    his, los = np.concatenate([hi, every.src_hi]), np.concatenate([lo, every.src_lo])
    addresses = group(his, los).index
    held = group(addresses[len(hi) :], every.netns).first
    namespaces = np.bincount(addresses[len(hi) :][held], minlength=int(addresses.max()) + 1)
    several: NDArray[np.bool_] = namespaces[addresses[: len(hi)]] > 1
    return several


def _ports(numbers: NDArray[np.uint16]) -> NDArray[np.bool_]:
    mask = np.zeros(65536, np.bool_)
    mask[numbers] = True
    return mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ends:
    """Sockets with their other ends: `here` says which have one on this host, `rows` where it is in the table."""

    here: NDArray[np.bool_]
    rows: NDArray[np.intp]
    table: SocketTable

    @property
    def sockets(self) -> SocketTable:
        """The other ends that are here."""
        return self.table.take(self.rows[self.here])

    def take(self, chosen: Rows) -> "Ends":
        """The ends of the chosen sockets."""
        return Ends(here=self.here[chosen], rows=self.rows[chosen], table=self.table)


def find_ends(snapshot: Snapshot, sockets: SocketTable) -> Ends:
    """The other ends of these sockets."""
    rows = other_ends(snapshot, sockets)
    return Ends(here=rows != NOT_HERE, rows=rows, table=snapshot.sockets)


def join_ends(one: Ends, other: Ends) -> Ends:
    """Both, one after the other, with a table of these ends alone."""
    here = np.concatenate([one.here, other.here])
    rows = np.where(here, np.cumsum(here) - 1, NOT_HERE)
    return Ends(here=here, rows=rows, table=SocketTable.concatenate([one.sockets, other.sockets]))


def describe_ends(ends: Ends, owners: Owners) -> OtherEnd | None:
    """The other ends as a finding shows them: the commonest state, and the process that holds most of them."""
    sockets = ends.sockets
    if not len(sockets):
        return None
    holders = owners.of(sockets)
    known = holders[holders != UNKNOWN]
    process = owners.processes[int(np.bincount(known).argmax())] if len(known) else None
    held = process is not None or bool(sockets.inode.any())
    return OtherEnd(state=State(int(np.bincount(sockets.state).argmax())), process=process, held=held)


def peer_is_local(snapshot: Snapshot, sockets: SocketTable) -> NDArray[np.bool_]:
    """Which sockets talk to an address of their namespace: loopback, or one that a socket there is bound to."""
    if not len(sockets):
        return np.empty(0, np.bool_)
    every = snapshot.sockets
    groups = group(
        np.concatenate([every.netns, sockets.netns]),
        np.concatenate([every.src_hi, sockets.dst_hi]),
        np.concatenate([every.src_lo, sockets.dst_lo]),
    )
    ours = np.zeros(len(groups), np.bool_)
    ours[groups.index[: len(every)]] = True
    local: NDArray[np.bool_] = ours[groups.index[len(every) :]] | is_loopback(sockets.dst_hi, sockets.dst_lo)
    return local
