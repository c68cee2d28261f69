"""Many sockets in TIME_WAIT: where they hurt, and where they only look bad.

What it sees:
    TIME_WAIT that takes at least half of the used part of a source port budget that is itself half used
    (client_ports); a table of TIME_WAIT sockets at its limit (table_full); ports without a listener whose TIME_WAIT
    makes bind() fail (bind_blocked); and the harmless case, TIME_WAIT on a listening port (server_side).

Why it matters:
    TIME_WAIT stays at the end that closes first, for 60 s, and costs that end the pair of addresses and ports. On a
    client each takes a source port towards its destination. On a listening port they take nothing: each belongs to
    another client.

Kernel fields:
    idiag_state (TIME_WAIT alone: orphaned FIN_WAIT_2 is told apart, unlike in sockstat), idiag_expires, addresses and
    ports; net.ipv4.tcp_max_tw_buckets, TcpExt.TCPTimeWaitOverflow, sockstat.TCP.tw.

When it is wrong:
    A port of TIME_WAIT outside ip_local_port_range is taken for that of a service that has stopped where the other
    end's port looks like a client's; two services that bind both ends look alike. Whether SO_REUSEADDR was set on the
    old sockets is not visible.

What to do:
    client_ports: keep connections open and reuse them, or let the server close first. table_full: raise
    tcp_max_tw_buckets. bind_blocked: set SO_REUSEADDR before bind(), as servers do. server_side: nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sockwatch.diagnose import age
from sockwatch.diagnose.age import TIME_WAIT_SECONDS
from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ports import SYSCTLS, BudgetSettings, PortBudget, is_short, port_budgets, ranges
from sockwatch.diagnose.role import is_listened, listeners_of
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, age_evidence, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.constraint import Share
from sockwatch.model.finding import Effect, Finding, Severity, Subject
from sockwatch.model.grouping import group
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "time_wait_buildup"
VARIANTS = ("client_ports", "server_side", "table_full", "bind_blocked")

CLIENT_PORTS = 32768
"""From here on systems choose ports for their clients. Below, the other end may be the service, and this one a client
that binds its source port, as an NFS client does."""

NOT_FIN_TIMEOUT = Advice(
    name="net.ipv4.tcp_fin_timeout",
    effect=Effect.NONE,
    why="it is about FIN_WAIT_2; TIME_WAIT is 60 s, compiled in",
)

TELLINGS = {
    "client_ports": Telling(
        summary="{share} of the source ports towards {remote} are held by TIME_WAIT alone",
        cause="This end opens and closes a connection to {remote} for every request, and closes first: each leaves its "
        "source port in TIME_WAIT for 60 s. From half of the range on connect() searches long for a free port.",
        remedies=(
            "Reuse connections: keep-alive, a connection pool.",
            "Or let the server close first: TIME_WAIT then stays on its listening port, where it costs nothing.",
        ),
        advice=(
            Advice(
                name="net.ipv4.tcp_tw_reuse",
                effect=Effect.HELPS,
                why="at 1 connect() takes over ports in TIME_WAIT after tcp_tw_reuse_delay; at 2 on loopback only",
            ),
            Advice(
                name="net.ipv4.ip_local_port_range",
                effect=Effect.HELPS,
                why="a wider range has more ports to wait in",
            ),
            NOT_FIN_TIMEOUT,
        ),
    ),
    "server_side": Telling(
        summary="{how_many} in TIME_WAIT on listening port {port}: harmless",
        cause="This side closes first. Each socket keeps a few hundred bytes for 60 s and no port: they share the "
        "listening port, and a new connection of the same client is accepted at once.",
        remedies=("Nothing to do.",),
        advice=(
            NOT_FIN_TIMEOUT,
            Advice(
                name="net.ipv4.tcp_tw_reuse",
                effect=Effect.NONE,
                why="it is for connect(); this side accepts",
            ),
            Advice(
                name="net.ipv4.tcp_max_tw_buckets",
                effect=Effect.LIMITS,
                why="beyond it the kernel ends connections without TIME_WAIT",
            ),
        ),
    ),
    "table_full": Telling(
        summary="the TIME_WAIT table is full: {in_table} of {limit} used{overflowed}",
        cause="tcp_max_tw_buckets was reached (it counts closed sockets in FIN_WAIT_2 as well). Connections that close "
        "now skip TIME_WAIT: a repeated FIN of the peer draws RST, and old segments may meet a new connection.",
        remedies=("Raise net.ipv4.tcp_max_tw_buckets: an entry takes a few hundred bytes.",),
        advice=(
            Advice(
                name="net.ipv4.tcp_max_tw_buckets",
                effect=Effect.HELPS,
                why="it is the limit that is reached",
            ),
            NOT_FIN_TIMEOUT,
        ),
    ),
    "bind_blocked": Telling(
        summary="{how_many} in TIME_WAIT on port {port}, where nothing listens, can make bind() fail",
        cause="A service on this port closed its connections and stopped. Until TIME_WAIT ends, bind() fails with "
        "EADDRINUSE for a new one that does not set SO_REUSEADDR, or if the old one had not set it.",
        remedies=(
            "Set SO_REUSEADDR before bind(), in the old and in the new program.",
            "Or wait: the last of them ends in {wait} s.",
        ),
        advice=(
            NOT_FIN_TIMEOUT,
            Advice(
                name="net.ipv4.tcp_tw_reuse",
                effect=Effect.NONE,
                why="it is for connect(), not for bind()",
            ),
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildupSettings(Settings):
    """From where on TIME_WAIT is worth a word."""

    used: Share = 0.5
    """client_ports: the used share of a port budget, from which on connect() searches long."""
    share: Share = 0.5
    """client_ports: the share of the used ports that TIME_WAIT holds."""
    server_sockets: int = 20
    """server_side: sockets in TIME_WAIT on one listening port."""
    server_share: Share = 0.25
    """server_side: their share of all sockets of the namespace."""


def detect(window: Window, settings: BuildupSettings) -> Iterator[Finding]:
    """One finding per budget, per listening port, per namespace, and per port without a listener."""
    yield from _client_ports(window, settings)
    yield from _server_side(window, settings)
    for index in range(len(window.namespaces)):
        yield from _table_full(window, index)
    yield from _bind_blocked(window)


def suspects(window: Window, settings: BuildupSettings) -> SocketTable:
    """The live users of the budgets, and the listeners."""
    budgets = [budget.sockets for budget in _eaten_budgets(window, settings)]
    return SocketTable.concatenate([*budgets, listeners_of(window.current, _on_listeners(window, settings))])


def _eaten_budgets(window: Window, settings: BuildupSettings) -> list[PortBudget]:
    least_age = min(settings.min_age, TIME_WAIT_SECONDS / 2)
    return [
        budget
        for budget in port_budgets(window, settings.used)
        if budget.time_wait >= settings.share * budget.used
        and (age.ages(window, budget.sockets.in_state(State.TIME_WAIT)).oldest or 0) >= least_age
    ]


def _client_ports(window: Window, settings: BuildupSettings) -> Iterator[Finding]:
    for budget in _eaten_budgets(window, settings):
        waiting = budget.sockets.in_state(State.TIME_WAIT)
        ages = age.ages(window, waiting)
        where = subject(window, waiting)
        judge = window.settings_of("port_exhaustion", BudgetSettings())
        named_as_short = judge is not None and is_short(budget, judge)
        yield tell(
            window,
            waiting,
            TELLINGS["client_ports"],
            code=CODE,
            variant="client_ports",
            severity=Severity.INFO if named_as_short else Severity.WARNING,
            subject=where,
            held=budget.sockets,
            ages=ages,
            evidence={
                "used": budget.used,
                "usable": budget.usable,
                "time_wait": budget.time_wait,
                "reusable": budget.reusable,
            }
            | age_evidence(ages, certain=True),
            share=f"{budget.time_wait / budget.usable:.0%}",
            remote=str(where.remote),
        )


def _on_listeners(window: Window, settings: BuildupSettings) -> SocketTable:
    """The sockets in TIME_WAIT on listening ports that have many of them."""
    sockets = window.sockets
    rows = np.flatnonzero(sockets.is_in_state(State.TIME_WAIT))
    rows = rows[is_listened(window.current, sockets.netns[rows], sockets.sport[rows])]
    groups = group(sockets.netns[rows], sockets.sport[rows])
    in_namespace = np.bincount(sockets.netns, minlength=len(window.namespaces))
    least = np.maximum(settings.server_sockets, settings.server_share * in_namespace)
    return sockets.take(rows[groups.count[groups.index] >= least[sockets.netns[rows]]])


def _server_side(window: Window, settings: BuildupSettings) -> Iterator[Finding]:
    on_listeners = _on_listeners(window, settings)
    for rows, folded in split(on_listeners.sport, apart=(on_listeners.netns,)):
        waiting = on_listeners.take(rows)
        ages = age.ages(window, waiting)
        if (ages.oldest or 0) < min(settings.min_age, TIME_WAIT_SECONDS / 2):
            continue
        where = subject(window, waiting, remote=False)
        yield tell(
            window,
            waiting,
            TELLINGS["server_side"],
            code=CODE,
            folded=folded,
            variant="server_side",
            severity=Severity.INFO,
            subject=where,
            held=listeners_of(window.current, waiting),
            ages=ages,
            evidence=age_evidence(ages, certain=True),
            port=_port(where),
        )


def _table_full(window: Window, netns: int) -> Iterator[Finding]:
    namespace = window.namespaces[netns]
    in_table = namespace.counters.get("sockstat.TCP.tw")
    limit = namespace.number("net.ipv4.tcp_max_tw_buckets")
    overflowed = window.increase(netns, "TcpExt.TCPTimeWaitOverflow")
    at_limit = in_table is not None and limit is not None and in_table >= max(limit, 1)
    if not at_limit and (overflowed or 0) <= 0:
        return
    sockets = window.sockets
    waiting = sockets.take(sockets.is_in_state(State.TIME_WAIT) & (sockets.netns == netns))
    numbers = {"in_table": in_table, "limit": limit, "overflowed": overflowed}
    known: Evidence = {name: number for name, number in numbers.items() if number is not None}
    ages = age.ages(window, waiting)
    yield tell(
        window,
        waiting,
        TELLINGS["table_full"],
        code=CODE,
        variant="table_full",
        severity=Severity.WARNING,
        subject=Subject(netns=namespace.name),
        netns=netns,
        ages=ages,
        evidence=known | age_evidence(ages, certain=True),
        in_table="?" if in_table is None else f"{in_table:,}",
        limit="?" if limit is None else f"{limit:,}",
        overflowed=f", {overflowed:,} found no place since the last look" if (overflowed or 0) > 0 else "",
    )


def _bind_blocked(window: Window) -> Iterator[Finding]:
    """Ports outside the range: inside of it a port without a listener is a client's, which nobody wants to bind."""
    sockets = window.sockets
    judged = np.array([namespace.port_range() is not None for namespace in window.namespaces], np.bool_)
    rows = np.flatnonzero(sockets.is_in_state(State.TIME_WAIT) & (sockets.dport >= CLIENT_PORTS))
    rows = rows[judged[sockets.netns[rows]]]
    of_others = ranges(window.current)[sockets.netns[rows], sockets.sport[rows]]
    of_others |= is_listened(window.current, sockets.netns[rows], sockets.sport[rows])
    services = sockets.take(rows[~of_others])
    to_itself = (services.src_lo == services.dst_lo) & (services.src_hi == services.dst_hi)
    services = services.take(~to_itself | (services.sport != services.dport))
    for rows, folded in split(services.sport, apart=(services.netns,)):
        waiting = services.take(rows)
        ages = age.ages(window, waiting)
        where = subject(window, waiting, remote=False)
        yield tell(
            window,
            waiting,
            TELLINGS["bind_blocked"],
            code=CODE,
            folded=folded,
            variant="bind_blocked",
            severity=Severity.INFO,
            subject=where,
            ages=ages,
            evidence=age_evidence(ages, certain=True),
            port=_port(where),
            wait=f"{int(np.ceil(waiting.expires_ms.max() / 1e3))}",
        )


def _port(where: Subject) -> str:
    return str(where.local).rpartition(":")[2]


DETECTOR = Detector(
    variants=VARIANTS,
    asks=Asks(sysctls=SYSCTLS | {a.name for t in TELLINGS.values() for a in t.advice}),
    rows=frozenset({State.TIME_WAIT, State.ESTABLISHED}),
    partly=True,
    settings=BuildupSettings(),
    detect=detect,
    suspects=suspects,
)
