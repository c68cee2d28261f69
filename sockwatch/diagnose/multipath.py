"""MPTCP sockets, seen with the same eyes as those of TCP: their connection is theirs, and subflows carry it."""

from dataclasses import replace

import numpy as np

from sockwatch.diagnose.window import Window
from sockwatch.model.grouping import group
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.sockets import SocketTable


def multipath(window: Window) -> Window:
    """The window as if MPTCP's sockets were all there are.

    A connection that fell back to TCP is left out where TCP has it in the same state: there it is one socket in two
    tables.
    """
    return replace(
        window,
        current=_multipath(window.current),
        previous=None if window.previous is None else _multipath(window.previous),
    )


def _multipath(snapshot: Snapshot) -> Snapshot:
    """Closed MPTCP sockets are timed by net.mptcp.close_timeout: tcp_fin_timeout says nothing of their age."""
    namespaces = tuple(replace(n, kept={**n.kept, "net.ipv4.tcp_fin_timeout": "0"}) for n in snapshot.namespaces)
    return replace(snapshot, sockets=_of_their_own(snapshot), namespaces=namespaces)


def _of_their_own(snapshot: Snapshot) -> SocketTable:
    ours, theirs = snapshot.mptcp, snapshot.sockets
    if not len(ours):
        return ours
    near = np.isin(theirs.dport, ours.dport) & np.isin(theirs.sport, ours.sport) & np.isin(theirs.state, ours.state)
    near &= theirs.dport != 0
    both = SocketTable.concatenate([theirs.take(near), ours])
    keys = (both.src_hi, both.src_lo, both.sport, both.dst_hi, both.dst_lo, both.dport)
    groups = group(both.netns, both.state, *keys)
    count = len(both) - len(ours)
    present = np.zeros(len(groups), np.bool_)
    present[groups.index[:count]] = True
    return ours.take(~present[groups.index[count:]])
