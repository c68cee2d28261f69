"""TCP uses as much memory as tcp_mem allows, or nearly.

What it sees:
    The pages that all TCP sockets of the host use, above the second value of net.ipv4.tcp_mem (pressure) or the third
    (the end); with two looks also that the kernel went into pressure in between and is still above the first.

Why it matters:
    Under pressure the kernel shrinks windows and buffers, drops out-of-order data, and throughput falls. Above the
    third value no socket gets memory: received data is dropped, send() waits, close() resets.

Kernel fields:
    sockstat.TCP.mem, in pages, which counts the whole host, all namespaces; net.ipv4.tcp_mem, which exists in the
    initial namespace only; TcpExt.TCPMemoryPressures. idiag_rqueue and idiag_wqueue show whose data waits
    (__sk_mem_raise_allocated in net/core/sock.c).

When it is wrong:
    Queues hold bytes, memory counts buffers, which are larger; a cgroup with a memory limit has pressure of its own,
    which this does not see.

What to do:
    Look at the process with the largest queues: data that is never read, or clients that do not read. Raise tcp_mem
    only if the machine has memory to spare.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sockwatch.diagnose.detector import Detector, NoDataError, Settings
from sockwatch.diagnose.ports import SOON_SECONDS
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, named, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity, Subject
from sockwatch.model.snapshot import UNKNOWN, Asks, Namespace
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "memory_pressure"
TCP_MEM = "net.ipv4.tcp_mem"
_THREE_NUMBERS = re.compile(r"([0-9]{1,19})\s+([0-9]{1,19})\s+([0-9]{1,19})")
MOST_NAMED = 1000
"""Of how many sockets, those with the largest queues, the holders are looked up."""

TELLING = Telling(
    summary="TCP uses {pages} pages of memory: {how}",
    cause="net.ipv4.tcp_mem is {limits} (in pages, usually of 4 KiB): below the first value nothing happens, above the "
    "second the kernel shrinks windows and buffers until use falls below the first, above the third it gives memory to "
    "no TCP socket. {whose}",
    remedies=(
        "Look at the largest queues: Recv-Q is what the process does not read, Send-Q what the peer does not take.",
        "Raise net.ipv4.tcp_mem only if the machine has memory to spare; it is meant to protect the rest of it.",
    ),
    advice=(
        Advice(name=TCP_MEM, effect=Effect.HELPS, why="these are the limits, for the whole host; the unit is pages"),
        Advice(
            name="net.ipv4.tcp_rmem",
            effect=Effect.HELPS,
            why="its third value bounds what one socket may hold of received data; lower it and each takes less",
        ),
        Advice(
            name="net.ipv4.tcp_wmem",
            effect=Effect.HELPS,
            why="its third value bounds what one socket may hold of data to send; lower it and each takes less",
        ),
        Advice(
            name="net.core.rmem_max",
            effect=Effect.NONE,
            why="it bounds what setsockopt(SO_RCVBUF) may ask for, not what the kernel gives by itself",
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings(Settings):
    """When memory is short."""

    critical_seconds: float = SOON_SECONDS
    """Critical when, under pressure, the last value of tcp_mem is reached within so many seconds at this growth."""


def detect(window: Window, settings: MemorySettings) -> Iterator[Finding]:
    """One finding, about the host: the limits are of the initial namespace, and so is what is counted against them."""
    for index, namespace in enumerate(window.namespaces):
        if not namespace.initial:
            continue
        pages, limits = _used_and_allowed(namespace)
        if pages is None or limits is None:
            raise NoDataError("needs sockstat and net.ipv4.tcp_mem of the initial namespace")
        if not _is_pressed(window, pages, limits):
            continue
        seconds = _seconds_left(window, index, pages, limits[2])
        refuses = pages > limits[2] or (seconds is not None and seconds < settings.critical_seconds)
        queued = _queued(window)
        whole = State.ESTABLISHED not in window.unread
        most = _most_queued_by(window, queued) if whole else None
        yield tell(
            window,
            queued,
            TELLING,
            code=CODE,
            variant=None,
            severity=Severity.CRITICAL if refuses else Severity.WARNING,
            subject=Subject(netns=namespace.name),
            netns=index,
            held=SocketTable.empty(),
            evidence=_evidence(pages, limits, seconds) | (_queues(queued, most) if whole else {}),
            pages=f"{pages:,}",
            limits=" ".join(map(str, limits)),
            how=_how(pages, limits, seconds),
            whose=f"Most of what waits in queues is held by {most}." if most else "",
        )


def suspects(window: Window, settings: MemorySettings) -> SocketTable:
    """The sockets with the largest queues, while memory is short."""
    del settings
    for namespace in window.namespaces:
        pages, limits = _used_and_allowed(namespace) if namespace.initial else (None, None)
        if pages is not None and limits is not None and _is_pressed(window, pages, limits):
            queued = _queued(window)
            return queued.take(np.arange(min(len(queued), MOST_NAMED)))
    return SocketTable.empty()


def _used_and_allowed(namespace: Namespace) -> tuple[int | None, tuple[int, int, int] | None]:
    """Pages in use, and the three values of tcp_mem."""
    parts = _THREE_NUMBERS.fullmatch(namespace.sysctls.get(TCP_MEM, "").strip())
    limits = None if parts is None else (int(parts[1]), int(parts[2]), int(parts[3]))
    return namespace.counters.get("sockstat.TCP.mem"), limits


def _is_pressed(window: Window, pages: int, limits: tuple[int, int, int]) -> bool:
    """Whether the kernel is under pressure: it goes in above the second value and comes out below the first."""
    entered = sum(window.increase(i, "TcpExt.TCPMemoryPressures") or 0 for i in range(len(window.namespaces)))
    return pages > limits[1] or (entered > 0 and pages > limits[0])


def _seconds_left(window: Window, netns: int, pages: int, limit: int) -> float | None:
    """Until the last limit, at the growth since the previous look; None without one, or when it does not grow."""
    growth = window.increase(netns, "sockstat.TCP.mem")
    if growth is None or growth <= 0 or not window.elapsed:
        return None
    return max(limit - pages, 0) / (growth / window.elapsed)


def _queued(window: Window) -> SocketTable:
    """The sockets of all namespaces with data in their queues, most first; a listener's queues hold connections."""
    sockets = window.sockets
    bytes_queued = _bytes(sockets)
    rows = np.flatnonzero((bytes_queued > 0) & ~sockets.is_in_state(State.LISTEN))
    return sockets.take(rows[np.argsort(-bytes_queued[rows], kind="stable")])


def _bytes(sockets: SocketTable) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return sockets.recv_q.astype(np.int64) + sockets.send_q


def _most_queued_by(window: Window, queued: SocketTable) -> str | None:
    """The process that holds most of the queued bytes, of those that could be seen."""
    holders = window.owners.of(queued)
    known = holders != UNKNOWN
    if not known.any():
        return None
    return named(window.owners.processes[int(np.bincount(holders[known], weights=_bytes(queued)[known]).argmax())])


def _how(pages: int, limits: tuple[int, int, int], seconds: float | None) -> str:
    if pages > limits[2]:
        return f"more than tcp_mem allows at all ({limits[2]:,}); no socket gets more"
    soon = "" if seconds is None else f", which is reached in {seconds:,.0f} s at this growth"
    if pages > limits[1]:
        return f"above the pressure value of tcp_mem ({limits[1]:,}), the end is {limits[2]:,}{soon}"
    return f"it went above the pressure value of tcp_mem ({limits[1]:,}) since the last look, the end is {limits[2]:,}"


def _evidence(pages: int, limits: tuple[int, int, int], seconds: float | None) -> Evidence:
    evidence: Evidence = {"pages": pages, "pressure_pages": limits[1], "max_pages": limits[2]}
    if seconds is not None:
        evidence["seconds_left"] = round(seconds, 1)
    return evidence


def _queues(queued: SocketTable, most: str | None) -> Evidence:
    evidence: Evidence = {
        "recv_q_bytes": int(queued.recv_q.sum(dtype=np.int64)),
        "send_q_bytes": int(queued.send_q.sum(dtype=np.int64)),
    }
    if most is not None:
        evidence["most_queued_by"] = most
    return evidence


DETECTOR = Detector(
    asks=Asks(sysctls=frozenset(a.name for a in TELLING.advice)),
    rows=frozenset({State.ESTABLISHED}),
    partly=True,
    settings=MemorySettings(),
    detect=detect,
    suspects=suspects,
)
