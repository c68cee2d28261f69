"""The source ports towards one destination run out, or those of a source address for programs that bind first.

What it sees:
    For each source address, destination address and destination port: how many of the ports that connect() may choose
    from are used (connect_budget). For each source address whose sockets call bind() with port 0 before they connect:
    how many of its ports are used at all, since those sockets share them over all destinations (bind_budget). With two
    looks also how long the rest lasts at the churn between them.

Why it matters:
    When none is left, connect() fails with EADDRNOTAVAIL, or bind() with EADDRINUSE, and no counter of the kernel
    moves. Long before, from half of the range on, connect() becomes slow: the kernel searches the others one by one.

Kernel fields:
    Addresses, ports and idiag_state of every socket; net.ipv4.ip_local_port_range, ip_local_reserved_ports,
    tcp_tw_reuse and tcp_tw_reuse_delay. A port that bind() took is out of reach for connect() to every destination:
    ports of listeners and of bound sockets, those that programs named (INET_DIAG_BC_AUTO, asked once a budget is half
    used), those of accepted connections (tcpi_bytes_acked), and ports of the parity that bind() tries first.
    INET_DIAG_SOCKOPT shows IP_BIND_ADDRESS_NO_PORT.

When it is wrong:
    Where ports were taken and a look does not tell by connect() or by bind(), the number of usable ports is an upper
    bound, and the finding says so. Who binds first and goes to one destination only, until all its ports are used,
    looks like connect(). What connect() left in the other half of the range after a peak looks like bind(): a
    bind_budget is info with low confidence unless, since the look before, bind() was seen to take a port. A peak that
    came and went between two looks still misleads. A socket with IP_LOCAL_PORT_RANGE has a range of its own. Sockets
    of other hosts behind the same NAT are not seen.

What to do:
    Reuse connections (keep-alive, a pool). Use more destination addresses or ports, or more source addresses. A wider
    ip_local_port_range gives more ports at once. Who binds first: set IP_BIND_ADDRESS_NO_PORT before bind().
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from sockwatch.diagnose import role
from sockwatch.diagnose.bind_budget import BindBudget, bind_budgets
from sockwatch.diagnose.detector import Detector
from sockwatch.diagnose.ports import HALF, SYSCTLS, BudgetSettings, PortBudget, count_left_out, is_short, port_budgets
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Asks, Namespace
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "port_exhaustion"
VARIANTS = ("connect_budget", "bind_budget")

ADVICE = (
    Advice(
        name="net.ipv4.ip_local_port_range",
        effect=Effect.HELPS,
        why="it is the range that source ports come from; more ports at once",
    ),
    Advice(
        name="net.ipv4.ip_local_reserved_ports",
        effect=Effect.LIMITS,
        why="every reserved port inside the range is one less to choose",
    ),
    Advice(
        name="net.ipv4.tcp_fin_timeout",
        effect=Effect.NONE,
        why="it does not shorten TIME_WAIT, which is 60 s, compiled in",
    ),
    Advice(
        name="net.ipv4.tcp_max_tw_buckets",
        effect=Effect.NONE,
        why="below what is needed the kernel drops TIME_WAIT early, which TIME_WAIT exists to prevent",
    ),
)

WIDEN = "Widen net.ipv4.ip_local_port_range (now {range}); first reserve the ports of services that it would cover."

TELLINGS = {
    "connect_budget": Telling(
        summary="{used} of {at_most}{usable} source ports towards {remote} are used{forecast}",
        cause="Every connection from {source} to {remote} needs a source port of its own, and so does every one in "
        "TIME_WAIT ({time_wait} of them). When none is left, connect() fails with EADDRNOTAVAIL; no counter shows "
        "that.",
        remedies=(
            "Reuse connections instead of opening new ones: keep-alive, a connection pool.",
            "Spread over more destination addresses or ports, or source addresses: each combination has all ports.",
            WIDEN,
        ),
        advice=(
            *ADVICE,
            Advice(
                name="net.ipv4.tcp_tw_reuse",
                effect=Effect.HELPS,
                why="at 1 connect() takes over ports in TIME_WAIT after tcp_tw_reuse_delay; at 2 on loopback only",
            ),
        ),
    ),
    "bind_budget": Telling(
        summary="{used} of {usable} source ports of {source} are used, {how_many} by {who}, which binds before it "
        "connects{forecast}",
        cause="These sockets call bind() with port 0 before connect(). The kernel then picks a port that no other "
        "socket of {source} has, whatever the destination, TIME_WAIT included: all destinations share one budget. When "
        "it is used up, bind() fails with EADDRINUSE; no counter shows that.",
        remedies=(
            "Set IP_BIND_ADDRESS_NO_PORT before bind(): connect() then chooses, and each destination has all ports.",
            "Leave bind() out where the source address does not matter: the effect is the same.",
            "Reuse connections, or bind to more source addresses: each has all ports.",
            WIDEN,
        ),
        advice=(
            *ADVICE,
            Advice(
                name="net.ipv4.tcp_tw_reuse",
                effect=Effect.NONE,
                why="it is for ports that connect() chooses; bind() takes none over",
            ),
        ),
    ),
}


TELLINGS["connect_budget_live"] = replace(
    TELLINGS["connect_budget"],
    advice=(
        *ADVICE,
        Advice(
            name="net.ipv4.tcp_tw_reuse",
            effect=Effect.NONE,
            why="it takes over ports in TIME_WAIT, and none of these is",
        ),
    ),
)

TELLINGS["bind_budget_guess"] = replace(
    TELLINGS["bind_budget"],
    summary="{used} of {usable} source ports of {source} are used, {how_many} by {who} on ports that bind() with port "
    "0 takes first{forecast}",
    cause="If these sockets called bind() with port 0 before connect(), all destinations share one budget: bind() "
    "picks a port that no other socket of {source} has, and fails with EADDRINUSE when there is none. If they did not, "
    "they are what connect() left after a peak, and it goes on to work. A second look tells when new ones come.",
    remedies=(
        "Look again with --sample, or see with strace whether the program calls bind() before connect().",
        *TELLINGS["bind_budget"].remedies,
    ),
)


def detect(window: Window, settings: BudgetSettings) -> Iterator[Finding]:
    """One finding per source address and remote address and port; one per source address of those who bind first.

    Of very many budgets only the fullest are judged, and each finding says how many more may be as full.
    """
    left_out = count_left_out(window, min(settings.used, settings.forecast_used))
    for budget in _short_of_connect(window, settings):
        where = subject(window, budget.sockets)
        yield tell(
            window,
            budget.sockets,
            TELLINGS["connect_budget" if budget.time_wait else "connect_budget_live"],
            code=CODE,
            variant="connect_budget",
            severity=_severity(budget, settings),
            subject=where,
            evidence=_evidence(budget)
            | {"time_wait": budget.time_wait, "reusable": budget.reusable}
            | ({} if budget.exact else {"usable_at_most": budget.usable})
            | ({"budgets_left_out": left_out} if left_out else {}),
            used=f"{budget.used:,}",
            at_most="" if budget.exact else "at most ",
            usable=f"{budget.usable:,}",
            time_wait=f"{budget.time_wait:,}",
            source=_address(where.local),
            remote=str(where.remote),
            forecast=_forecast(budget, "connect()"),
            range=_range(budget.namespace),
        )
    for bound in _short_of_bind(window, settings):
        guess: Evidence = {} if bound.seen else {"confidence": "low"}
        where = subject(window, bound.sockets)
        yield tell(
            window,
            bound.sockets,
            TELLINGS["bind_budget" if bound.seen else "bind_budget_guess"],
            code=CODE,
            variant="bind_budget",
            severity=_severity(bound, settings) if bound.seen else Severity.INFO,
            subject=where,
            evidence=_evidence(bound) | {"bound_first": len(bound.sockets)} | guess,
            used=f"{bound.used:,}",
            usable=f"{bound.usable:,}",
            source=_address(where.local),
            forecast=_forecast(bound, "bind()"),
            range=_range(bound.namespace),
        )


def suspects(window: Window, settings: BudgetSettings) -> SocketTable:
    """Everything that uses a short budget, or may."""
    short_of_connect = [budget.sockets for budget in _short_of_connect(window, settings)]
    bound = [budget.sockets for budget in bind_budgets(window) if is_short(budget, settings)]
    return SocketTable.concatenate([*short_of_connect, *bound])


def asks_autobound(window: Window, settings: BudgetSettings) -> bool:
    """From half of a budget on it matters who took the other ports."""
    del settings
    return any(True for _ in port_budgets(window, HALF)) or bool(bind_budgets(window))


def _short_of_connect(window: Window, settings: BudgetSettings) -> list[PortBudget]:
    """Those whose shortage is not that of the other variant: made by who binds first, or theirs alone."""
    bound = [budget.sockets.cookie for budget in _short_of_bind(window, settings)]
    first = np.concatenate(bound) if bound else np.empty(0, np.uint64)
    return [
        budget
        for budget in port_budgets(window, min(settings.used, settings.forecast_used))
        if is_short(budget, settings)
        and not (bound and budget.lost > budget.used)
        and np.isin(budget.sockets.cookie, first).sum() * 2 <= len(budget.sockets)
    ]


def _short_of_bind(window: Window, settings: BudgetSettings) -> list[BindBudget]:
    return [budget for budget in bind_budgets(window) if budget.asked and is_short(budget, settings)]


def _severity(budget: PortBudget | BindBudget, settings: BudgetSettings) -> Severity:
    return Severity.CRITICAL if budget.refuses_within(settings.critical_seconds) else Severity.WARNING


def _forecast(budget: PortBudget | BindBudget, fails: str) -> str:
    if not budget.free:
        return f": {fails} fails now"
    return "" if budget.seconds_left is None else f", the rest lasts {budget.seconds_left:,.0f} s at this churn"


def _evidence(budget: PortBudget | BindBudget) -> Evidence:
    evidence: Evidence = {"used": budget.used, "usable": budget.usable, "used_ratio": round(budget.ratio, 3)}
    if budget.seconds_left is not None:
        evidence["seconds_left"] = round(budget.seconds_left, 1)
    return evidence


def _address(endpoint: str | None) -> str:
    return str(endpoint).rpartition(":")[0]


def _range(namespace: Namespace) -> str:
    return " ".join(namespace.sysctls.get("net.ipv4.ip_local_port_range", "").split())


DETECTOR = Detector(
    variants=VARIANTS,
    asks=Asks(
        states=frozenset({State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_2}),
        details=role.DETAILS,
        sysctls=SYSCTLS | {a.name for t in TELLINGS.values() for a in t.advice},
    ),
    rows=frozenset({State.TIME_WAIT}),
    settings=BudgetSettings(),
    detect=detect,
    suspects=suspects,
    asks_autobound=asks_autobound,
)
