"""A UDP socket's receive buffer overflows: datagrams are dropped and nobody is told.

What it sees:
    UDP sockets whose buffer has no room for another packet and that have dropped some before; with two looks also those
    that dropped packets in between, whether or not their buffer is full now.

Why it matters:
    UDP has no flow control. The sender learns nothing, the process that does not read learns nothing; queries time out,
    log lines and metrics are missing.

Kernel fields:
    SKMEMINFO of UDP sockets over sock_diag (skmem_rmem_alloc, skmem_rcvbuf, skmem_drops), for which the module udp_diag
    must be there; Udp.RcvbufErrors, to tell drops for another reason apart (__udp_enqueue_schedule_skb in
    net/ipv4/udp.c).

When it is wrong:
    skmem_drops also counts bad checksums and what a socket filter refused. For IPv4 these are left out while
    Udp.RcvbufErrors stands still; of IPv6 the host's counter is not read.

What to do:
    Find out why the process does not read. If it only falls behind in bursts: a larger SO_RCVBUF, and rmem_max with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable

CODE = "udp_receive_drops"
AF_INET = 2
PACKET_BYTES = 2304
"""What a datagram of 1500 bytes takes of the buffer: its data, rounded up, and the kernel's own part (truesize)."""

TELLING = Telling(
    summary="{who} loses datagrams {where}: {how}",
    cause="What arrives at a full receive buffer is dropped, and nobody is told: UDP has no flow control. The process "
    "does not read fast enough, or its buffer of {buffer} bytes is too small for the bursts that come. Even a datagram "
    "of one byte takes about 800 of them.",
    remedies=(
        "Find out why {who} does not read: blocked, stopped, or one thread for too many packets.",
        "If it only falls behind in bursts: let it ask for a larger buffer (SO_RCVBUF), and raise net.core.rmem_max.",
    ),
    advice=(
        Advice(
            name="net.core.rmem_max",
            effect=Effect.HELPS,
            why="it caps what the application asks for with SO_RCVBUF; alone it changes nothing",
        ),
        Advice(
            name="net.core.rmem_default",
            effect=Effect.HELPS,
            why="it is the buffer of sockets that ask for nothing, from the next one on",
        ),
        Advice(
            name="net.ipv4.udp_mem",
            effect=Effect.NONE,
            why="it limits all UDP sockets together; what is dropped for it counts as MemErrors",
        ),
        Advice(
            name="net.ipv4.udp_rmem_min",
            effect=Effect.NONE,
            why="it is what each socket keeps when memory is short, not the size of its buffer",
        ),
        Advice(
            name="net.core.netdev_max_backlog",
            effect=Effect.NONE,
            why="it is a queue before the sockets, with drops of its own (/proc/net/softnet_stat)",
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropSettings(Settings):
    """When lost datagrams are worth a warning."""

    dropped: int = 10
    """How many datagrams a socket must have dropped since the previous look."""


def detect(window: Window, settings: DropSettings) -> Iterator[Finding]:
    """One finding per local address and port, or per process and remote end for connected sockets."""
    sockets, dropped, full = _losing(window, settings)
    connected = sockets.dport != 0
    for rows, folded in split(
        np.where(connected, window.owners.of(sockets), 0),
        np.where(connected, sockets.dport, sockets.sport),
        np.where(connected, sockets.dst_hi, sockets.src_hi),
        np.where(connected, sockets.dst_lo, sockets.src_lo),
        apart=(connected, sockets.netns),
    ):
        group = sockets.take(rows)
        here = not connected[rows[0]]
        where = subject(window, group, remote=not here)
        yield tell(
            window,
            group,
            TELLING,
            code=CODE,
            folded=folded,
            variant=None,
            severity=Severity.WARNING,
            subject=where,
            evidence=_evidence(group, dropped[rows]),
            where=f"on {where.local}" if here else f"from {where.remote}",
            how=_how(group, dropped[rows], full[rows]),
            buffer=f"{int(group.detail('skmem_rcvbuf').min()):,}",
        )


def suspects(window: Window, settings: DropSettings) -> SocketTable:
    """The sockets that lose datagrams."""
    return _losing(window, settings)[0]


def _losing(window: Window, settings: DropSettings) -> tuple[SocketTable, NDArray[np.float64], NDArray[np.bool_]]:
    """The sockets that drop, how many each dropped since the previous look (NaN if not known), and which are full."""
    sockets = window.current.udp
    total = sockets.detail("skmem_drops")
    used = sockets.detail("skmem_rmem_alloc")
    full = (used > 0) & (sockets.detail("skmem_rcvbuf") - used < PACKET_BYTES) & (total > 0)
    dropped = _dropped_since(window, sockets)
    increases = [window.increase(i, "Udp.RcvbufErrors") for i in range(len(window.namespaces))]
    overflowed = np.array([increase is None or increase > 0 for increase in increases])
    losing = full | ((dropped >= settings.dropped) & (overflowed[sockets.netns] | (sockets.family != AF_INET)))
    return sockets.take(losing), dropped[losing], full[losing]


def _dropped_since(window: Window, sockets: SocketTable) -> NDArray[np.float64]:
    """Datagrams that each socket dropped since the previous look; NaN where that is not known."""
    dropped = np.full(len(sockets), np.nan)
    if window.previous is None:
        return dropped
    before = window.previous.udp
    _, now, then = np.intersect1d(sockets.cookie, before.cookie, return_indices=True)
    dropped[now] = sockets.detail("skmem_drops")[now] - before.detail("skmem_drops")[then]
    return dropped


def _how(sockets: SocketTable, dropped: NDArray[np.float64], full: NDArray[np.bool_]) -> str:
    said = []
    if full.any():
        said.append(
            "its receive buffer is full" if len(sockets) == 1 else f"{int(full.sum()):,} receive buffers are full"
        )
    if np.nansum(dropped) > 0:
        said.append(f"{int(np.nansum(dropped)):,} dropped since the last look")
    return ", ".join(said)


def _evidence(sockets: SocketTable, dropped: NDArray[np.float64]) -> Evidence:
    evidence: Evidence = {
        "buffer_used_bytes": int(sockets.detail("skmem_rmem_alloc").max()),
        "buffer_bytes": int(sockets.detail("skmem_rcvbuf").min()),
    }
    if not np.isnan(dropped).all():
        evidence["dropped"] = int(np.nansum(dropped))
    evidence["dropped_since_opened"] = int(sockets.detail("skmem_drops").sum())
    return evidence


DETECTOR = Detector(
    asks=Asks(sysctls=frozenset(a.name for a in TELLING.advice), udp=True),
    settings=DropSettings(),
    detect=detect,
    suspects=suspects,
)
