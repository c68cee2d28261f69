"""A connection is open on this side, and the other side no longer acknowledges anything.

What it sees:
    Established sockets that repeat their data and get no acknowledgement (retransmitting), and established sockets
    whose keepalive probes stay unanswered (keepalive_probing), for longer than min_age, per process and service.

Why it matters:
    The peer lost its power or its network, or a firewall forgot the connection and drops what belongs to it. The
    program waits for an answer that cannot come: for data the kernel gives up after about 15 minutes (tcp_retries2).

Kernel fields:
    idiag_timer and idiag_retrans: retransmissions, or unanswered probes. tcpi_rto, tcpi_backoff and idiag_expires date
    the first transmission; tcpi_last_ack_recv and tcpi_last_data_recv are how long the peer has been silent. A peer
    that was heard while data remained unacknowledged is alive: the path loses large packets (still_heard).

When it is wrong:
    Clients vanish at any time: on a service of this host a few of them, or a small share, are info. With keepalive the
    age is at least the time in which it probes, at most the silence of the peer, part of which nobody asked; where only
    the most is older than min_age, it is info with low confidence. A slow network that recovers shows for as long as
    it takes. While data waits the kernel sends no keepalive probes, so both variants never show on one socket.

What to do:
    See whether the peer is up and reachable from here. Let the program bound its waits: TCP_USER_TIMEOUT on the
    socket, or a timeout of its own. If long silences kill connections, a firewall forgets them: keepalive shorter than
    its timeout prevents that.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose import role, silence
from sockwatch.diagnose.age import Ages, Seconds
from sockwatch.diagnose.detector import Detector
from sockwatch.diagnose.ends import describe_ends, find_ends
from sockwatch.diagnose.verdict import (
    Advice,
    Evidence,
    Telling,
    age_evidence,
    need_a_bound,
    service_end,
    settle,
    split,
    subject,
    tell,
)
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State, Timer

CODE = "dead_peer"
VARIANTS = ("retransmitting", "keepalive_probing")
RETRIES = "net.ipv4.tcp_retries2"

IS_IT_THERE = "See whether {where} is up and can be reached from here."
TELLINGS = {
    "retransmitting": Telling(
        summary="{who} sends data on {how_many}, and {where} no longer acknowledges it",
        cause="The kernel repeats the data and gets no acknowledgement: the peer is gone without a FIN, or the network "
        "between drops the packets. The program does not notice until the kernel gives up.",
        remedies=(
            IS_IT_THERE,
            "With still_heard in the evidence the peer is alive and large packets are lost: look for a wrong MTU.",
            "Set TCP_USER_TIMEOUT in the program (30 s, say), so that a dead connection fails soon.",
        ),
        advice=(
            Advice(
                name=RETRIES,
                effect=Effect.HELPS,
                why="after so many retransmissions the kernel gives up: 15 takes 15 minutes or more, 8 about 100 s; it "
                "holds for every connection of the host",
            ),
            Advice(
                name="net.ipv4.tcp_keepalive_time",
                effect=Effect.NONE,
                why="keepalive probes are not sent while data waits for its acknowledgement",
            ),
        ),
    ),
    "keepalive_probing": Telling(
        summary="{who} keeps {how_many} open, and {where} no longer answers keepalive probes",
        cause="The connection is idle, the kernel asks whether the peer is still there, and gets no answer: the peer "
        "is gone without a FIN, or a firewall between forgot the connection. The kernel ends it after the last probe.",
        remedies=(
            IS_IT_THERE,
            "If it is alive, a firewall between forgets idle connections: set TCP_KEEPIDLE below its timeout.",
        ),
        advice=(
            Advice(
                name="net.ipv4.tcp_keepalive_intvl",
                effect=Effect.LIMITS,
                why="times tcp_keepalive_probes it is how long the kernel goes on asking, where the program set "
                "nothing of its own",
            ),
            Advice(
                name="net.ipv4.tcp_keepalive_time",
                effect=Effect.HELPS,
                why="a shorter one finds dead peers sooner and keeps firewalls from forgetting, where the program set "
                "nothing of its own",
            ),
            Advice(
                name=RETRIES,
                effect=Effect.NONE,
                why="it counts retransmissions of data; here none is in flight",
            ),
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadPeerSettings(silence.RepeatSettings):
    """When silence is more than a lost packet."""

    probes: int = 2
    """A peer counts as silent when so many keepalive probes in a row stayed unanswered."""


def detect(window: Window, settings: DeadPeerSettings) -> Iterator[Finding]:
    """One finding per variant, process, source address and service end.

    Raises NoDataError where nothing is old and what tells the silence of the peers was not read.
    """
    sockets, ages, limits = _dead(window, settings)
    if not len(sockets):
        unanswered = _unanswered(window, settings)
        need_a_bound(unanswered, silence.silences(unanswered), silence.DETAILS)
    variant = _variants(sockets)
    serving = role.serves(window.current, sockets, role.lasting_roles(window, sockets))
    ends = find_ends(window.current, sockets)
    keys = (window.owners.of(sockets), *service_end(sockets, serving), sockets.src_hi, sockets.src_lo)
    for alike, folded in split(*keys, apart=(variant, sockets.netns)):
        counted, certain = settle(ages.take(alike), limits[alike])
        rows = alike[counted]
        group = sockets.take(rows)
        name = VARIANTS[variant[rows[0]]]
        about = subject(window, group)
        serves = bool(serving[rows].all())
        share = silence.share(window, group, serving[rows], State.ESTABLISHED)
        yield tell(
            window,
            group,
            TELLINGS[name],
            code=CODE,
            folded=folded,
            variant=name,
            severity=silence.severity(settings, share=share, count=len(group), serving=serves)
            if certain
            else Severity.INFO,
            subject=about,
            other_end=describe_ends(ends.take(rows), window.owners),
            ages=ages.take(rows),
            evidence=_evidence(group, ages.take(rows), share, certain=certain),
            where=silence.peer(about, serving=serves),
        )


def suspects(window: Window, settings: DeadPeerSettings) -> SocketTable:
    """The sockets whose peers are silent, and the other ends that are on this host all the same."""
    sockets, _, _ = _dead(window, settings)
    return SocketTable.concatenate([sockets, find_ends(window.current, sockets).sockets])


def _unanswered(window: Window, settings: DeadPeerSettings) -> SocketTable:
    """The sockets whose peers have left something unanswered, for however long."""
    every = window.sockets
    unanswered = (every.timer == Timer.RETRANSMIT) & (every.retransmits >= settings.retransmits)
    unanswered |= (every.timer == Timer.KEEPALIVE) & (every.retransmits >= settings.probes)
    return every.take(unanswered & every.is_in_state(State.ESTABLISHED))


def _dead(window: Window, settings: DeadPeerSettings) -> tuple[SocketTable, Ages, Seconds]:
    """The sockets whose peers are silent, or may be; for how long, and how old is old for each."""
    sockets = _unanswered(window, settings)
    given_up = silence.min_ages(settings, silence.lives(window, RETRIES))[sockets.netns]
    ages = silence.silences(sockets)
    probing = sockets.timer == Timer.KEEPALIVE
    limits = np.where(probing, settings.min_age, given_up)
    old = np.where(probing, ages.possibly(limits), ages.surely(limits))
    return sockets.take(old), ages.take(old), limits[old]


def _variants(sockets: SocketTable) -> NDArray[np.int8]:
    """Each socket's variant, by its number."""
    return np.where(sockets.timer == Timer.KEEPALIVE, 1, 0).astype(np.int8)


def _evidence(sockets: SocketTable, ages: Ages, share: float, *, certain: bool) -> Evidence:
    probing = bool((sockets.timer == Timer.KEEPALIVE).all())
    evidence: Evidence = {
        "unanswered_probes_max" if probing else "retransmits_max": int(sockets.retransmits.max()),
        "share_of_service": share,
    }
    if not probing:
        evidence["unacknowledged_bytes"] = int(sockets.send_q.sum())
    heard = np.minimum(sockets.detail("last_ack_recv"), sockets.detail("last_data_recv")) / 1e3
    if not probing and (heard < ages.lower / 2).any():
        evidence["still_heard"] = int((heard < ages.lower / 2).sum())
    return evidence | age_evidence(ages, certain=certain)


DETECTOR = Detector(
    variants=VARIANTS,
    asks=Asks(
        states=frozenset({State.ESTABLISHED}),
        details=silence.DETAILS | role.DETAILS,
        sysctls=frozenset(a.name for t in TELLINGS.values() for a in t.advice),
    ),
    settings=DeadPeerSettings(),
    detect=detect,
    suspects=suspects,
)
