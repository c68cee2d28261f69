"""What a check says: the status, the findings, the counts, and what could not be seen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

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


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceCounts:
    """One namespace with its socket counts; a state is None where this kernel cannot tell."""

    namespace: Namespace
    total: int
    by_state: Mapping[State, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of one pipeline step, worst finding first."""

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
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    what_if: "WhatIf | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What a report supposes: sysctls by name with the values that they do not have, and the report without that.

    `takes_effect` says for each what it means for the sockets that are there when it is set.
    """

    sysctls: Mapping[str, str]
    takes_effect: Mapping[str, str]
    before: Report
