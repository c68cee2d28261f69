"""The connection-tracking table is nearly full: the firewall drops the packets of new connections.

What it sees:
    The entries of the table of each namespace against net.netfilter.nf_conntrack_max; with two looks how long the rest
    lasts.

Why it matters:
    When the table is full, the kernel drops the first packet of every new connection unless it can evict an entry that
    never saw an answer. Clients see connections that time out at random, and only the kernel log says why
    ("nf_conntrack: table full, dropping packet").

Kernel fields:
    net.netfilter.nf_conntrack_count, of the namespace, and nf_conntrack_max, which exist where the module nf_conntrack
    is loaded (__nf_conntrack_alloc in net/netfilter/nf_conntrack_core.c).

When it is wrong:
    A table that stays at its threshold for months without growing is full and not sick. Entries are not sockets: a
    router has many of them and no socket, and an entry outlives its connection.

What to do:
    Raise nf_conntrack_max, shorten the timeouts that keep the entries, or exempt busy traffic that needs no tracking.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ports import SOON_SECONDS
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.constraint import Share
from sockwatch.model.finding import Effect, Finding, Severity, Subject
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable

CODE = "conntrack_pressure"
COUNT = "net.netfilter.nf_conntrack_count"
MAX = "net.netfilter.nf_conntrack_max"

TELLING = Telling(
    summary="connection tracking uses {entries} of {limit} entries ({share}){forecast}",
    cause="The firewall keeps an entry for every flow through or to this host, UDP and closed connections included. "
    "When the table is full, the first packets of new connections are dropped without an answer.",
    remedies=(
        "Raise net.netfilter.nf_conntrack_max: an entry takes about 300 bytes; raise nf_conntrack_buckets as well.",
        "Shorten the timeouts that keep dead entries, or exempt traffic that needs no tracking (a notrack rule).",
    ),
    advice=(
        Advice(name=MAX, effect=Effect.HELPS, why="it is the limit; it is set in the initial namespace"),
        Advice(
            name="net.netfilter.nf_conntrack_tcp_timeout_time_wait",
            effect=Effect.HELPS,
            why="how long the entry of a closed connection stays, in seconds; it has nothing to do with the socket",
        ),
        Advice(
            name="net.netfilter.nf_conntrack_tcp_timeout_established",
            effect=Effect.HELPS,
            why="how long an idle connection keeps its entry, in seconds; 432000 is five days",
        ),
        Advice(
            name="net.netfilter.nf_conntrack_buckets",
            effect=Effect.NONE,
            why="more buckets make the search faster, not the table larger",
        ),
        Advice(
            name="net.ipv4.tcp_fin_timeout",
            effect=Effect.NONE,
            why="it is about sockets; entries have timeouts of their own",
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConntrackSettings(Settings):
    """When the table is nearly full."""

    used: Share = 0.8
    """A warning from this used share on."""
    critical_seconds: float = SOON_SECONDS
    """Critical when, beyond that share, the table is full within so many seconds at this growth."""


def detect(window: Window, settings: ConntrackSettings) -> Iterator[Finding]:
    """One finding per namespace; where connections are not tracked there is nothing to find."""
    for index, namespace in enumerate(window.namespaces):
        entries, limit = namespace.number(COUNT), namespace.number(MAX)
        # 0 is no limit (__nf_conntrack_alloc).
        if entries is None or not limit or entries < settings.used * limit:
            continue
        seconds = _seconds_left(window, index, entries, limit)
        refuses = entries >= limit or (seconds is not None and seconds < settings.critical_seconds)
        evidence: Evidence = {"entries": entries, "limit": limit, "used_ratio": round(entries / limit, 3)}
        if seconds is not None:
            evidence["seconds_left"] = round(seconds, 1)
        yield tell(
            window,
            SocketTable.empty(),
            TELLING,
            code=CODE,
            variant=None,
            severity=Severity.CRITICAL if refuses else Severity.WARNING,
            subject=Subject(netns=namespace.name),
            netns=index,
            evidence=evidence,
            entries=f"{entries:,}",
            limit=f"{limit:,}",
            share=f"{entries / limit:.0%}",
            forecast=_forecast(entries, limit, seconds),
        )


def _seconds_left(window: Window, netns: int, entries: int, limit: int) -> float | None:
    """Until the table is full at the growth since the previous look; None without one, or when it does not grow."""
    number = window.number_before(netns)
    before = None if window.previous is None or number is None else window.previous.namespaces[number].number(COUNT)
    if before is None or entries <= before or not window.elapsed:
        return None
    return max(limit - entries, 0) / ((entries - before) / window.elapsed)


def _forecast(entries: int, limit: int, seconds: float | None) -> str:
    if entries >= limit:
        return ": new connections are dropped now"
    return "" if seconds is None else f", the rest lasts {seconds:,.0f} s at this growth"


DETECTOR = Detector(
    asks=Asks(sysctls=frozenset({COUNT} | {a.name for a in TELLING.advice})),
    settings=ConntrackSettings(),
    detect=detect,
)
