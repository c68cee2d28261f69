"""A listener's accept queue is full: finished handshakes wait for accept(), and new connections are turned away.

What it sees:
    Listeners whose queue holds more than their limit (Recv-Q above Send-Q), which is overflow at this moment, and with
    two looks listeners that dropped connections in between. The variant says who caps the queue: the backlog that the
    application gave to listen() (application_backlog), or net.core.somaxconn, which cuts it (somaxconn).

Why it matters:
    The kernel drops the SYNs of new clients without a word; they repeat them, wait longer each time,
    and give up. To the client the service looks slow or dead while the process looks idle.

Kernel fields:
    idiag_rqueue and idiag_wqueue of a socket in LISTEN are the accept queue and its limit, min(backlog, somaxconn) at
    the time of listen(). SKMEMINFO carries the drops of each listener; TcpExt.ListenOverflows counts them for all.

When it is wrong:
    One look catches a burst as well as a hang. The drops of a listener count every dropped SYN, also those dropped for
    another reason than a full queue; they count here only while TcpExt.ListenOverflows grows as well. A listener whose
    backlog was cut by a somaxconn that has been changed since shows as application_backlog, and so does any listener
    where somaxconn cannot be read, with low confidence.

What to do:
    Find out why the application does not accept. If it only cannot keep up with bursts, raise what caps the queue and
    restart it: the limit is taken at listen().
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.runtimes import backlog_hint, somaxconn_hint
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "accept_queue_overflow"
VARIANTS = ("application_backlog", "somaxconn")

NO_HELP = (
    Advice(
        name="net.ipv4.tcp_max_syn_backlog",
        effect=Effect.NONE,
        why="it is about half-open handshakes, and only without syncookies; this queue holds finished ones",
    ),
    Advice(
        name="net.ipv4.tcp_abort_on_overflow",
        effect=Effect.NONE,
        why="it makes no room; at 1 some clients get a reset instead of a wait",
    ),
)
ACCEPT = "Find out why {who} does not accept: blocked, out of file descriptors or worker threads, or too slow."

TELLINGS = {
    "application_backlog": Telling(
        summary="{who} lets its accept queue on {where} overflow: {how}, {limit} fit",
        cause="The application asked listen() for a backlog of {limit}{doubt} and does not accept() fast enough. "
        "New connections are dropped and retried by the clients.",
        remedies=(
            ACCEPT,
            "If it only falls behind in bursts: raise its own backlog setting (the argument of listen()), restart it.",
        ),
        advice=(
            Advice(
                name="net.core.somaxconn",
                effect=Effect.NONE,
                why="the application asked for less than this; only its own backlog setting counts",
            ),
            *NO_HELP,
        ),
    ),
    "somaxconn": Telling(
        summary="{who} lets its accept queue on {where} overflow: {how}, somaxconn allows {limit}",
        cause="The queue is as long as net.core.somaxconn allows ({limit}), and the application does not accept() fast "
        "enough. New connections are dropped and retried by the clients.",
        remedies=(
            ACCEPT,
            "If it only falls behind in bursts: raise net.core.somaxconn, restart it: listen() takes the limit.",
        ),
        advice=(
            Advice(
                name="net.core.somaxconn",
                effect=Effect.HELPS,
                why="it cuts the backlog that the application asked for; it takes effect at the next listen()",
            ),
            *NO_HELP,
        ),
    ),
}


def detect(window: Window, settings: Settings) -> Iterator[Finding]:
    """One finding per listener."""
    del settings  # a full queue turns connections away at any age
    listeners, drops = _overflowing(window)
    capped = _capped_by_somaxconn(window, listeners)
    for rows, folded in split(
        listeners.src_hi, listeners.src_lo, listeners.sport, listeners.send_q, apart=(capped, listeners.netns)
    ):
        group = listeners.take(rows)
        queued, limit = int(group.recv_q.max()), int(group.send_q[0])
        full = bool((group.recv_q > group.send_q).any())
        evidence: Evidence = {"accept_queue": queued, "backlog": limit}
        if not np.isnan(drops[rows]).all():
            evidence["dropped"] = int(np.nansum(drops[rows]))
        name = VARIANTS[int(capped[rows[0]])]
        known = window.namespaces[int(group.netns[0])].number_kept("net.core.somaxconn") is not None
        if not known:
            evidence["confidence"] = "low"
        where = subject(window, group, remote=False)
        yield tell(
            window,
            group,
            TELLINGS[name],
            code=CODE,
            folded=folded,
            variant=name,
            severity=Severity.CRITICAL if full else Severity.WARNING,
            subject=where,
            evidence=evidence,
            hint=somaxconn_hint if name == "somaxconn" else partial(backlog_hint, backlog=limit),
            where=str(where.local),
            how=f"{queued:,} wait" if full else f"{evidence['dropped']:,} dropped since the last look",
            limit=f"{limit:,}",
            doubt="" if known else " (or net.core.somaxconn, which could not be read, cut it to that)",
        )


def suspects(window: Window, settings: Settings) -> SocketTable:
    """The listeners that overflow."""
    del settings
    return _overflowing(window)[0]


def _overflowing(window: Window) -> tuple[SocketTable, NDArray[np.float64]]:
    """The listeners that are full or dropped something since the previous look, and how much they dropped."""
    listeners = window.sockets.in_state(State.LISTEN)
    drops = _drops_since(window, listeners)
    increases = [window.increase(i, "TcpExt.ListenOverflows") for i in range(len(window.namespaces))]
    overflowed = np.array([increase is not None and increase > 0 for increase in increases])
    chosen = (listeners.recv_q > listeners.send_q) | ((drops > 0) & overflowed[listeners.netns])
    return listeners.take(chosen), drops[chosen]


def _drops_since(window: Window, listeners: SocketTable) -> NDArray[np.float64]:
    """Connections that each listener dropped since the previous look; NaN where that is not known."""
    dropped = np.full(len(listeners), np.nan)
    if window.previous is None:
        return dropped
    before = window.previous.sockets.in_state(State.LISTEN)
    _, now, then = np.intersect1d(listeners.cookie, before.cookie, return_indices=True)
    dropped[now] = listeners.detail("skmem_drops")[now] - before.detail("skmem_drops")[then]
    return dropped


def _capped_by_somaxconn(window: Window, listeners: SocketTable) -> NDArray[np.bool_]:
    """Whose limit is somaxconn itself; where that cannot be read nobody's."""
    limits = [namespace.number_kept("net.core.somaxconn") for namespace in window.namespaces]
    somaxconn = np.array([np.inf if limit is None else limit for limit in limits])
    capped: NDArray[np.bool_] = listeners.send_q >= somaxconn[listeners.netns]
    return capped


DETECTOR = Detector(
    variants=VARIANTS,
    asks=Asks(
        states=frozenset({State.LISTEN}),
        details=frozenset({"skmem_drops"}),
        sysctls=frozenset(a.name for t in TELLINGS.values() for a in t.advice),
    ),
    settings=Settings(),
    detect=detect,
    suspects=suspects,
)
