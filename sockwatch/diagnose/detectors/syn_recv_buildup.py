"""Half-open handshakes pile up on a listener: SYNs came, were answered, and the last ACK does not come.

What it sees:
    Listeners with as many half-open handshakes as they may hold, most of which do not answer (flood): many of them, or
    fewer while the namespace drops SYNs or answers them with cookies. And listeners below that limit on which many
    handshakes have been half-open for long, and make up a good part of all connections there (unacknowledged).

Why it matters:
    With tcp_syncookies=1 a full listener goes on with cookies, which lose TCP options; with 0 it drops the SYNs of
    everybody. Handshakes that stay half-open below the limit tell of clients that get no SYN-ACK, or whose ACK does
    not arrive: such clients wait, or believe that they are connected.

Kernel fields:
    Requests (TCP_NEW_SYN_RECV): idiag_retrans counts the repeated SYN-ACKs, idiag_expires is the time to the next one.
    A client that repeats its SYN gets the SYN-ACK again, which counts too and restarts the timer: the timer alone tells
    how old a request is at least, the count how old it is at most. idiag_wqueue of the listener is its backlog, which
    limits requests as well.

When it is wrong:
    Where tcp_syncookies or tcp_max_syn_backlog cannot be read a flood may show as unacknowledged, with low confidence.
    A flood from addresses that do not exist and a broken way back look alike; the number of sources is in the evidence.
    Port scans leave a few old requests on any public listener; they count only if they are many. With
    tcp_syncookies=2 the kernel keeps no requests and nothing is seen here. TCP_DEFER_ACCEPT keeps finished handshakes
    as requests that repeat no SYN-ACK, and TCP Fast Open makes full sockets of them: neither counts. The age at least
    is short just before a timeout: handshakes that only may be old are told as a guess (info), which a second look at
    them settles. The counters of dropped SYNs and cookies belong to the namespace: those of one listener can make a
    flood of another that is full as well.

What to do:
    Against a flood keep tcp_syncookies at 1 and raise the application's backlog. If handshakes stay half-open without
    one, look for a firewall or a route that loses SYN-ACKs or ACKs: capture on both sides.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose.age import Ages, Seconds
from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ends import describe_ends, find_ends
from sockwatch.diagnose.role import listeners_of
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, age_evidence, severity, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.address import is_any
from sockwatch.model.constraint import Share
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.grouping import Column, group
from sockwatch.model.snapshot import Asks, Namespace
from sockwatch.model.sockets import SHUTDOWN_UNKNOWN, SocketTable
from sockwatch.model.state import State

CODE = "syn_recv_buildup"
VARIANTS = ("flood", "unacknowledged")

SYNACK_RETRIES = 5
"""Where net.ipv4.tcp_synack_retries cannot be read: TCP_SYNACK_RETRIES (include/net/tcp.h)."""
LAST_DOUBLING = 6
"""64 s come after 32 s; the next timeouts would be beyond TCP_RTO_MAX, 120 s."""
LIVE = (State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.LAST_ACK)

ABORT_ON_OVERFLOW = Advice(
    name="net.ipv4.tcp_abort_on_overflow",
    effect=Effect.NONE,
    why="it is about finished handshakes that find the accept queue full",
)

TELLINGS = {
    "flood": Telling(
        summary="half-open handshakes fill {where}: {requests} of {limit}, and {unanswered} of them do not answer",
        cause="The listener holds as many half-open handshakes as it may. {beyond} Typical: a SYN flood from addresses "
        "that do not exist, or clients whose answers are lost on the way here.",
        remedies=(
            "Look at the sources below: if they are strange to you, filter them in front of this host.",
            "Keep net.ipv4.tcp_syncookies at 1.",
            "Raise the backlog of {who} (the argument of listen(), capped by net.core.somaxconn): it limits these too.",
        ),
        advice=(
            Advice(
                name="net.ipv4.tcp_syncookies",
                effect=Effect.HELPS,
                why="at 1 a full listener still answers every SYN, at 0 it drops them",
            ),
            Advice(
                name="net.core.somaxconn",
                effect=Effect.LIMITS,
                why="it caps the backlog, and with it the half-open handshakes; it takes effect at the next listen()",
            ),
            Advice(
                name="net.ipv4.tcp_max_syn_backlog",
                effect=Effect.LIMITS,
                why="it counts only while tcp_syncookies is 0: three quarters of it are for clients not known before",
            ),
            Advice(
                name="net.ipv4.tcp_synack_retries",
                effect=Effect.HELPS,
                why="fewer repetitions end a half-open handshake sooner: 63 s at 5, 7 s at 2",
            ),
            ABORT_ON_OVERFLOW,
        ),
    ),
    "unacknowledged": Telling(
        summary="{requests} half-open handshakes on {where} get no last ACK, the oldest for {oldest}",
        cause="The kernel answered their SYNs, repeats its SYN-ACK and hears nothing. Either the SYN-ACKs do not reach "
        "the clients, or their ACKs do not arrive here; then they believe that they are connected.",
        remedies=(
            "Look for what loses packets in one direction: a firewall, a NAT, a route that differs from the way back.",
            "Capture on both sides: that shows whether the SYN-ACK or the ACK is lost.",
            "If the sources are strange to you it is a scan or a weak SYN flood; it harms nothing below the limit.",
        ),
        advice=(
            Advice(
                name="net.ipv4.tcp_synack_retries",
                effect=Effect.NONE,
                why="repeating the SYN-ACK more or less often does not bring the ACK",
            ),
            Advice(
                name="net.ipv4.tcp_max_syn_backlog",
                effect=Effect.NONE,
                why="there is room left",
            ),
            ABORT_ON_OVERFLOW,
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildupSettings(Settings):
    """From where on half-open handshakes are worth a word."""

    unanswered_share: Share = 0.5
    """flood: the share of a full listener's half-open handshakes that did not answer the first SYN-ACK."""
    least: int = 20
    """Unanswered half-open handshakes on one listener; fewer are a flood while SYNs are dropped or get cookies."""
    old_share: Share = 0.25
    """unacknowledged: their share of all connections on that port."""


def detect(window: Window, settings: BuildupSettings) -> Iterator[Finding]:
    """At most one finding per listener."""
    requests = _half_open(window.sockets)
    ages = _ages(window, requests)
    for rows, folded in split(*_listening(window, requests), apart=(requests.netns,)):
        yield from _judge(window, settings, requests.take(rows), ages.take(rows), folded=folded)


def suspects(window: Window, settings: BuildupSettings) -> SocketTable:
    """The listeners on which something is wrong, and the other ends of their handshakes that are on this host."""
    requests = _half_open(window.sockets)
    ages = _ages(window, requests)
    wanted = []
    for rows, _ in split(*_listening(window, requests), apart=(requests.netns,)):
        chosen = requests.take(rows)
        variant = _variant(window, settings, chosen, ages.take(rows))
        if variant is not None:
            wanted += [_listeners(window, chosen), find_ends(window.current, chosen).sockets]
    return SocketTable.concatenate(wanted)


def _judge(
    window: Window, settings: BuildupSettings, requests: SocketTable, ages: Ages, *, folded: bool
) -> Iterator[Finding]:
    variant = _variant(window, settings, requests, ages)
    if variant is None:
        return
    listeners = _listeners(window, requests)
    namespace = window.namespaces[int(requests.netns[0])]
    certain = True
    if variant == "unacknowledged":
        old, certain = _old(namespace, settings, requests, ages)
        requests, ages = requests.take(old), ages.take(old)
    where = subject(window, listeners, remote=False)
    limit = _limit(namespace, listeners)
    unanswered = int((requests.retransmits > 0).sum())
    evidence: Evidence = {
        "half_open": len(requests),
        "limit": limit,
        "unanswered": unanswered,
        "sources": len(group(requests.dst_hi, requests.dst_lo)),
        "synack_retransmits_max": int(requests.retransmits.max()),
    }
    evidence |= _turned_away(window, int(requests.netns[0]))
    refuses = variant == "flood" and namespace.number("net.ipv4.tcp_syncookies") == 0
    yield tell(
        window,
        requests,
        TELLINGS[variant],
        code=CODE,
        folded=folded,
        variant=variant,
        severity=Severity.CRITICAL if refuses else severity(certain=certain),
        subject=where,
        held=listeners,
        other_end=describe_ends(find_ends(window.current, requests), window.owners),
        ages=ages,
        evidence=evidence | age_evidence(ages, certain=certain and (variant == "flood" or _limit_is_known(namespace))),
        where=str(where.local),
        requests=f"{len(requests):,}",
        limit=f"{limit:,}",
        unanswered=f"{unanswered:,}",
        oldest=_span(ages),
        beyond="Further SYNs are dropped (net.ipv4.tcp_syncookies is 0)."
        if refuses
        else "Further SYNs are answered with cookies, which carry few TCP options.",
    )


def _variant(window: Window, settings: BuildupSettings, requests: SocketTable, ages: Ages) -> str | None:
    """What is wrong on the listener of these requests; None where nothing is, or where it is gone."""
    listeners = _listeners(window, requests)
    if not len(listeners) or (listeners.recv_q > listeners.send_q).any():
        return None  # where the accept queue is full the last ACK is dropped here: accept_queue_overflow
    namespace = window.namespaces[int(requests.netns[0])]
    unanswered = requests.retransmits > 0
    full = len(requests) >= _limit(namespace, listeners) and unanswered.mean() >= settings.unanswered_share
    if full and (unanswered.sum() >= settings.least or _turned_away(window, int(requests.netns[0]))):
        return "flood"
    old = int(_old(namespace, settings, requests, ages)[0].sum())
    if old < settings.least:
        return None
    on_port = window.sockets.take(
        (window.sockets.netns == requests.netns[0]) & np.isin(window.sockets.sport, listeners.sport)
    )
    others = int(on_port.is_in_state(*LIVE).sum())
    return "unacknowledged" if old >= settings.old_share * (old + others) else None


def _half_open(every: SocketTable) -> SocketTable:
    """The half-open handshakes; full sockets in SYN_RECV (TCP Fast Open, simultaneous open) are none.

    The kernel says INET_DIAG_SHUTDOWN of full sockets only.
    """
    sockets = every.in_state(State.SYN_RECV)
    return sockets.take((sockets.inode == 0) & (sockets.shutdown == SHUTDOWN_UNKNOWN))


def _turned_away(window: Window, netns: int) -> Evidence:
    """How many SYNs this namespace dropped or answered with cookies since the previous look, where it did."""
    counters = {"cookies_sent": "TCPReqQFullDoCookies", "dropped": "TCPReqQFullDrop"}
    increases = {name: window.increase(netns, f"TcpExt.{counter}") for name, counter in counters.items()}
    return {name: increase for name, increase in increases.items() if increase is not None and increase > 0}


def _old(
    namespace: Namespace, settings: BuildupSettings, requests: SocketTable, ages: Ages
) -> tuple[NDArray[np.bool_], bool]:
    """Which requests are old and unanswered, and whether that is certain; where too few are, those that may be."""
    unanswered = requests.retransmits > 0
    seconds = _old_seconds(namespace, settings)
    sure = unanswered & ages.surely(seconds)
    return (sure, True) if sure.sum() >= settings.least else (unanswered & ages.possibly(seconds), False)


def _ages(window: Window, requests: SocketTable) -> Ages:
    """How long ago each SYN came; what was there at the previous look is older by the time since."""
    found = _dated(requests)
    if window.previous is None or window.elapsed is None:
        return found
    before = _half_open(window.previous.sockets)
    _, now, then = np.intersect1d(requests.cookie, before.cookie, return_indices=True)
    passed = max(window.elapsed - window.previous.took, 0.0)
    lower = found.lower.copy()
    lower[now] = np.maximum(lower[now], _dated(before).lower[then] + passed)
    return Ages(lower=lower, upper=np.maximum(found.upper, lower))


def _dated(requests: SocketTable) -> Ages:
    """How long ago each SYN came, by what the request itself says.

    A SYN that comes again is answered again, which counts as a repeated SYN-ACK and restarts the timer with the same
    timeout (tcp_check_req, net/ipv4/tcp_minisocks.c). So not every repetition is a timeout: as many are certain as it
    takes for a timeout of what is left of it. All of them were, at most.
    """
    left = requests.expires_ms / 1e3
    certain = np.minimum(requests.retransmits, np.ceil(np.log2(np.maximum(left, 1))).astype(np.int64))
    return Ages(
        lower=np.maximum(_timeout(certain) - left, 0),
        upper=np.maximum(_timeout(requests.retransmits) - left, 0),
    )


def _span(ages: Ages) -> str:
    """For how long the oldest waits, in a sentence: `32 s`, or `1 to 125 s`."""
    least, most = f"{ages.oldest or 0:.0f}", f"{ages.oldest_max or 0:.0f}"
    return f"{least} s" if least == most else f"{least} to {most} s"


def _timeout(repeated: NDArray[np.integer[Any]]) -> Seconds:
    """When the next timeout comes, in seconds since the SYN, if the SYN-ACK was repeated so often.

    They are 1, 2, 4 ... and at most 120 s apart (reqsk_timeout in include/net/inet_connection_sock.h).
    """
    doubled = np.minimum(repeated, LAST_DOUBLING).astype(np.float64)
    seconds: Seconds = 2 ** (doubled + 1) - 1 + 120 * (repeated - doubled)
    return seconds


def _old_seconds(namespace: Namespace, settings: BuildupSettings) -> float:
    """min_age, or half of the life of a request if that is less."""
    retries = namespace.number("net.ipv4.tcp_synack_retries")
    life = _timeout(np.array([SYNACK_RETRIES if retries is None else retries]))[0]
    return min(settings.min_age, float(life) / 2)


def _limit_is_known(namespace: Namespace) -> bool:
    """Whether the sysctls that can lower the limit could be read; without them a flood may pass for the other."""
    cookies = namespace.number("net.ipv4.tcp_syncookies")
    return cookies is not None and (cookies != 0 or namespace.number("net.ipv4.tcp_max_syn_backlog") is not None)


def _limit(namespace: Namespace, listeners: SocketTable) -> int:
    """How many half-open handshakes these listeners hold at least (tcp_conn_request, net/ipv4/tcp_input.c).

    The backlog of each limits them (some kernels let in one more); without syncookies all but the last quarter of
    tcp_max_syn_backlog does as well.
    """
    limits = listeners.send_q.astype(np.int64)
    most = namespace.number("net.ipv4.tcp_max_syn_backlog")
    if namespace.number("net.ipv4.tcp_syncookies") == 0 and most is not None:
        limits = np.minimum(limits, most - (most >> 2) + 1)
    return max(int(limits.sum()), 1)


def _listeners(window: Window, requests: SocketTable) -> SocketTable:
    """The listeners of these requests: one that listens on their own address gets them before one that does on any."""
    listeners = listeners_of(window.current, requests)
    own = ~is_any(listeners.src_hi, listeners.src_lo)
    one_address = len(group(requests.src_hi, requests.src_lo, requests.sport)) == 1
    return listeners.take(own) if one_address and own.any() else listeners


def _listening(window: Window, requests: SocketTable) -> tuple[Column, ...]:
    """Columns that name each request's listener: family, port, and its own address if one listens there, else any."""
    listeners = window.sockets.in_state(State.LISTEN)
    exact = listeners.take(~is_any(listeners.src_hi, listeners.src_lo))
    names = ("netns", "family", "sport", "src_hi", "src_lo")
    groups = group(*(np.concatenate([getattr(exact, name), getattr(requests, name)]) for name in names))
    named = np.zeros(len(groups), np.bool_)
    named[groups.index[: len(exact)]] = True
    own = named[groups.index[len(exact) :]]
    return (
        requests.family,
        requests.sport,
        np.where(own, requests.src_hi, 0),
        np.where(own, requests.src_lo, 0),
    )


DETECTOR = Detector(
    variants=VARIANTS,
    asks=Asks(sysctls=frozenset(a.name for t in TELLINGS.values() for a in t.advice)),
    rows=frozenset({State.ESTABLISHED}),
    settings=BuildupSettings(),
    detect=detect,
    suspects=suspects,
)
