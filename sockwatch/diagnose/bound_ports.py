"""Ports that bind() took: what is lost to connect() for every destination, and what is left for bind() to port 0.

The kernel keeps a bucket for each port in use. connect() chooses a port itself and passes over every bucket that bind()
made, for whatever address and destination (__inet_hash_connect in net/ipv4/inet_hashtables.c: tb->fastreuse >= 0).
bind() to port 0 passes over every port that a socket of the same address has, whatever it is connected to
(inet_csk_find_open_port in net/ipv4/inet_connection_sock.c).

The range has two halves: the ports of the parity of its low end, of which connect() tries all first, and the others,
which bind() to port 0 tries first. That tells them apart where the kernel says no more: a port of the other parity
belongs to bind(), unless connect() had found the whole first half taken towards that destination.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose.role import Role, roles
from sockwatch.model.grouping import Column, group
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.sockets import AUTOBOUND_UNKNOWN, NO_DETAIL, SocketTable
from sockwatch.model.state import State

PORTS = 65536
NAMED = 0
"""`autobound` of a socket whose port the program named."""

_ODD = np.uint64(0x9E37_79B9_7F4A_7C15)
"""The golden ratio: the high bits of a product with it depend on all bits of the other factor."""
_UNUSED_BITS = np.uint64(46)
"""Of 64; the others number the slots."""

Ports = NDArray[np.bool_]
"""A mask over all ports."""


def is_first(ports: NDArray[np.integer[Any]], low: int) -> NDArray[np.bool_]:
    """Which ports connect() tries first: those of the parity of the range's low end."""
    same: NDArray[np.bool_] = (ports.astype(np.int64) - low) % 2 == 0
    return same


def is_connected(sockets: SocketTable) -> NDArray[np.bool_]:
    """Which sockets have another end, or had one."""
    connected: NDArray[np.bool_] = (sockets.dport != 0) & ~sockets.is_in_state(State.LISTEN, State.BOUND, State.CLOSE)
    return connected


def holds_without_peer(sockets: SocketTable) -> NDArray[np.bool_]:
    """Which sockets hold a port that bind() took, as their state tells.

    A socket in CLOSE has lost its port, unless the program had named it (tcp_set_state in net/ipv4/tcp.c).
    """
    return sockets.is_in_state(State.LISTEN, State.BOUND, State.CLOSE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoundPorts:
    """Masks over all ports: those in a bucket that bind() made, and those of which one look cannot tell that."""

    bound: Ports
    unsure: Ports


def bound_ports(snapshot: Snapshot, netns: int, choosable: Ports) -> BoundPorts:
    """Which of the `choosable` ports (the range without reserved ones) of a namespace bind() took.

    Without `autobound` these are those of listeners and of sockets that are only bound, and every other port in use is
    unsure. With it they are also those that programs named, those of accepted sockets whose listener is gone, and those
    that bind() to port 0 was given; unsure is what lies where both connect() and bind() may have had to look.
    """
    every = snapshot.sockets
    here = every.netns == netns
    in_use = np.zeros(PORTS, np.bool_)
    in_use[every.sport[here]] = True
    ports = np.zeros(PORTS, np.bool_)
    ports[every.sport[here & holds_without_peer(every)]] = True
    ends = snapshot.namespaces[netns].port_range()
    if ends is None or not (every.autobound[here] != AUTOBOUND_UNKNOWN).any():
        return BoundPorts(bound=ports, unsure=in_use & choosable & ~ports)
    ports[every.sport[here & (every.autobound == NAMED)]] = True
    read = every.take(here & (every.detail_row != NO_DETAIL) & choosable[every.sport])
    ports[read.sport[roles(read) == Role.ACCEPTED]] = True

    first_half = choosable & is_first(np.arange(PORTS), ends[0])
    rows = np.flatnonzero(here & is_connected(every) & (choosable & ~ports)[every.sport])
    sport = every.sport[rows]
    first = first_half[sport]
    towards = group(*(column[rows] for column in destinations(every)))
    of_first = np.bincount(towards.index[first], minlength=len(towards))
    filled = (of_first >= (first_half & ~ports).sum())[towards.index]
    ports[sport[~first & ~filled]] = True
    unsure = np.zeros(PORTS, np.bool_)
    unsure[sport[~first & filled]] = True
    if not (choosable & ~first_half & ~in_use).any():  # bind() to port 0 had to go on in the first half
        unsure[sport[first]] = True
    return BoundPorts(bound=ports, unsure=unsure & ~ports)


def crowded(least: int, *columns: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.bool_]:
    """Which rows may be in a group of at least so many that agree in these columns; cheap, and never misses one.

    Groups are counted by a hash of the columns: on a busy host without a large one that leaves few rows to group.
    """
    hashed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        hashed = (hashed ^ column) * _ODD
    slot = (hashed >> _UNUSED_BITS).astype(np.int32)
    enough: NDArray[np.bool_] = (np.bincount(slot, minlength=1) >= least)[slot]
    return enough


def destinations(sockets: SocketTable) -> tuple[Column, ...]:
    """Columns to group by: each combination has a port budget of its own."""
    return sockets.src_hi, sockets.src_lo, sockets.dst_hi, sockets.dst_lo, sockets.dport
