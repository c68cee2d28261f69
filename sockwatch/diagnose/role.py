"""Which end of its connection a socket is: the one that called connect(), or the one that was accepted."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sockwatch.model.address import is_any
from sockwatch.model.grouping import group
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

DETAILS = frozenset({"bytes_acked", "bytes_sent", "bytes_retrans", "notsent_bytes"})
"""The details that tell the role; a detector that wants roles asks for them."""


class Role(IntEnum):
    """The values of roles()."""

    UNKNOWN = -1
    ACCEPTED = 0
    CONNECTED = 1


def roles(sockets: SocketTable) -> NDArray[np.int8]:
    """The Role of each socket, from one look.

    tcpi_bytes_acked counts the SYN and the FIN that this end sent, tcpi_bytes_sent counts neither (tcp_output.c,
    tcp_input.c). What is acknowledged beyond the data that was sent is therefore 1 for the SYN of an active opener,
    plus 1 for an acknowledged or queued FIN. The queue is read without the socket's lock, so a busy sender can show
    any number: everything but the two possible values is UNKNOWN. The byte counts came with v4.19.
    """
    excess = (
        sockets.detail("bytes_acked")
        + sockets.send_q
        - sockets.detail("notsent_bytes")
        - (sockets.detail("bytes_sent") - sockets.detail("bytes_retrans"))
    )
    excess = np.where(sockets.is_in_state(State.FIN_WAIT_2), excess - 1, excess)
    readable = sockets.is_in_state(State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_2)
    role = np.full(len(sockets), Role.UNKNOWN, np.int8)
    role[readable & (excess == 0)] = Role.ACCEPTED
    role[readable & (excess == 1)] = Role.CONNECTED
    return role


def listened_ports(snapshot: Snapshot) -> NDArray[np.bool_]:
    """Which ports are listened on, for each namespace: a mask of shape (namespaces, 65536)."""
    ports = np.zeros((len(snapshot.namespaces), 65536), np.bool_)
    listeners = snapshot.sockets.in_state(State.LISTEN)
    ports[listeners.netns, listeners.sport] = True
    return ports


def listeners_of(snapshot: Snapshot, sockets: SocketTable) -> SocketTable:
    """The listeners that may have accepted these sockets: those on their ports and on their address or on any.

    An accepted socket has the family of its listener, also where its addresses are v4-mapped.
    """
    listeners = snapshot.sockets.in_state(State.LISTEN)
    here = is_any(listeners.src_hi, listeners.src_lo) | _agrees(listeners, sockets, "netns", "src_hi", "src_lo")
    return listeners.take(here & _agrees(listeners, sockets, "netns", "family", "sport"))


def _agrees(listeners: SocketTable, sockets: SocketTable, *columns: str) -> NDArray[np.bool_]:
    """Which listeners agree in these columns with at least one of the sockets."""
    first, *rest = (np.concatenate([getattr(sockets, name), getattr(listeners, name)]) for name in columns)
    groups = group(first, *rest)
    present = np.zeros(len(groups), np.bool_)
    present[groups.index[: len(sockets)]] = True
    return present[groups.index[len(sockets) :]]


def serves(snapshot: Snapshot, sockets: SocketTable) -> NDArray[np.bool_]:
    """Which sockets are the serving end: accepted ones, and where the role is unknown those on a listening port."""
    role = roles(sockets)
    on_listener = listened_ports(snapshot)[sockets.netns, sockets.sport]
    serving: NDArray[np.bool_] = (role == Role.ACCEPTED) | ((role == Role.UNKNOWN) & on_listener)
    return serving
