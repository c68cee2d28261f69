"""What a report tells of each TCP state: how many sockets, how many of them are in findings or old, and how bad."""

from collections.abc import Mapping
from dataclasses import dataclass

from sockwatch.model.finding import Severity
from sockwatch.model.report import Report
from sockwatch.model.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCount:
    """One state. `count` is None where it could not be told.

    `suspicious` are the sockets of warnings and critical findings, `aged` those that have been in a state of closing
    for long; the same socket may be both.
    """

    count: int | None
    suspicious: int = 0
    aged: int = 0
    severity: Severity | None = None

    @property
    def share(self) -> float:
        """The part of the sockets that is suspicious or old, 0 to 1."""
        return max(self.suspicious, self.aged) / self.count if self.count else 0.0


def state_counts(report: Report) -> Mapping[State, StateCount]:
    """All states, in the order of their declaration."""
    suspicious = dict.fromkeys(State, 0)
    severity: dict[State, Severity] = {}
    for finding in report.findings:
        if finding.severity is Severity.INFO:
            continue
        for state in {row.state for row in finding.sockets}:
            suspicious[state] += finding.count
            severity[state] = max(severity.get(state, finding.severity), finding.severity, key=lambda s: s.rank)
    aged = dict.fromkeys(State, 0)
    for peer in report.peers:
        aged[peer.state] += peer.count
    return {
        state: StateCount(
            count=count,
            suspicious=min(suspicious[state], count or 0),
            aged=min(aged[state], count or 0),
            severity=severity.get(state),
        )
        for state, count in report.by_state.items()
    }
