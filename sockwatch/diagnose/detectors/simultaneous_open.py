"""Two clients connected to each other: their SYNs crossed, and no listener took part.

What it sees:
    Connections of which both ends are on this host and both called connect(); connections whose SYN was answered by a
    SYN and that have received no data since; and such handshakes while they last. A socket that is connected to itself
    is another matter (self_connect).

Why it matters:
    It is legal (RFC 9293, figure 8) and rare. Two programs that connect from fixed ports to each other, or one that
    keeps trying a port from which somebody else connects here, get a connection that no server knows of. Peer-to-peer
    programs do it on purpose to get through NAT.

Kernel fields:
    tcpi_bytes_acked counts the SYN of the end that called connect() (Linux 4.19 has all that this takes). An end that
    went from SYN_SENT to SYN_RECV never sets the time of its last data: tcpi_last_data_recv is the uptime less the
    300 s at which jiffies start. A socket in SYN_RECV that has an inode and no listener is in such a handshake.

When it is wrong:
    Where only one end is on this host it is not noticed once data has arrived. A connection that was opened 300 s
    after boot and never received anything looks like one. Few of very many established connections are read in detail
    at each look.

What to do:
    Nothing, if it is meant. Else let one side listen, and do not bind the source port of a client.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose import role
from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ends import NOT_HERE, describe_ends, find_ends, other_ends
from sockwatch.diagnose.role import Role, is_listened
from sockwatch.diagnose.verdict import Advice, Telling, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import NO_DETAIL, SocketTable
from sockwatch.model.state import State

CODE = "simultaneous_open"
OPEN = (State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_2)

JIFFIES_START_MS = 300_000
"""-INITIAL_JIFFIES (include/linux/jiffies.h): the clock that tcp_info counts from passes 0 five minutes after boot."""
CLOCK_BITS_MS = 2**32
TOLERANCE_MS = 3_000
"""Between the uptime of the look and the moment at which a socket was read."""

TELLING = Telling(
    summary="{how_many} of {who} opened from both sides at once, without a listener",
    cause="Each end called connect() and got the other's SYN instead of an answer (simultaneous open, RFC 9293). No "
    "server accepted this connection.",
    remedies=(
        "Nothing to do if it is meant, as in peer-to-peer programs that get through NAT that way.",
        "Else let one side listen(), and let the other connect() without binding its source port.",
    ),
    advice=(
        Advice(
            name="net.ipv4.ip_local_reserved_ports",
            effect=Effect.HELPS,
            why="a client never draws a reserved port as its source port, so that nobody can meet it there by chance",
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Opened:
    """One end of each connection that opened from both sides, and how that shows."""

    sockets: SocketTable
    both_connected: NDArray[np.bool_]
    crossed: NDArray[np.bool_]
    opening: NDArray[np.bool_]


def detect(window: Window, settings: Settings) -> Iterator[Finding]:
    """One finding per process and pair of addresses, always info."""
    del settings  # it is what it is at any age
    opened = window.once(_opened)
    sockets = opened.sockets
    ends = (sockets.src_hi, sockets.src_lo, sockets.dst_hi, sockets.dst_lo)
    for rows, folded in split(window.owners.of(sockets), *ends, apart=(sockets.netns,)):
        group = sockets.take(rows)
        yield tell(
            window,
            group,
            TELLING,
            code=CODE,
            folded=folded,
            variant=None,
            severity=Severity.INFO,
            subject=subject(window, group),
            other_end=describe_ends(find_ends(window.current, group), window.owners),
            evidence={
                "both_ends_connected": int(opened.both_connected[rows].sum()),
                "crossed_syns": int(opened.crossed[rows].sum()),
                "still_opening": int(opened.opening[rows].sum()),
            },
        )


def suspects(window: Window, settings: Settings) -> SocketTable:
    """These sockets and their other ends."""
    del settings
    sockets = window.once(_opened).sockets
    return SocketTable.concatenate([sockets, find_ends(window.current, sockets).sockets])


def _opened(window: Window) -> _Opened:
    every = window.sockets
    read = every.is_in_state(*OPEN) & (every.detail_row != NO_DETAIL)
    sockets = every.take(read | (every.is_in_state(State.SYN_RECV) & (every.inode != 0)))
    to_itself = (sockets.src_lo == sockets.dst_lo) & (sockets.src_hi == sockets.dst_hi)
    sockets = sockets.take(~to_itself | (sockets.sport != sockets.dport))
    known = role.lasting_roles(window, sockets)
    connected = known == Role.CONNECTED
    both = np.zeros(len(sockets), np.bool_)
    both[connected] = _other_of(window, sockets.take(connected)) != NOT_HERE
    crossed = _crossed(window, sockets) & (known != Role.ACCEPTED)
    listened = is_listened(window.current, sockets.netns, sockets.sport)
    opening = sockets.is_in_state(State.SYN_RECV) & (sockets.inode != 0) & ~listened
    rows = np.flatnonzero(both | crossed | opening)
    rows = rows[_one_end(window, sockets.take(rows), crossed[rows])]
    return _Opened(sockets=sockets.take(rows), both_connected=both[rows], crossed=crossed[rows], opening=opening[rows])


def _other_of(window: Window, sockets: SocketTable) -> NDArray[np.intp]:
    """For each of these sockets the row of its other end among them, or NOT_HERE."""
    return other_ends(replace(window.current, sockets=sockets), sockets)


def _crossed(window: Window, sockets: SocketTable) -> NDArray[np.bool_]:
    """Which open sockets answered a SYN to their own and have received no data since; a FIN counts as one byte."""
    received = sockets.detail("last_data_recv")
    expected = (window.current.monotonic * 1e3 - JIFFIES_START_MS) % CLOCK_BITS_MS
    distance = np.abs(received - expected)
    unset = np.minimum(distance, CLOCK_BITS_MS - distance) <= TOLERANCE_MS
    crossed: NDArray[np.bool_] = unset & sockets.is_in_state(*OPEN) & (sockets.detail("bytes_received") <= 1)
    return crossed


def _one_end(window: Window, sockets: SocketTable, crossed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which sockets stand for their connection: of two ends that which crossed, else that with the lower port."""
    other = _other_of(window, sockets)
    order = np.lexsort((np.arange(len(sockets)), sockets.sport, ~crossed))
    rank = np.empty(len(sockets), np.intp)
    rank[order] = np.arange(len(sockets))
    stands: NDArray[np.bool_] = (other == NOT_HERE) | (rank < rank[other])
    return stands


DETECTOR = Detector(
    asks=Asks(
        states=frozenset({*OPEN, State.SYN_RECV}),
        details=role.DETAILS | {"last_data_recv", "bytes_received"},
        sysctls=frozenset(a.name for a in TELLING.advice),
    ),
    settings=Settings(),
    detect=detect,
    suspects=suspects,
)
