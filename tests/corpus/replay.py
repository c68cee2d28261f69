"""A capture through the real pipeline with every detector, and what differs from the manifest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from corpus.host import make_pipeline
from corpus.manifest import Entry, Wanted, described
from sockwatch.collect.capture import ReplaySource
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was wanted and found, wanted and missed, found and not wanted; by the names of the findings."""

    right: tuple[str, ...]
    missed: tuple[Wanted, ...]
    surplus: tuple[Wanted, ...]

    @property
    def differences(self) -> list[str]:
        """Empty where all is as it must be."""
        return [f"missed: {wanted}" for wanted in self.missed] + [f"not wanted: {found}" for found in self.surplus]


def replay(entry: Entry, supposed: Mapping[str, str] | None = None) -> list[Report]:
    """The report of each look of the capture, maybe under other sysctls; the last is what counts."""
    source = ReplaySource.open(entry.path)
    pipeline = make_pipeline(source, healthy=entry.healthy, supposed=supposed)
    return [pipeline.step() for _ in range(source.looks)]


def compare(wanted: Iterable[Wanted], findings: Iterable[Finding]) -> Comparison:
    """Each finding meets at most one that is wanted."""
    missed, right, surplus = list(wanted), [], []
    for finding in findings:
        met = next((one for one in missed if one.is_met_by(finding)), None)
        if met is None:
            surplus.append(described(finding))
        else:
            missed.remove(met)
            right.append(finding.name)
    return Comparison(right=tuple(right), missed=tuple(missed), surplus=tuple(surplus))


def alarms(reports: Iterable[Report]) -> list[str]:
    """Every finding at any look that somebody would be woken up for."""
    return [str(described(f)) for report in reports for f in report.findings if f.severity is not Severity.INFO]
