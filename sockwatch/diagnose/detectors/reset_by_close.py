"""Programs here reset connections by closing them: over data that they have not read, or before the peer is done.

What it sees:
    Between two looks (not at the first one), how many connections the kernel reset because close() found unread data,
    if these are many and a good part of all connections. Closes that reset for another reason (data that came after
    close(), or SO_LINGER with 0 seconds, which the kernel counts as one) are info: a program may do that on purpose.

Why it matters:
    A reset destroys what is still on its way: the peer may lose the answer although it was sent in full, and reads
    "connection reset by peer" instead of an end of file.

Kernel fields:
    TcpExt.TCPAbortOnClose and .TCPAbortOnData against Tcp.ActiveOpens and .PassiveOpens. Which process it was the
    counters do not tell; sockets with unread data (idiag_rqueue) that vanished between the looks point at it, and the
    evidence says how sure that is.

When it is wrong:
    A client that has enough and closes early does this on purpose, and so does a server that refuses a request which it
    has not read; where only the counters show it, it is info. Data that comes to what is left of a closed socket in
    FIN_WAIT_2 draws a reset that no counter tells apart.

What to do:
    Before close(), read to the end of the stream; or shutdown(SHUT_WR), read what still comes, then close() (lingering
    close).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sockwatch.diagnose import role
from sockwatch.diagnose.detector import Detector, NoDataError, Settings
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, plural, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.constraint import Share
from sockwatch.model.finding import Effect, Finding, Severity, Subject
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "reset_by_close"
ON_CLOSE, ON_DATA = "TcpExt.TCPAbortOnClose", "TcpExt.TCPAbortOnData"
OPENS = ("Tcp.ActiveOpens", "Tcp.PassiveOpens")

ADVICE = (
    Advice(
        name="net.ipv4.tcp_abort_on_overflow",
        effect=Effect.NONE,
        why="it resets connections that find the accept queue full, which nobody here closed",
    ),
    Advice(
        name="net.ipv4.tcp_fin_timeout",
        effect=Effect.NONE,
        why="a socket that closes with a reset does not wait in FIN_WAIT_2",
    ),
    Advice(
        name="net.ipv4.tcp_orphan_retries",
        effect=Effect.NONE,
        why="a reset is sent once and never repeated",
    ),
)

UNREAD = Telling(
    summary="{how_many} reset since the last look by close() over unread data{likely}",
    cause="A program called close() while data of the peer was still in the receive queue. The kernel then sends RST "
    "instead of FIN, and the peer may lose what was already sent to it.",
    remedies=(
        "Read to the end of the stream before close().",
        "To end early: shutdown(SHUT_WR), read until the peer closes or a timeout passes, then close().",
        "In a server that refuses requests: read the body, up to a bound, before the answer is closed.",
    ),
    advice=ADVICE,
)
ABORTED = Telling(
    summary="{how_many} reset since the last look by programs that closed early, maybe on purpose",
    cause="Data came for sockets that were closed already, or programs closed with SO_LINGER and 0 seconds, which "
    "resets at once; the kernel counts both alike. Health checks and proxies do the latter on purpose.",
    remedies=("Nothing to do if no peer complains of resets. Else let the program read to the end before close().",),
    advice=ADVICE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetSettings(Settings):
    """From where on resets are worth a word."""

    least: int = 10
    """Resets between two looks."""
    share: Share = 0.1
    """Their share of the connections that were opened between two looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resets:
    """What the counters of one namespace say about the time between two looks, and whether that is much."""

    netns: int
    on_close: int
    on_data: int
    opened: int
    least: float

    @property
    def by_close(self) -> bool:
        return self.on_close >= self.least

    @property
    def at_all(self) -> bool:
        return self.on_close + self.on_data >= self.least


def detect(window: Window, settings: ResetSettings) -> Iterator[Finding]:
    """At most one finding per namespace, none at the first look. Raises NoDataError without the counters."""
    if window.elapsed is None:
        return
    resets = _resets(window, settings)
    if not resets:
        raise NoDataError("needs TcpExt.TCPAbortOnClose of both looks")
    for counted in resets:
        if counted.by_close:
            yield _by_close(window, counted)
        elif counted.at_all:
            yield _tell(window, counted, ABORTED, Severity.INFO, evidence={"confidence": "low"})


def suspects(window: Window, settings: ResetSettings) -> SocketTable:
    """The listeners whose connections vanished with unread data."""
    resets = [counted for counted in _resets(window, settings) if counted.by_close]
    return SocketTable.concatenate(
        [role.listeners_of(window.current, _vanished(window, counted.netns)) for counted in resets]
    )


def _resets(window: Window, settings: ResetSettings) -> list[_Resets]:
    """One for each namespace whose counters are known from both looks."""
    found: list[_Resets] = []
    if window.elapsed is None:
        return found
    for netns in range(len(window.namespaces)):
        on_close, on_data = (window.increase(netns, name) for name in (ON_CLOSE, ON_DATA))
        if on_close is not None and on_data is not None:
            opened = sum(window.increase(netns, name) or 0 for name in OPENS)
            least = max(settings.least, settings.share * opened)
            found.append(_Resets(netns=netns, on_close=on_close, on_data=on_data, opened=opened, least=least))
    return found


def _vanished(window: Window, netns: int) -> SocketTable:
    """The sockets of a namespace that had unread data at the look before and are gone; `netns` is that of this look."""
    before = window.number_before(netns)
    if window.previous is None or before is None:
        return SocketTable.empty()
    sockets = window.previous.sockets
    ended = sockets.is_in_state(State.CLOSE_WAIT)  # the FIN counts as one byte
    unread = (ended & (sockets.recv_q > 1)) | (sockets.is_in_state(State.ESTABLISHED) & (sockets.recv_q > 0))
    sockets = sockets.take(unread & (sockets.netns == before) & (sockets.inode != 0))
    sockets = sockets.take(~np.isin(sockets.cookie, window.sockets.cookie))
    return replace(sockets, netns=np.full(len(sockets), netns, np.uint16))


def _by_close(window: Window, counted: _Resets) -> Finding:
    vanished = _vanished(window, counted.netns)
    if 2 * len(vanished) < counted.on_close:  # port checks of a server that greets first look alike
        return _tell(window, counted, UNREAD, Severity.INFO, evidence={"confidence": "low"})
    listeners = role.listeners_of(window.current, vanished)
    where = subject(window, vanished)
    at = f"on {where.local}" if len(listeners) else f"to {where.remote}"
    stale = int(vanished.is_in_state(State.CLOSE_WAIT).sum())
    evidence: Evidence = {
        "vanished_with_unread_data": len(vanished),
        "seen_at": at.partition(" ")[2],
        "confidence": "high" if 2 * stale >= counted.on_close else "medium",
    }
    likely = f", most likely {at}"
    return _tell(window, counted, UNREAD, Severity.WARNING, evidence=evidence, listeners=listeners, likely=likely)


def _tell(
    window: Window,
    counted: _Resets,
    telling: Telling,
    severity: Severity,
    *,
    evidence: Evidence | None = None,
    listeners: SocketTable | None = None,
    likely: str = "",
) -> Finding:
    """A finding about a namespace: the sockets are gone, and only their number is known."""
    known: Evidence = {
        "unread_data": counted.on_close,
        "late_data_or_linger": counted.on_data,
        "opened": counted.opened,
    }
    count = counted.on_close if telling is UNREAD else counted.on_close + counted.on_data
    finding = tell(
        window,
        SocketTable.empty(),
        telling,
        code=CODE,
        variant=None,
        severity=severity,
        subject=Subject(netns=window.namespaces[counted.netns].name),
        netns=counted.netns,
        held=listeners,
        evidence=known | (evidence or {}),
        how_many=plural(count, "connection"),
        likely=likely,
    )
    return replace(finding, count=count)


DETECTOR = Detector(
    asks=Asks(sysctls=frozenset(a.name for a in ADVICE)),
    rows=frozenset({State.ESTABLISHED, State.CLOSE_WAIT}),
    settings=ResetSettings(),
    detect=detect,
    suspects=suspects,
)
