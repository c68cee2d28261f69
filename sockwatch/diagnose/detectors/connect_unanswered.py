"""A program connects, and nothing answers: neither the service nor a refusal.

What it sees:
    Sockets that have been in SYN_SENT longer than min_age and have repeated their SYN at least three times, per
    process and destination. A closed port refuses at once; only silence leaves a socket in this state.

Why it matters:
    The program waits inside connect() for about two minutes by default, often with a thread or a request behind it.
    Silence means that the SYNs are dropped: by a firewall, by a machine that is down, on a route to nowhere, or by a
    listener whose accept queue is full.

Kernel fields:
    idiag_state, idiag_retrans; tcpi_rto, tcpi_backoff and idiag_expires date the first SYN. A listener of this host at
    the destination shows as the other end.

When it is wrong:
    A program that scans addresses finds silent ones by design. One that gives up before min_age never has an old
    socket: several attempts at once that each repeated their SYN three times are then told as a guess (info); a lower
    min_age for this detector makes a warning of them.

What to do:
    Find out who drops the SYNs: see whether they arrive at the other host. Give the program a connect timeout of its
    own, so that it fails soon and says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose import silence
from sockwatch.diagnose.age import Ages, Seconds
from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ends import peer_is_local
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, age_evidence, plural, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.address import is_any
from sockwatch.model.constraint import Share
from sockwatch.model.finding import Effect, Finding, OtherEnd, Severity
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "connect_unanswered"

NOBODY_HERE = Telling(
    summary="{who} gets no answer from {where} to {how_many}",
    cause="SYNs go out and nothing comes back, not even the refusal that a closed port would send: {why}.",
    remedies=(
        "Capture packets on the other host. If the SYNs arrive, its firewall or its full accept queue drops them.",
        "If they do not arrive, the address, the route or a firewall in between is wrong.",
        "Give the program a connect timeout of a few seconds, so that it fails soon and can try another server.",
    ),
    advice=(
        Advice(
            name="net.ipv4.tcp_syn_retries",
            effect=Effect.LIMITS,
            why="it bounds how long connect() tries, 6 means about two minutes; fewer fail sooner, none makes the "
            "other side answer",
        ),
        Advice(
            name="net.ipv4.tcp_keepalive_time",
            effect=Effect.NONE,
            why="keepalive begins when a connection is established; these are not",
        ),
    ),
)
_TIMEOUT = NOBODY_HERE.remedies[-1]
QUEUE_FULL = replace(
    NOBODY_HERE,
    remedies=(
        "The listener is on this host: let it accept() faster, as its finding accept_queue_overflow explains.",
        _TIMEOUT,
    ),
)
LISTENS_HERE = replace(
    NOBODY_HERE,
    remedies=(
        "The listener is on this host: look at the firewall here, and at how full its accept queue gets (ss -lt).",
        _TIMEOUT,
    ),
)
SILENT = "a firewall drops them, the machine is down, or the route leads nowhere"
UNSEEN = "the listener there is on this host, and a firewall here drops them, or its queue was full as they came"
FULL = "the listener there is on this host, and its accept queue is full"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredSettings(Settings):
    """When silence is more than a lost packet."""

    retransmits: int = 3
    """A SYN counts as unanswered when it was repeated so often; the second or third may well be answered."""
    attempts: int = 5
    """So many unanswered attempts at once are told as a guess before they are old."""
    share: Share = 0.1
    """A warning from this share of the connections to the destination on; fewer are info, for it does answer others."""


def detect(window: Window, settings: UnansweredSettings) -> Iterator[Finding]:
    """One finding per process, source address and destination."""
    sockets, ages, limits = _unanswered(window, settings)
    if not len(sockets):
        return
    local = peer_is_local(window.current, sockets)
    nearby = _to_the_same(window, sockets)
    keys = (sockets.src_hi, sockets.src_lo, sockets.dst_hi, sockets.dst_lo, sockets.dport)
    for rows, folded in split(window.owners.of(sockets), *keys, apart=(sockets.netns,)):
        sure = ages.take(rows).surely(limits[rows])
        if not sure.any() and len(rows) < settings.attempts:
            continue
        chosen = rows[sure] if sure.any() else rows
        group = sockets.take(chosen)
        listeners = _listeners(window, group, local[chosen])
        full = bool((listeners.recv_q > listeners.send_q).any())
        share = silence.share(nearby, group, np.zeros(len(group), np.bool_), State.ESTABLISHED, State.SYN_SENT)
        warns = bool(sure.any()) and share >= settings.share and not full
        about = subject(window, group)
        evidence: Evidence = {"retransmits_max": int(group.retransmits.max()), "share_of_destination": share}
        telling, why = (
            (QUEUE_FULL, FULL) if full else (LISTENS_HERE, UNSEEN) if len(listeners) else (NOBODY_HERE, SILENT)
        )
        yield tell(
            window,
            group,
            telling,
            code=CODE,
            folded=folded,
            variant=None,
            severity=Severity.WARNING if warns else Severity.INFO,
            subject=about,
            other_end=_other_end(window, listeners),
            ages=ages.take(chosen),
            evidence=evidence | age_evidence(ages.take(chosen), certain=bool(sure.any())),
            where=str(about.remote),
            how_many=plural(len(group), "attempt") + " to connect",
            why=why,
        )


def suspects(window: Window, settings: UnansweredSettings) -> SocketTable:
    """The sockets that got no answer, and the listeners of this host that they wait for."""
    sockets, _, _ = _unanswered(window, settings)
    return SocketTable.concatenate([sockets, _listeners(window, sockets, peer_is_local(window.current, sockets))])


def _unanswered(window: Window, settings: UnansweredSettings) -> tuple[SocketTable, Ages, Seconds]:
    """The sockets whose SYN was repeated often enough, since when they try, and how old is old for each."""
    every = window.sockets
    sockets = every.take(every.is_in_state(State.SYN_SENT) & (every.retransmits >= settings.retransmits))
    limits = silence.min_ages(settings, silence.connect_lives(window))
    return sockets, silence.silences(sockets), limits[sockets.netns]


def _to_the_same(window: Window, sockets: SocketTable) -> Window:
    """The window without the sockets that go to no address or no port these try: read once, not per destination."""
    tried = np.zeros(65536, np.bool_)
    tried[sockets.dport] = True
    every = window.sockets.take(tried[window.sockets.dport])
    same = every.take(np.isin(every.dst_lo, sockets.dst_lo))
    return replace(window, current=replace(window.current, sockets=same))


def _listeners(window: Window, sockets: SocketTable, local: NDArray[np.bool_]) -> SocketTable:
    """The listeners of the same namespace at the destinations of these sockets, whatever their family.

    `local` are the sockets whose destination is this host.
    """
    listeners = window.sockets.in_state(State.LISTEN)
    tried = np.zeros((len(window.namespaces), 65536), np.bool_)
    tried[sockets.netns, sockets.dport] = True
    there = np.isin(listeners.src_lo, sockets.dst_lo) & np.isin(listeners.src_hi, sockets.dst_hi)
    there |= is_any(listeners.src_hi, listeners.src_lo) & local.any()
    return listeners.take(tried[listeners.netns, listeners.sport] & there)


def _other_end(window: Window, listeners: SocketTable) -> OtherEnd | None:
    holders = window.owners.holders(listeners)
    return OtherEnd(state=State.LISTEN, process=holders[0] if holders else None) if len(listeners) else None


DETECTOR = Detector(
    asks=Asks(
        states=frozenset({State.SYN_SENT}),
        details=silence.DETAILS,
        sysctls=frozenset(a.name for a in NOBODY_HERE.advice) | {"net.ipv4.tcp_syn_linear_timeouts"},
    ),
    rows=frozenset({State.ESTABLISHED}),
    settings=UnansweredSettings(),
    detect=detect,
    suspects=suspects,
)
