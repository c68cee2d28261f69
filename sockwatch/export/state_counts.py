"""What a report tells of each TCP state: how many sockets, how many of them are in findings or old, and how bad."""

from collections.abc import Mapping
from dataclasses import dataclass

from sockwatch.model.finding import Finding, Severity
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


def states_of(finding: Finding) -> Mapping[State, int]:
    """How many of its sockets are in each state; empty where it does not tell.

    A finding without these counts, as its JSON may be, has all in one state if those that it shows are.
    """
    shown = {row.state for row in finding.sockets}
    return finding.by_state or (dict.fromkeys(shown, finding.count) if len(shown) == 1 else {})


def state_counts(report: Report) -> Mapping[State, StateCount]:
    """All states, in the order of their declaration."""
    suspicious = dict.fromkeys(State, 0)
    severity: dict[State, Severity] = {}
    for finding in report.findings:
        if finding.severity is Severity.INFO:
            continue
        states = states_of(finding)
        for state, count in states.items():
            suspicious[state] += count
        for state in states or {row.state for row in finding.sockets}:
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
