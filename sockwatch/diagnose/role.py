"""Which end of its connection a socket is: the one that called connect(), or the one that was accepted."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose.window import Window
from sockwatch.model.address import is_any
from sockwatch.model.grouping import group
from sockwatch.model.identity import NOT_THERE, find_cookies
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

DETAILS = frozenset({"bytes_acked", "bytes_sent", "bytes_retrans", "notsent_bytes"})
"""The details that tell the role; a detector that wants roles asks for them."""


_FIN_SENT = (State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.LAST_ACK)
"""The application has closed: a FIN is in the send queue, has been sent, or is acknowledged."""


class Role(IntEnum):
    """The values of roles()."""

    UNKNOWN = -1
    ACCEPTED = 0
    CONNECTED = 1


def roles(sockets: SocketTable) -> NDArray[np.int8]:
    """The Role of each socket, from one look.

    tcpi_bytes_acked counts the SYN and the FIN that this end sent, tcpi_bytes_sent counts neither (tcp_output.c,
    tcp_input.c). What is acknowledged or queued beyond the data that was sent is therefore 1 for the SYN of an active
    opener, plus 1 for a FIN that has been sent; a FIN is the last byte of its queue, so it has been if nothing there
    is unsent. The queue is read without the socket's lock, so a busy sender can show any number: everything but the
    two possible values is UNKNOWN. The byte counts came with v4.19. Who is in SYN_SENT called connect().
    """
    unsent = sockets.detail("notsent_bytes")
    excess = (
        sockets.detail("bytes_acked")
        + sockets.send_q
        - unsent
        - (sockets.detail("bytes_sent") - sockets.detail("bytes_retrans"))
    )
    finished = sockets.is_in_state(*_FIN_SENT)
    excess = np.where(finished & (unsent == 0), excess - 1, excess)
    readable = finished | sockets.is_in_state(State.ESTABLISHED, State.CLOSE_WAIT)
    role = np.full(len(sockets), Role.UNKNOWN, np.int8)
    role[readable & (excess == 0)] = Role.ACCEPTED
    role[(readable & (excess == 1)) | sockets.is_in_state(State.SYN_SENT)] = Role.CONNECTED
    return role


def lasting_roles(window: Window, sockets: SocketTable) -> NDArray[np.int8]:
    """The Role of each socket, from all looks: one that is UNKNOWN now is what it was, as no role changes."""
    role = roles(sockets)
    rows = window.history.find(sockets)
    hidden = np.flatnonzero((role == Role.UNKNOWN) & (rows != NOT_THERE))
    role[hidden] = window.history.role[rows[hidden]]
    unknown = np.flatnonzero(role == Role.UNKNOWN)
    if window.previous is None or not len(unknown):
        return role
    before = window.previous.sockets
    place = find_cookies(sockets.cookie[unknown], before.cookie)
    found = place != NOT_THERE
    role[unknown[found]] = roles(before.take(place[found]))
    return role


def is_listened(snapshot: Snapshot, netns: NDArray[np.uint16], port: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Which of these ports are listened on in their namespaces, whatever the address."""
    if len(snapshot.namespaces) == 1:
        return listened_ports(snapshot, 0)[port]
    listeners = snapshot.sockets.in_state(State.LISTEN)
    keys = np.unique(_key(listeners.netns, listeners.sport))
    if not len(keys):
        return np.zeros(len(port), np.bool_)
    wanted = _key(netns, port)
    listened: NDArray[np.bool_] = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
    return listened


def listened_ports(snapshot: Snapshot, netns: int) -> NDArray[np.bool_]:
    """The ports that are listened on in a namespace, a mask over all ports."""
    listeners = snapshot.sockets.in_state(State.LISTEN)
    ports = np.zeros(65536, np.bool_)
    ports[listeners.sport[listeners.netns == netns]] = True
    return ports


def _key(netns: NDArray[np.uint16], port: NDArray[np.uint16]) -> NDArray[np.uint32]:
    key: NDArray[np.uint32] = netns.astype(np.uint32) << np.uint32(16) | port
    return key


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


def serves(snapshot: Snapshot, sockets: SocketTable, role: NDArray[np.int8] | None = None) -> NDArray[np.bool_]:
    """Which sockets are the serving end: accepted ones, and where the role is unknown those on a listening port.

    `role` are their roles where more is known than this look tells (lasting_roles).
    """
    if role is None:
        role = roles(sockets)
    on_listener = is_listened(snapshot, sockets.netns, sockets.sport)
    serving: NDArray[np.bool_] = (role == Role.ACCEPTED) | ((role == Role.UNKNOWN) & on_listener)
    return serving
