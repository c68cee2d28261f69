"""Settings about the queues of listeners."""

from collections.abc import Iterator

import numpy as np

from sockwatch.diagnose.misfits.misfit import DEFAULTS, OLD_SOMAXCONN, Host, Misfit
from sockwatch.diagnose.verdict import plural
from sockwatch.model.finding import Effect
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

ABORT_ON_OVERFLOW = "net.ipv4.tcp_abort_on_overflow"
MAX_SYN_BACKLOG = "net.ipv4.tcp_max_syn_backlog"
SOMAXCONN = "net.core.somaxconn"
SYNCOOKIES = "net.ipv4.tcp_syncookies"

SMALLEST_SYN_BACKLOG = 128
"""The default of tcp_max_syn_backlog on small machines (tcp_set_hashinfo in net/ipv4/tcp_ipv4.c)."""


def somaxconn(host: Host) -> Iterator[Misfit]:
    """Lowered, it cuts what applications ask for; raised, it does nothing for those that ask for less."""
    limit = host.changed(SOMAXCONN)
    if limit is None or limit == OLD_SOMAXCONN:
        return
    full = host.overflowing
    if limit < DEFAULTS[SOMAXCONN]:
        cut = full.take(full.send_q >= limit)
        if len(cut):
            yield Misfit(
                values=host.values(SOMAXCONN),
                effect=Effect.HELPS,
                summary=f"somaxconn={limit} cuts the accept queue of {plural(len(cut), 'overflowing listener')}",
                why=f"no listener gets a longer queue than this, whatever it asks for; the default is "
                f"{DEFAULTS[SOMAXCONN]}",
                remedy=f"Set it back: sysctl -w net.core.somaxconn={DEFAULTS[SOMAXCONN]}, and restart the application: "
                "listen() takes the limit.",
                sockets=cut,
            )
        return
    short = full.take(full.send_q < limit)
    if len(short):
        backlog = int(short.send_q.min())
        yield Misfit(
            values=host.values(SOMAXCONN),
            effect=Effect.NONE,
            summary=f"somaxconn={limit} does nothing for {plural(len(short), 'overflowing listener')} with a backlog "
            f"of {backlog:,}",
            why="it only caps what the application asks listen() for, and these asked for less or have not called "
            "listen() since it was raised",
            remedy="Raise the application's own backlog setting and restart it.",
            sockets=short,
        )


def abort_on_overflow(host: Host) -> Iterator[Misfit]:
    """At 1 some clients of a full queue get a reset (tcp_check_req in net/ipv4/tcp_minisocks.c)."""
    if host.changed(ABORT_ON_OVERFLOW) and len(host.overflowing):
        yield Misfit(
            values=host.values(ABORT_ON_OVERFLOW),
            effect=Effect.HELPS,
            summary="tcp_abort_on_overflow=1 resets clients of "
            f"{plural(len(host.overflowing), 'overflowing listener')}",
            why="it makes no room: a client whose handshake ends at a full queue is reset where it would wait for a "
            "place; SYNs are dropped in silence as before",
            remedy="Set it back: sysctl -w net.ipv4.tcp_abort_on_overflow=0.",
            sockets=host.overflowing,
        )


def max_syn_backlog(host: Host) -> Iterator[Misfit]:
    """It counts only without syncookies, and then three quarters of it (tcp_conn_request in net/ipv4/tcp_input.c)."""
    limit, share, cookies = host.number(MAX_SYN_BACKLOG), host.scaled_default(128), host.number(SYNCOOKIES)
    if limit is None or share is None or cookies is None:
        return
    default = max(share, SMALLEST_SYN_BACKLOG)
    if cookies != 0:
        full, half_open = _with_requests(host)
        if limit > default and len(full):
            yield Misfit(
                values=host.values(MAX_SYN_BACKLOG, SYNCOOKIES),
                effect=Effect.NONE,
                summary=f"tcp_max_syn_backlog={limit} does nothing for {half_open:,} half-open handshakes",
                why="with syncookies the limit is the listener's own backlog; this one counts without them only",
                remedy="Raise the application's backlog (and somaxconn if that caps it); cookies serve the rest.",
                sockets=full,
            )
        return
    at_limit, half_open = _with_requests(host, limit - (limit >> 2))
    if limit < default and len(at_limit):
        yield Misfit(
            values=host.values(MAX_SYN_BACKLOG, SYNCOOKIES),
            effect=Effect.HELPS,
            summary=f"tcp_max_syn_backlog={limit} without syncookies drops SYNs beyond {half_open:,} handshakes",
            why="with tcp_syncookies=0 new clients are dropped as soon as three quarters of it are in use",
            remedy="Turn cookies on: sysctl -w net.ipv4.tcp_syncookies=1.",
            sockets=at_limit,
        )


def syncookies(host: Host) -> Iterator[Misfit]:
    """Off, while handshakes fill the queue that cookies would relieve."""
    if host.number(SYNCOOKIES) != 0:
        return
    full, half_open = _with_requests(host)
    if len(full):
        yield Misfit(
            values=host.values(SYNCOOKIES),
            effect=Effect.HELPS,
            summary=f"tcp_syncookies=0 drops SYNs of {plural(len(full), 'listener')} with {half_open:,} half-open "
            "handshakes",
            why="with cookies a full queue of half-open handshakes turns nobody away; the default is 1",
            remedy="Set it back: sysctl -w net.ipv4.tcp_syncookies=1.",
            sockets=full,
        )


def _with_requests(host: Host, limit: int | None = None) -> tuple[SocketTable, int]:
    """The listeners with more half-open handshakes than `limit`, or than their backlog, and how many those are."""
    sockets = host.sockets
    requests = sockets.sport[sockets.is_in_state(State.SYN_RECV) & (sockets.inode == 0)]
    count = np.bincount(requests, minlength=65536)[host.listeners.sport]
    over = count > (host.listeners.send_q if limit is None else limit)
    return host.listeners.take(over), int(count[over].sum())
