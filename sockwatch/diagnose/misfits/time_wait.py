"""Settings that people turn for TIME_WAIT and FIN_WAIT_2."""

from collections.abc import Iterator

from sockwatch.diagnose.age import TIME_WAIT_SECONDS
from sockwatch.diagnose.misfits.misfit import DEFAULTS, Host, Misfit
from sockwatch.diagnose.ports import PortBudget
from sockwatch.diagnose.verdict import plural
from sockwatch.model.address import is_loopback
from sockwatch.model.finding import Effect
from sockwatch.model.state import State

FIN_TIMEOUT = "net.ipv4.tcp_fin_timeout"
MAX_TW_BUCKETS = "net.ipv4.tcp_max_tw_buckets"
RFC1337 = "net.ipv4.tcp_rfc1337"
TIMESTAMPS = "net.ipv4.tcp_timestamps"
TW_REUSE = "net.ipv4.tcp_tw_reuse"
TW_REUSE_DELAY = "net.ipv4.tcp_tw_reuse_delay"

NEVER, ALWAYS, ON_LOOPBACK = 0, 1, 2
"""The values of tcp_tw_reuse."""


def fin_timeout(host: Host) -> Iterator[Misfit]:
    """Above 60 it means another time than it says; below, it was perhaps lowered for TIME_WAIT."""
    timeout = host.changed(FIN_TIMEOUT)
    if timeout is None:
        return
    sockets = host.sockets
    orphans = sockets.take(sockets.is_in_state(State.FIN_WAIT_2) & (sockets.inode == 0))
    if timeout > TIME_WAIT_SECONDS and len(orphans):
        yield Misfit(
            values=host.values(FIN_TIMEOUT),
            effect=Effect.HELPS,
            summary=f"tcp_fin_timeout={timeout} keeps {plural(len(orphans), 'closed socket')} in FIN_WAIT_2 for "
            f"{2 * (timeout - int(TIME_WAIT_SECONDS))} s",
            why="above 60 the kernel keeps the full socket for T - 60 s and then a small one for as long again, which "
            "makes 2 x (T - 60) s; at 60 or below it is T",
            remedy="Set it to 60 or less: sysctl -w net.ipv4.tcp_fin_timeout=60.",
            sockets=orphans,
        )
    if timeout < TIME_WAIT_SECONDS and len(host.waiting) >= host.many_waiting:
        yield Misfit(
            values=host.values(FIN_TIMEOUT),
            effect=Effect.NONE,
            summary=f"tcp_fin_timeout={timeout} does nothing for {plural(len(host.waiting))} in TIME_WAIT",
            why="it ends FIN_WAIT_2 of closed sockets; TIME_WAIT is 60 s, compiled in",
            remedy="Leave it at 60: a short value only gives slow peers less time to close.",
            sockets=host.waiting,
        )


def tw_reuse(host: Host) -> Iterator[Misfit]:
    """It is for connect() only, and needs timestamps (tcp_twsk_unique in net/ipv4/tcp_ipv4.c)."""
    reuse = host.changed(TW_REUSE)
    budget = host.waiting_budget if reuse == NEVER else None
    if budget is not None:
        yield Misfit(
            values=host.values(TW_REUSE),
            effect=Effect.HELPS,
            summary=f"tcp_tw_reuse=0 keeps {plural(budget.time_wait, 'source port')} towards one destination in "
            "TIME_WAIT",
            why="at 0 connect() never takes over a port in TIME_WAIT; at 1 it does after tcp_tw_reuse_delay, at 2 (the "
            "default) on loopback only",
            remedy="Set it to 1: sysctl -w net.ipv4.tcp_tw_reuse=1. Both ends need timestamps.",
            sockets=budget.sockets.in_state(State.TIME_WAIT),
        )
    if reuse != ALWAYS:
        return
    accepted, every = host.waiting_on_listeners, host.waiting
    if host.number(TIMESTAMPS) == 0 and len(every) - len(accepted) >= host.settings.time_wait_sockets:
        yield Misfit(
            values=host.values(TW_REUSE, TIMESTAMPS),
            effect=Effect.NONE,
            summary="tcp_tw_reuse=1 does nothing while tcp_timestamps=0",
            why="connect() takes over a port in TIME_WAIT only if the old connection used timestamps",
            remedy="Set the timestamps back: sysctl -w net.ipv4.tcp_timestamps=1.",
            sockets=every,
        )
    elif len(accepted) == len(every) >= host.many_waiting:
        yield Misfit(
            values=host.values(TW_REUSE),
            effect=Effect.NONE,
            summary=f"tcp_tw_reuse=1 does nothing for {plural(len(every))} in TIME_WAIT on listening ports",
            why="it is for connect(); these were accepted, and a listening port needs no help",
            remedy="Set it back: sysctl -w net.ipv4.tcp_tw_reuse=2. TIME_WAIT on a listening port is harmless.",
            sockets=every,
        )


def tw_reuse_delay(host: Host) -> Iterator[Misfit]:
    """Raised, it keeps ports longer; without tcp_tw_reuse it does nothing."""
    delay = host.changed(TW_REUSE_DELAY)
    budget = host.waiting_budget if delay is not None else None
    if delay is None or budget is None:
        return
    kept = budget.sockets.in_state(State.TIME_WAIT)
    if not _is_reused(host, budget):
        yield Misfit(
            values=host.values(TW_REUSE_DELAY),
            effect=Effect.NONE,
            summary=f"tcp_tw_reuse_delay={delay} does nothing for {plural(len(kept))} in TIME_WAIT",
            why=f"tcp_tw_reuse is {host.number(TW_REUSE)}, so connect() takes over none of them after any delay",
            remedy="Set tcp_tw_reuse to 1 if they shall be reused: sysctl -w net.ipv4.tcp_tw_reuse=1.",
            sockets=kept,
        )
    elif delay > DEFAULTS[TW_REUSE_DELAY]:
        yield Misfit(
            values=host.values(TW_REUSE_DELAY),
            effect=Effect.HELPS,
            summary=f"tcp_tw_reuse_delay={delay} keeps {plural(budget.time_wait, 'source port')} in TIME_WAIT for "
            f"{delay / 1e3:g} s",
            why="connect() takes over a port in TIME_WAIT only after this many milliseconds; the default is 1000",
            remedy="Set it back: sysctl -w net.ipv4.tcp_tw_reuse_delay=1000.",
            sockets=kept,
        )


def _is_reused(host: Host, budget: PortBudget) -> bool:
    reuse = host.number(TW_REUSE)
    sockets = budget.sockets  # of one source and one destination
    ends = (sockets.src_hi[:1], sockets.src_lo[:1]), (sockets.dst_hi[:1], sockets.dst_lo[:1])
    on_loopback = any(bool(is_loopback(*end).all()) for end in ends)
    return host.number(TIMESTAMPS) != 0 and (reuse == ALWAYS or (reuse == ON_LOOPBACK and on_loopback))


def max_tw_buckets(host: Host) -> Iterator[Misfit]:
    """Lowered below what the kernel chose, and reached."""
    limit, default = host.number(MAX_TW_BUCKETS), host.scaled_default(2)
    if limit is None or default is None or limit >= default:
        return
    overflowed = host.window.increase(host.netns, "TcpExt.TCPTimeWaitOverflow") or 0
    if overflowed <= 0 and host.namespace.counters.get("sockstat.TCP.tw", 0) < limit:
        return
    yield Misfit(
        values=host.values(MAX_TW_BUCKETS),
        effect=Effect.HELPS,
        summary=f"tcp_max_tw_buckets={limit} was lowered and is full",
        why=f"the kernel chose {default:,} for this machine; beyond the limit connections end without TIME_WAIT, which "
        "saves nothing but memory and drops the protection",
        remedy=f"Set it back: sysctl -w net.ipv4.tcp_max_tw_buckets={default}.",
        sockets=host.waiting,
    )


def rfc1337(host: Host) -> Iterator[Misfit]:
    """At 1 a reset no longer ends TIME_WAIT (tcp_timewait_state_process in net/ipv4/tcp_minisocks.c)."""
    value = host.changed(RFC1337)
    budget = host.waiting_budget if value else None
    if budget is None:
        return
    yield Misfit(
        values=host.values(RFC1337),
        effect=Effect.LIMITS,
        summary=f"tcp_rfc1337=1 holds {plural(budget.time_wait, 'source port')} in TIME_WAIT even after a reset",
        why="it makes TIME_WAIT ignore resets, so that each port is held for the full 60 s; at 0 a reset frees it",
        remedy="Keep it if old segments are a worry here; otherwise set it back: sysctl -w net.ipv4.tcp_rfc1337=0.",
        sockets=budget.sockets.in_state(State.TIME_WAIT),
    )
