"""The peer takes no more data: it advertises a window of zero, and what this side wants to send waits.

What it sees:
    Established sockets with data to send whose kernel probes the closed window (persist timer), for longer than
    min_age, per process and service. Where the reader is on this host, the finding names it.

Why it matters:
    The program at the other end does not read. The writer blocks in send() or piles up memory, and nothing ends this:
    as long as the peer answers the probes, the kernel goes on for ever.

Kernel fields:
    idiag_timer (the window probe), idiag_wqueue; tcpi_rto, tcpi_backoff and idiag_expires date the first probe,
    tcpi_last_data_sent is the upper bound. idiag_retrans counts the probes that were not answered.

When it is wrong:
    A slow reader that still reads opens the window now and then, which begins a new age: silent. A player that is
    paused, or a download that waits for a slow disk, closes its window on purpose: on a service of this host a few
    such clients, or a small share, are info. Long stalls look younger than they are once the probes come at the
    longest interval.

What to do:
    Find out why the program at the other end does not read: a stack dump tells where it is stuck. In the writer set a
    timeout on send(), or TCP_USER_TIMEOUT, and a limit on what it queues.
"""

from collections.abc import Iterator

import numpy as np

from sockwatch.diagnose import role, silence
from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.detector import Detector, NoDataError
from sockwatch.diagnose.ends import describe_ends, find_ends
from sockwatch.diagnose.silence import SilenceSettings
from sockwatch.diagnose.verdict import (
    Advice,
    Evidence,
    Telling,
    age_evidence,
    named,
    service_end,
    split,
    subject,
    tell,
)
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State, Timer

CODE = "zero_window_stall"
UNANSWERED_PROBES = 2
"""From so many on in a row the peer itself is in doubt; a living one leaves out an answer within half a second of
another (tcp_invalid_ratelimit)."""

TELLING = Telling(
    summary="{who} cannot send on {how_many}: {guilty} does not read",
    cause="The receive buffer of the other end is full, so it advertises a window of zero: {guilty} has stopped "
    "reading. The kernel asks again and again whether there is room, and as long as it gets answers it never gives up.",
    remedies=(
        "Find out why {guilty} does not read: a stack dump shows where it is stuck.",
        "If the evidence has unanswered_probes_max, the other end may be gone by now: see whether it is up.",
        "In the writer set a timeout on send() or TCP_USER_TIMEOUT, and bound what it queues for one peer.",
    ),
    advice=(
        Advice(
            name="net.ipv4.tcp_rmem",
            effect=Effect.NONE,
            why="a larger receive buffer fills up as well when nobody reads",
        ),
        Advice(
            name="net.ipv4.tcp_wmem",
            effect=Effect.NONE,
            why="a larger send buffer holds more data that nobody takes",
        ),
        Advice(
            name="net.ipv4.tcp_retries2",
            effect=Effect.NONE,
            why="it bounds probes that are not answered; a living peer answers them",
        ),
        Advice(
            name="net.ipv4.tcp_keepalive_time",
            effect=Effect.NONE,
            why="the peer is alive, and keepalive is not used while data waits",
        ),
    ),
)


def detect(window: Window, settings: SilenceSettings) -> Iterator[Finding]:
    """One finding per process, source address and service end."""
    probing = silence.silences(_probing(window))
    if len(probing.lower) and np.isnan(probing.lower).all():
        raise NoDataError("how long a window has been closed takes tcp_info, which was not read for these sockets")
    sockets, ages = _stalled(window, settings)
    serving = role.serves(window.current, sockets, role.lasting_roles(window, sockets))
    ends = find_ends(window.current, sockets)
    keys = (window.owners.of(sockets), *service_end(sockets, serving), sockets.src_hi, sockets.src_lo)
    for rows, folded in split(*keys, apart=(sockets.netns,)):
        group = sockets.take(rows)
        about = subject(window, group)
        serves = bool(serving[rows].all())
        share = silence.share(window, group, serving[rows], State.ESTABLISHED)
        readers = ends.take(rows)
        other_end = describe_ends(readers, window.owners)
        ordinary = silence.severity(settings, share=share, count=len(group), serving=serves)
        guilty = other_end.process if other_end else None
        yield tell(
            window,
            group,
            TELLING,
            code=CODE,
            folded=folded,
            variant=None,
            severity=Severity.WARNING if readers.here.any() else ordinary,
            subject=about,
            other_end=other_end,
            ages=ages.take(rows),
            evidence=_evidence(group, share) | age_evidence(ages.take(rows), certain=True),
            guilty=named(guilty) if guilty else silence.peer(about, serving=serves),
        )


def suspects(window: Window, settings: SilenceSettings) -> SocketTable:
    """The stalled sockets and their other ends."""
    sockets, _ = _stalled(window, settings)
    return SocketTable.concatenate([sockets, find_ends(window.current, sockets).sockets])


def _stalled(window: Window, settings: SilenceSettings) -> tuple[SocketTable, Ages]:
    sockets = _probing(window)
    ages = silence.silences(sockets)
    old = ages.surely(settings.min_age)
    return sockets.take(old), ages.take(old)


def _probing(window: Window) -> SocketTable:
    """The sockets that ask whether the window of their peer is still closed."""
    every = window.sockets
    return every.take((every.timer == Timer.PROBE) & (every.send_q > 0) & every.is_in_state(State.ESTABLISHED))


def _evidence(sockets: SocketTable, share: float) -> Evidence:
    evidence: Evidence = {
        "waiting_bytes": int(sockets.send_q.sum()),
        "share_of_service": share,
    }
    unanswered = int(sockets.retransmits.max())
    if unanswered >= UNANSWERED_PROBES:
        evidence["unanswered_probes_max"] = unanswered
    return evidence


DETECTOR = Detector(
    asks=Asks(
        states=frozenset({State.ESTABLISHED}),
        details=silence.DETAILS | role.DETAILS,
        sysctls=frozenset(a.name for a in TELLING.advice),
    ),
    settings=SilenceSettings(),
    detect=detect,
    suspects=suspects,
)
