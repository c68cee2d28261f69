"""This side has closed, and the other side does not acknowledge the FIN.

What it sees:
    Sockets that stay in FIN_WAIT_1 (fin_wait_1: this side closed first) or in LAST_ACK (last_ack: it closed second)
    and repeat what is not acknowledged, per process where there is one, source address and service.

Why it matters:
    A single round trip ends these states on a healthy path. The peer vanished, a firewall dropped the connection from
    its table, or the peer lives and does not read what lies before the FIN (zero_window in the evidence). Until the
    kernel gives up the socket keeps its port, its buffers and a place among the orphans (tcp_max_orphans).

Kernel fields:
    idiag_state, idiag_timer, idiag_retrans, idiag_wqueue (1 is the FIN alone); tcpi_rto, tcpi_backoff and
    idiag_expires tell for how long it has been unanswered, which may have begun before close().

When it is wrong:
    Clients vanish at any time: on a service of this host a few of them, or a small share of all its sockets, are info.

What to do:
    See whether the peer is up. Nothing has to be done for the sockets: without a descriptor the kernel drops them
    after tcp_orphan_retries. With a closed window and a living peer that takes some five minutes, until the probes are
    two minutes apart (tcp_probe_timer in net/ipv4/tcp_timer.c), and what was not read is lost: the peer has to read.
"""

from collections.abc import Iterator

import numpy as np

from sockwatch.diagnose import role, silence
from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.detector import Detector
from sockwatch.diagnose.ends import describe_ends, find_ends
from sockwatch.diagnose.silence import RepeatSettings
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, age_evidence, named, service_end, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State, Timer

CODE = "closing_stuck"
VARIANTS = ("fin_wait_1", "last_ack")
ZERO_WINDOW = "zero_window"
STATES = (State.FIN_WAIT_1, State.LAST_ACK)
CONNECTED = tuple(state for state in State if state not in {State.LISTEN, State.BOUND, State.CLOSE})
"""A service under load is seen by what it closed as well, so its TIME_WAIT counts."""
ORPHAN_RETRIES, RETRIES = "net.ipv4.tcp_orphan_retries", "net.ipv4.tcp_retries2"
ORPHAN_RETRIES_OF_ZERO = 8
"""tcp_orphan_retries (net/ipv4/tcp_timer.c)."""

IS_IT_THERE = "See whether {where} is up and can be reached from here."
ADVICE = (
    Advice(
        name=ORPHAN_RETRIES,
        effect=Effect.HELPS,
        why="it ends those that no process holds: 0 means 8 retransmissions, 102 s or a little more; 3 is some 7 s",
    ),
    Advice(
        name=RETRIES,
        effect=Effect.LIMITS,
        why="it ends those whose descriptor is still open, after shutdown()",
    ),
    Advice(
        name="net.ipv4.tcp_fin_timeout",
        effect=Effect.NONE,
        why="it begins when the FIN has been acknowledged, in FIN_WAIT_2",
    ),
)
TELLINGS = {
    "fin_wait_1": Telling(
        summary="{how_many} closed on this side: {where} does not acknowledge the FIN",
        cause="The kernel repeats the FIN, and the data before it, and gets no acknowledgement: the peer is gone, or "
        "the network between drops the packets.",
        remedies=(IS_IT_THERE, "If it is alive: look for a firewall that forgot the connection and drops its packets."),
        advice=ADVICE,
    ),
    "last_ack": Telling(
        summary="{how_many} closed on both sides: {where} does not acknowledge the last FIN",
        cause="The peer closed first, then this side; the kernel repeats its FIN and gets no acknowledgement. The "
        "peer's kernel has dropped its half already (tcp_fin_timeout) and its RST is lost, or the peer is gone.",
        remedies=(
            IS_IT_THERE,
            "If it is alive: a firewall may forget connections at the first FIN, or routes differ both ways.",
        ),
        advice=ADVICE,
    ),
    ZERO_WINDOW: Telling(
        summary="{how_many} closed on this side: {where} does not read the data before the FIN",
        cause="The other end lives and does not read: its receive buffer is full and its window closed, so the data "
        "and the FIN behind it wait. The kernel gives up in some five minutes, and the data is lost.",
        remedies=("Find out why {where} does not read: a stack dump shows where it is stuck.",),
        advice=(
            Advice(
                name=ORPHAN_RETRIES,
                effect=Effect.NONE,
                why="it counts probes without an answer, and a living peer answers",
            ),
            ADVICE[-1],
        ),
    ),
}
"""By variant, and for fin_wait_1 where most wait for a closed window."""


def detect(window: Window, settings: RepeatSettings) -> Iterator[Finding]:
    """One finding per variant, process, source address and service end."""
    sockets, ages = _stuck(window, settings)
    serving = role.serves(window.current, sockets, role.lasting_roles(window, sockets))
    ends = find_ends(window.current, sockets)
    keys = (window.owners.of(sockets), *service_end(sockets, serving), sockets.src_hi, sockets.src_lo)
    for rows, folded in split(*keys, apart=(sockets.state, sockets.netns)):
        group = sockets.take(rows)
        name = State(int(group.state[0])).label
        about = subject(window, group)
        serves = bool(serving[rows].all())
        share = silence.share(window, group, serving[rows], *CONNECTED)
        other_end = describe_ends(ends.take(rows), window.owners)
        who = silence.peer(about, serving=serves)
        waiting = 2 * int((group.timer == Timer.PROBE).sum()) > len(group)
        yield tell(
            window,
            group,
            TELLINGS[ZERO_WINDOW if waiting else name],
            code=CODE,
            folded=folded,
            variant=name,
            severity=silence.severity(settings, share=share, count=len(group), serving=serves),
            subject=about,
            other_end=other_end,
            ages=ages.take(rows),
            evidence=_evidence(group, share) | age_evidence(ages.take(rows), certain=True),
            where=named(other_end.process) if waiting and other_end and other_end.process else who,
        )


def suspects(window: Window, settings: RepeatSettings) -> SocketTable:
    """The stuck sockets, and the other ends of all."""
    sockets, _ = _stuck(window, settings)
    return SocketTable.concatenate([sockets, find_ends(window.current, sockets).sockets])


def _stuck(window: Window, settings: RepeatSettings) -> tuple[SocketTable, Ages]:
    every = window.sockets
    unanswered = (every.timer == Timer.RETRANSMIT) & (every.retransmits >= settings.retransmits)
    unanswered |= every.timer == Timer.PROBE
    sockets = every.take(unanswered & every.is_in_state(*STATES))
    orphans = silence.min_ages(settings, silence.lives(window, ORPHAN_RETRIES, zero_means=ORPHAN_RETRIES_OF_ZERO))
    held = silence.min_ages(settings, silence.lives(window, RETRIES))
    ages = silence.silences(sockets)
    ended = np.where(sockets.inode == 0, orphans[sockets.netns], held[sockets.netns])
    old = ages.surely(np.where(sockets.timer == Timer.PROBE, settings.min_age, ended))
    return sockets.take(old), ages.take(old)


def _evidence(sockets: SocketTable, share: float) -> Evidence:
    fin_alone = sockets.send_q == 1
    zero_window = sockets.timer == Timer.PROBE
    evidence: Evidence = {
        "retransmits_max": int(sockets.retransmits.max()),
        "share_of_service": share,
        "orphans": int((sockets.inode == 0).sum()),
    }
    if not fin_alone.all():
        evidence["data_before_fin"] = int((~fin_alone).sum())
    if zero_window.any():
        evidence["zero_window"] = int(zero_window.sum())
    return evidence


DETECTOR = Detector(
    variants=VARIANTS,
    asks=Asks(
        states=frozenset(STATES),
        details=silence.DETAILS | role.DETAILS,
        sysctls=frozenset(a.name for a in ADVICE),
    ),
    rows=frozenset({State.TIME_WAIT, State.ESTABLISHED}),
    settings=RepeatSettings(),
    detect=detect,
    suspects=suspects,
)
