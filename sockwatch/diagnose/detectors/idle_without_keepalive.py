"""Connections that have been idle for long and whose peer could vanish without anybody noticing.

What it sees:
    Established sockets that neither sent nor received data for min_age, here two hours, and that have no timer: the
    program did not turn on SO_KEEPALIVE. Per process and service.

Why it matters:
    TCP sends nothing on an idle connection. If the peer loses its power or a firewall forgets the connection, this end
    stays open for ever: a descriptor and memory for each, and an error or a long wait at the next use.

Kernel fields:
    idiag_timer (off), tcpi_last_data_sent and tcpi_last_data_recv. Where the peer is an address of this host and has
    no socket any more, the connection is certainly half-open (peer_gone).

When it is wrong:
    The program may ask its peer itself, at longer intervals; and the peer may use keepalive, which does not help this
    end. Connections whose other end is a socket of the same namespace are left out: the kernel ends both.

What to do:
    Turn on SO_KEEPALIVE in the program, with TCP_KEEPIDLE below the timeout of every firewall on the way, or close
    idle connections after a while.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose import role
from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.detector import Detector, NoDataError, Settings
from sockwatch.diagnose.ends import find_ends, peer_is_local
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, age_evidence, service_end, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State, Timer

CODE = "idle_without_keepalive"

TELLING = Telling(
    summary="{who} keeps {how_many} that have been idle for long, without keepalive",
    cause="No data and no keepalive probe crosses these connections, so nobody would notice that a peer vanished: a "
    "machine without power, or a firewall that forgot the connection, sends no FIN.",
    remedies=(
        "Turn on SO_KEEPALIVE in the program, with TCP_KEEPIDLE below the idle timeout of the firewalls on the way.",
        "Or let it close connections that have been idle for a while.",
    ),
    advice=(
        Advice(
            name="net.ipv4.tcp_keepalive_time",
            effect=Effect.NONE,
            why="it counts only where the program turned on SO_KEEPALIVE; no sysctl turns it on",
        ),
        Advice(
            name="net.ipv4.tcp_retries2",
            effect=Effect.NONE,
            why="it counts retransmissions of data; on an idle connection none is sent",
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSettings(Settings):
    """When idle is long."""

    min_age: float = 7200.0
    """How long, in seconds, a connection must have been idle; after so long keepalive asks by default."""


def detect(window: Window, settings: IdleSettings) -> Iterator[Finding]:
    """One finding per process and service end."""
    if _nothing_known(window):
        raise NoDataError("how long a connection has been idle takes tcp_info, which was not read")
    sockets, ages = _idle(window, settings)
    serving = role.serves(window.current, sockets, role.lasting_roles(window, sockets))
    gone = peer_is_local(window.current, sockets)
    for rows, folded in split(window.owners.of(sockets), *service_end(sockets, serving), apart=(sockets.netns,)):
        group = sockets.take(rows)
        evidence: Evidence = {"peer_gone": int(gone[rows].sum())} if gone[rows].any() else {}
        yield tell(
            window,
            group,
            TELLING,
            code=CODE,
            folded=folded,
            variant=None,
            severity=Severity.INFO,
            subject=subject(window, group),
            ages=ages.take(rows),
            evidence=evidence | age_evidence(ages.take(rows), certain=True),
        )


def suspects(window: Window, settings: IdleSettings) -> SocketTable:
    """The idle sockets."""
    return _idle(window, settings)[0]


def _idle(window: Window, settings: IdleSettings) -> tuple[SocketTable, Ages]:
    every = window.sockets
    idle = np.minimum(every.detail("last_data_sent"), every.detail("last_data_recv")) / 1e3
    old = np.flatnonzero(_without_timer(every) & (idle >= settings.min_age))
    sockets, idle = every.take(old), idle[old]
    to_itself = (sockets.sport == sockets.dport) & (sockets.src_hi == sockets.dst_hi)
    to_itself &= sockets.src_lo == sockets.dst_lo
    alone = ~find_ends(window.current, sockets).here & ~to_itself
    return sockets.take(alone), Ages(lower=idle[alone], upper=idle[alone])


def _nothing_known(window: Window) -> bool:
    """Whether there are open sockets and of none is it known when it last carried data."""
    opened = window.sockets.is_in_state(State.ESTABLISHED)
    return bool(opened.any() and np.isnan(window.sockets.detail("last_data_sent"))[opened].all())


def _without_timer(sockets: SocketTable) -> NDArray[np.bool_]:
    """Which sockets are open and have no timer."""
    held: NDArray[np.bool_] = sockets.inode != 0
    quiet: NDArray[np.bool_] = held & sockets.is_in_state(State.ESTABLISHED) & (sockets.timer == Timer.OFF)
    return quiet


DETECTOR = Detector(
    asks=Asks(
        states=frozenset({State.ESTABLISHED}),
        details=frozenset({"last_data_recv", "last_data_sent"}) | role.DETAILS,
        sysctls=frozenset(a.name for a in TELLING.advice),
    ),
    settings=IdleSettings(),
    detect=detect,
    suspects=suspects,
)
