"""The other end of a connection, where both ends are on this host."""

from dataclasses import dataclass

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

    The other end has both addresses and ports mirrored, in the same namespace. A socket connected to itself has none.
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
    groups = group(
        np.concatenate([sockets.netns, candidates.netns]),
        np.concatenate([sockets.dport, candidates.sport]),
        np.concatenate([sockets.sport, candidates.dport]),
        np.concatenate([sockets.dst_hi, candidates.src_hi]),
        np.concatenate([sockets.dst_lo, candidates.src_lo]),
        np.concatenate([sockets.src_hi, candidates.dst_hi]),
        np.concatenate([sockets.src_lo, candidates.dst_lo]),
    )
    mine, theirs = groups.index[: len(sockets)], groups.index[len(sockets) :]
    row_of_group = np.full(len(groups), NOT_HERE, np.intp)
    row_of_group[theirs] = rows
    found = row_of_group[mine]
    found[(found != NOT_HERE) & (every.cookie[found] == sockets.cookie)] = NOT_HERE
    return found


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
