"""What a file tells: one look, two that are compared, or what a daemon kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sockwatch.export.history.records import Chart
from sockwatch.export.history.timeline import Timeline
from sockwatch.model.finding import Finding
from sockwatch.model.report import Report


class Fate(StrEnum):
    """What became of a finding between two reports."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "same"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One finding before and after; one of the two is None where it was not there."""

    fate: Fate
    before: Finding | None
    after: Finding | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a daemon kept. `findings` are those of the timeline in full, by their number, as they were last."""

    timeline: Timeline
    counts: Chart
    findings: Mapping[int, Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All of it. `report` is the look that is told, and `before` an earlier one that it is held against.

    `source` says where it comes from, and `host` whose history it is where there is no report. `made` is seconds since
    1970. `rates` are events a second by counter, the means over `mean_over` seconds. `booted_between`: the host was
    booted between the two looks, so that it counts anew.
    """

    source: str
    made: float
    host: str = ""
    report: Report | None = None
    before: Report | None = None
    past: Past | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    mean_over: float = 0.0
    booted_between: bool = False


def compare(before: Report, after: Report) -> tuple[Change, ...]:
    """What is new first, then what changed, what is as it was, and what is gone; the worst first in each."""
    then = {_identity(finding): finding for finding in before.findings}
    changes = []
    for finding in after.findings:
        earlier = then.pop(_identity(finding), None)
        if earlier is None:
            fate = Fate.NEW
        else:
            same = (earlier.severity, earlier.count) == (finding.severity, finding.count)
            fate = Fate.SAME if same else Fate.CHANGED
        changes.append(Change(fate=fate, before=earlier, after=finding))
    changes += [Change(fate=Fate.GONE, before=finding, after=None) for finding in then.values()]
    order = list(Fate)
    return tuple(sorted(changes, key=lambda change: order.index(change.fate)))


def _identity(finding: Finding) -> tuple[str | None, ...]:
    """As that of an alert: never a pid, which a restart changes."""
    subject = finding.subject
    process = subject.process
    return (finding.name, subject.netns, subject.local, subject.remote, process.name if process else None)
