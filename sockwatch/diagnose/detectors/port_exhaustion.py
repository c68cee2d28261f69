"""The source ports towards one destination run out.

What it sees:
    For each source address, destination address and destination port: how many of the ports that connect() may choose
    from are used (connect_budget), and with two looks how long the rest lasts at the churn between them.

Why it matters:
    When none is left, connect() fails with EADDRNOTAVAIL, and no counter of the kernel moves. Long before, from half
    of the range on, connect() becomes slow: the kernel searches the ports of the other parity one by one.

Kernel fields:
    Addresses, ports and idiag_state of every socket; net.ipv4.ip_local_port_range, ip_local_reserved_ports,
    tcp_tw_reuse and tcp_tw_reuse_delay. Ports of listeners and of bound sockets are out of reach for every destination.

When it is wrong:
    The number of usable ports is an upper bound: a port that was bound first (bind() to port 0, then connect()) is
    lost to every destination, and a look does not show which were. A socket with IP_LOCAL_PORT_RANGE has a range of
    its own. Sockets of other hosts behind the same NAT are not seen.

What to do:
    Reuse connections (keep-alive, a pool). Use more destination addresses or ports, or more source addresses. A wider
    ip_local_port_range gives more ports at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ports import SHORT, SOON_SECONDS, SYSCTLS, PortBudget, port_budgets
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable

CODE = "port_exhaustion"

TELLING = Telling(
    summary="{used} of {usable} source ports towards {remote} are used{forecast}",
    cause="Every connection from {source} to {remote} needs a source port of its own, and so does every one in "
    "TIME_WAIT ({time_wait} of them). When none is left, connect() fails with EADDRNOTAVAIL; no counter shows that.",
    remedies=(
        "Reuse connections instead of opening new ones: keep-alive, a connection pool.",
        "Spread over more destination addresses or ports, or more source addresses: each combination has all ports.",
        "Widen net.ipv4.ip_local_port_range (now {range}); first reserve the ports of services that it would cover.",
    ),
    advice=(
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
            name="net.ipv4.tcp_tw_reuse",
            effect=Effect.HELPS,
            why="at 1 connect() takes over ports in TIME_WAIT after tcp_tw_reuse_delay; at 2 on loopback only",
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
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings(Settings):
    """When a port budget is short."""

    used: float = SHORT
    """A warning from this used share of a budget on."""
    forecast_used: float = 0.5
    """The forecast counts from this used share on; below it a burst would alarm."""
    critical_seconds: float = SOON_SECONDS
    """Critical when the budget is used up within so many seconds at the present churn."""


def detect(window: Window, settings: BudgetSettings) -> Iterator[Finding]:
    """One finding per source address and remote address and port."""
    for budget in _short(window, settings):
        where = subject(window, budget.sockets)
        yield tell(
            window,
            budget.sockets,
            TELLING,
            code=CODE,
            variant="connect_budget",
            severity=Severity.CRITICAL if budget.refuses_within(settings.critical_seconds) else Severity.WARNING,
            subject=where,
            evidence=_evidence(budget),
            used=f"{budget.used:,}",
            usable=f"{budget.usable:,}",
            time_wait=f"{budget.time_wait:,}",
            source=str(where.local).rpartition(":")[0],
            remote=str(where.remote),
            forecast=_forecast(budget),
            range=" ".join(budget.namespace.sysctls.get("net.ipv4.ip_local_port_range", "").split()),
        )


def suspects(window: Window, settings: BudgetSettings) -> SocketTable:
    """Everything that uses a short budget."""
    return SocketTable.concatenate([budget.sockets for budget in _short(window, settings)])


def _short(window: Window, settings: BudgetSettings) -> list[PortBudget]:
    budgets = port_budgets(window, min(settings.used, settings.forecast_used))
    return [b for b in budgets if b.ratio >= settings.used or b.refuses_within(settings.critical_seconds)]


def _forecast(budget: PortBudget) -> str:
    if not budget.free:
        return ": connect() fails now"
    return "" if budget.seconds_left is None else f", the rest lasts {budget.seconds_left:,.0f} s at this churn"


def _evidence(budget: PortBudget) -> Evidence:
    evidence: Evidence = {
        "used": budget.used,
        "usable": budget.usable,
        "used_ratio": round(budget.ratio, 3),
        "time_wait": budget.time_wait,
        "reusable": budget.reusable,
    }
    if budget.seconds_left is not None:
        evidence["seconds_left"] = round(budget.seconds_left, 1)
    return evidence


DETECTOR = Detector(
    variants=("connect_budget",),
    asks=Asks(sysctls=SYSCTLS | {a.name for a in TELLING.advice}),
    settings=BudgetSettings(),
    detect=detect,
    suspects=suspects,
)
