"""Orphans near tcp_max_orphans: the kernel resets closed connections before their data has arrived.

What it sees:
    The host's number of orphans (sockets that their process closed and whose data or FIN is not acknowledged yet)
    at half of net.ipv4.tcp_max_orphans or more; with two looks also orphans that the kernel killed in between.

Why it matters:
    Above the limit close() sends a reset instead of a FIN: what was still in the send buffer is lost, and the peer sees
    "connection reset". Long before, the kernel is harder on orphans that do not get on: each counts twice when it was
    silent for four minutes, twice again after an ICMP error. So from half of the limit on some are killed, after such
    an error from a quarter on.

Kernel fields:
    sockstat.TCP.orphan, which counts the whole host, all namespaces; net.ipv4.tcp_max_orphans, which exists in the
    initial namespace only; TcpExt.TCPAbortOnMemory. The sockets shown are those without a descriptor in FIN_WAIT_1,
    FIN_WAIT_2, CLOSING and LAST_ACK of all namespaces that were looked at (tcp_too_many_orphans in net/ipv4/tcp.c,
    tcp_out_of_resources in net/ipv4/tcp_timer.c).

When it is wrong:
    A large burst of closes towards slow clients looks the same and drains by itself. Which process closed an orphan is
    no longer known.

What to do:
    Find out why the peers do not acknowledge: closing_stuck names them. Raise tcp_max_orphans where there is memory for
    it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sockwatch.diagnose.detector import Detector, NoDataError, Settings
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.constraint import Share
from sockwatch.model.finding import Effect, Finding, Severity, Subject
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State, Timer

CODE = "orphan_pressure"
MAX_ORPHANS = "net.ipv4.tcp_max_orphans"
HARDEST = 4
"""How many times the kernel counts an orphan that was silent and got an ICMP error (tcp_out_of_resources)."""

TELLING = Telling(
    summary="{orphans} orphaned sockets, {share} of tcp_max_orphans ({limit}){killed}",
    cause="An orphan is a socket that its process closed while its data or its FIN is not acknowledged yet. {what} "
    "Above the limit close() resets the connection and drops what was not sent; from half of it on orphans that do not "
    "get on are killed.",
    remedies=(
        "Find out why the peers do not acknowledge: slow or vanished clients, a lossy path, a flood that never reads.",
        "Raise net.ipv4.tcp_max_orphans if there is memory for it: each orphan keeps its unsent data in kernel memory.",
    ),
    advice=(
        Advice(name=MAX_ORPHANS, effect=Effect.HELPS, why="it is the limit, for the whole host"),
        Advice(
            name="net.ipv4.tcp_orphan_retries",
            effect=Effect.HELPS,
            why="it says how often an orphan is repeated before it is given up; 0 means 8, some 102 s",
        ),
        Advice(
            name="net.ipv4.tcp_fin_timeout",
            effect=Effect.LIMITS,
            why="closed sockets in FIN_WAIT_2 count as orphans only where it is above 60",
        ),
        Advice(
            name="net.ipv4.tcp_max_tw_buckets",
            effect=Effect.NONE,
            why="sockets in TIME_WAIT are no orphans",
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanSettings(Settings):
    """When orphans are many."""

    used: Share = 0.5
    """The share of tcp_max_orphans from which on the kernel kills some of them before their time."""


def detect(window: Window, settings: OrphanSettings) -> Iterator[Finding]:
    """One finding, about the host: the limit is of the initial namespace, and so is what is counted against it."""
    for index, namespace in enumerate(window.namespaces):
        if not namespace.initial:
            continue
        orphans = namespace.counters.get("sockstat.TCP.orphan")
        limit = namespace.number(MAX_ORPHANS)
        if orphans is None or limit is None:
            raise NoDataError("needs sockstat and net.ipv4.tcp_max_orphans of the initial namespace")
        # The limit is the host's, and whose orphan the kernel kills is counted in the namespace of that one.
        killed = sum(window.increase(i, "TcpExt.TCPAbortOnMemory") or 0 for i in range(len(window.namespaces)))
        # The counter also moves for want of memory: it is about orphans only where there are so many of them.
        if orphans <= settings.used * limit and not (killed > 0 and HARDEST * orphans > limit):
            continue
        sockets = _orphans(window)
        here = int((sockets.netns == index).sum())
        evidence: Evidence = {"orphans": orphans, "limit": limit, "in_this_namespace": here}
        if len(window.namespaces) > 1:
            evidence["in_other_namespaces"] = len(sockets) - here
        if window.previous is not None:
            evidence["killed"] = killed
        yield tell(
            window,
            sockets,
            TELLING,
            code=CODE,
            variant=None,
            severity=Severity.WARNING,
            subject=Subject(netns=namespace.name),
            netns=index,
            held=SocketTable.empty(),
            evidence=evidence,
            orphans=f"{orphans:,}",
            limit=f"{limit:,}",
            share=f"{orphans / limit:.0%}" if limit > 0 else "more than all",
            killed=f", {killed:,} killed since the last look" if killed > 0 else "",
            what=_what(sockets, every=len(window.namespaces) > 1),
        )


def _orphans(window: Window) -> SocketTable:
    """The full sockets without a descriptor; what is left of a closed socket as a minisocket is no orphan."""
    sockets = window.sockets
    closing = sockets.is_in_state(State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.LAST_ACK)
    return sockets.take(closing & (sockets.inode == 0) & (sockets.timer != Timer.TIME_WAIT))


def _what(sockets: SocketTable, *, every: bool) -> str:
    """Which there are; `every`: namespace was looked at, not only the initial one."""
    counts = [(count, state.label) for state, count in sockets.count_by_state().items() if count]
    if not counts:
        return "" if every else "Those of this host are in other namespaces."
    seen = "In the namespaces that were looked at: " if every else "Here: "
    return seen + ", ".join(f"{count:,} in {label}" for count, label in sorted(counts, reverse=True)) + "."


DETECTOR = Detector(
    asks=Asks(sysctls=frozenset(a.name for a in TELLING.advice)),
    settings=OrphanSettings(),
    detect=detect,
)
