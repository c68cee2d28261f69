"""The numbers of one look that are kept: a few hundred at most, whatever the host does."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from sockwatch.model.finding import Severity
from sockwatch.model.poll import Poll
from sockwatch.model.report import NamespaceCounts, Report

OTHER = "other"
MOST_NAMESPACES = 20
"""The largest ones have series of their own."""
MOST_BUDGETS = 100
MOST_SERIES = 1000

RATES = (
    "Tcp.ActiveOpens",
    "Tcp.PassiveOpens",
    "Tcp.AttemptFails",
    "Tcp.EstabResets",
    "Tcp.OutRsts",
    "Tcp.RetransSegs",
    "TcpExt.ListenOverflows",
    "TcpExt.TCPSynRetrans",
    "TcpExt.TW",
)
"""Counters whose increase a second is kept."""


class Kind(StrEnum):
    """What a series is about, and what its `name` says."""

    STATE = "state"
    """Sockets in a state; netns "" is the sum over all namespaces."""
    RATE = "rate"
    """A counter's increase a second."""
    BUDGET = "budget"
    """The used share of a port budget, as `SOURCE DESTINATION`."""
    FINDING = "finding"
    """Sockets in findings of one CODE or CODE/VARIANT."""
    SEVERITY = "severity"
    """How many findings have this severity; there at every look that succeeded, with netns ""."""


class Series(NamedTuple):
    """What a line on a chart is about."""

    kind: Kind
    netns: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the history takes from a poll. Times as in Poll."""

    time: float
    monotonic: float
    interval: float
    success: bool
    report: Report


def look_of(poll: Poll) -> Look:
    """The poll without its sockets, which are not to be held back by a slow disk."""
    return Look(
        time=poll.time, monotonic=poll.monotonic, interval=poll.interval, success=poll.success, report=poll.report
    )


def samples(look: Look, previous: Look | None) -> dict[Series, float]:
    """The numbers of a look that succeeded; rates need the look before it."""
    return dict(islice(_samples(look, previous), MOST_SERIES))


def _samples(look: Look, previous: Look | None) -> Iterator[tuple[Series, float]]:
    report = look.report
    severities = Counter(finding.severity for finding in report.findings)
    for severity in Severity:
        yield Series(Kind.SEVERITY, "", severity.value), severities[severity]
    for state, count in report.by_state.items():
        if count is not None:
            yield Series(Kind.STATE, "", state.label), count
    largest = sorted(report.namespaces, key=lambda counts: -counts.total)
    own, rest = largest[:MOST_NAMESPACES], largest[MOST_NAMESPACES:]
    yield from _sockets(report)
    yield from _states(own, rest)
    for budget in report.budgets[:MOST_BUDGETS]:
        yield Series(Kind.BUDGET, budget.netns, f"{budget.source} {budget.destination}"), round(budget.ratio, 4)
    if previous is not None and previous.success and look.monotonic > previous.monotonic:
        yield from _rates(own, previous.report, look.monotonic - previous.monotonic)


def _sockets(report: Report) -> Iterator[tuple[Series, float]]:
    counts: Counter[Series] = Counter()
    for finding in report.findings:
        counts[Series(Kind.FINDING, finding.subject.netns, finding.name)] += finding.count
    yield from counts.most_common()


def _states(own: list[NamespaceCounts], rest: list[NamespaceCounts]) -> Iterator[tuple[Series, float]]:
    folded: Counter[str] = Counter()
    for counts in own:
        for state, count in counts.by_state.items():
            if count is not None:
                yield Series(Kind.STATE, counts.namespace.name, state.label), count
    for counts in rest:
        folded.update({state.label: count for state, count in counts.by_state.items() if count is not None})
    for label, count in folded.items():
        yield Series(Kind.STATE, OTHER, label), count


def _rates(own: list[NamespaceCounts], previous: Report, passed: float) -> Iterator[tuple[Series, float]]:
    before: Mapping[tuple[str, int], Mapping[str, int]] = {
        (counts.namespace.name, counts.namespace.inode): counts.namespace.counters for counts in previous.namespaces
    }
    for counts in own:
        then = before.get((counts.namespace.name, counts.namespace.inode), {})
        for counter in RATES:
            now = counts.namespace.counters.get(counter)
            if now is not None and counter in then and now >= then[counter]:
                yield Series(Kind.RATE, counts.namespace.name, counter), round((now - then[counter]) / passed, 3)
