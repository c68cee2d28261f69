"""What a check says: the status, the findings, the counts, and what could not be seen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sockwatch.model.effort import Effort
from sockwatch.model.finding import Finding
from sockwatch.model.snapshot import Gap, Namespace
from sockwatch.model.state import State


class Status(StrEnum):
    """The answer of a check; `exit_code` is what Nagios expects."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"

    @property
    def exit_code(self) -> int:
        """0 to 3, in the order of declaration."""
        return list(Status).index(self)


class Result(StrEnum):
    """How one detector ended."""

    FINDINGS = "findings"
    CLEAN = "clean"
    NO_DATA = "no data"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one detector ended, and why where it is neither findings nor clean."""

    code: str
    result: Result
    why: str = ""
    seen: Mapping[str, float] = field(default_factory=dict)
    """How large a part of the sockets that it looks into this look showed, more than 0 and less than 1, by network
    namespace; which part changes. All of them where a namespace is not in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceCounts:
    """One namespace with its socket counts; a state is None where it could not be told.

    The kernel counts sockets that were not read (Namespace.counted): they are in `total` as well.
    """

    namespace: Namespace
    total: int
    by_state: Mapping[State, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """How many of the source ports of one address towards one destination are used.

    `destination` is ADDR:PORT, or `*` for the ports of one source address that bind() to port 0 chooses from, which all
    destinations share. `seconds_left` is until none is left at the present churn; None where no end is in sight.
    """

    netns: str
    source: str
    destination: str
    used: int
    usable: int
    seconds_left: float | None = None

    @property
    def ratio(self) -> float:
        """The used share, 0 to 1."""
        return self.used / self.usable if self.usable else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCount:
    """Sockets between the same two ends that have been in one of the states of closing for long.

    `local` and `peer` are ADDR:PORT; the port of the end that called connect() is `*`. Of those that are left over when
    there are too many different ends, both are `*` alone.
    """

    netns: str
    local: str
    peer: str
    state: State
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of one pipeline step, worst finding first.

    `budgets`, fullest first, and `peers`, most sockets first, are empty unless the pipeline is `watching`.
    """

    time: float
    host: str
    kernel: str
    status: Status
    total: int
    by_state: Mapping[State, int | None]
    findings: tuple[Finding, ...] = ()
    gaps: tuple[Gap, ...] = ()
    namespaces: tuple[NamespaceCounts, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    budgets: tuple[BudgetUse, ...] = ()
    peers: tuple[PeerCount, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    effort: Effort | None = None
    """What looking costs and may cost; None where there are no limits."""
    what_if: "WhatIf | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What a report supposes: sysctls by name with the values that they do not have, and the report without that.

    `takes_effect` says for each what it means for the sockets that are there when it is set.
    """

    sysctls: Mapping[str, str]
    takes_effect: Mapping[str, str]
    before: Report
