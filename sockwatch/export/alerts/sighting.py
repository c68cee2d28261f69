"""What one look says about alerts: which findings are there, and whose absence means nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sockwatch.export.alerts.identity import identity_of, without_process
from sockwatch.model.alert import AlertIdentity
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.report import Report, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """The findings of one identity together: the worst of them, with the sockets of all."""

    finding: Finding
    count: int


def sightings(report: Report, known: Iterable[AlertIdentity]) -> dict[AlertIdentity, Sighting]:
    """The findings of a look by the identity of their alerts, worst first; `known` are the alerts there are.

    A look that cannot name a process means the alert that has one at the same place, where there is a single one; and
    the first look that names it means the alert that has none.
    """
    ranges = {counts.namespace.name: counts.namespace.port_range() for counts in report.namespaces}
    seen: dict[AlertIdentity, Sighting] = {}
    for finding in sorted(report.findings, key=lambda finding: -finding.severity.rank):
        identity = identity_of(finding, ranges.get(finding.subject.netns))
        before = seen.get(identity)
        merged = Sighting(finding=finding, count=finding.count) if before is None else _add(before, finding)
        seen[identity] = merged
    return _renamed(seen, set(known))


def is_unknown(report: Report, identity: AlertIdentity, hidden: int) -> bool:
    """Whether the look could not tell whether this is over: its detector or its namespace was not looked at.

    Where smaller groups were folded into one finding, what has no finding of its own may be in that one.
    A namespace that is missing from the report is gone, unless a gap names it, or the gaps count more hidden ones than
    the `hidden` of the look that saw this last.
    """
    for outcome in report.outcomes:
        if outcome.code == identity.code and outcome.result in {Result.FAILED, Result.NO_DATA}:
            return True
    place = (identity.code, identity.variant, identity.netns)
    for finding in report.findings:
        if finding.folded and place == (finding.code, finding.variant or "", finding.subject.netns):
            return True
    if any(counts.namespace.name == identity.netns for counts in report.namespaces):
        return False
    named = any(gap.what == f"namespace {identity.netns}" for gap in report.gaps)
    return named or hidden_namespaces(report) > hidden


def part_seen(report: Report, identity: AlertIdentity) -> float:
    """How much an absence says, up to 1: the part of its sockets that the look showed."""
    return next((one.seen.get(identity.netns, 1.0) for one in report.outcomes if one.code == identity.code), 1.0)


def cannot_tell(sighting: Sighting) -> bool:
    """Whether it is a guess, which is no more than a note until a further look settles it."""
    return sighting.finding.severity is Severity.INFO and sighting.finding.evidence.get("confidence") == "low"


def hidden_namespaces(report: Report) -> int:
    """How many network namespaces, or processes that may be in one, could not be looked at."""
    return sum(gap.count for gap in report.gaps if gap.what == "network namespaces")


def _add(sighting: Sighting, finding: Finding) -> Sighting:
    return replace(sighting, count=sighting.count + finding.count)


def _renamed(seen: dict[AlertIdentity, Sighting], known: set[AlertIdentity]) -> dict[AlertIdentity, Sighting]:
    """The sightings with the identity under which their alert is known already."""
    new = _by_place(identity for identity in seen if identity not in known and not seen[identity].finding.folded)
    unseen = _by_place(identity for identity in known if identity not in seen)
    names: dict[AlertIdentity, AlertIdentity] = {}
    for place, identities in new.items():
        alerts = unseen.get(place, [])
        if len(identities) == len(alerts) == 1 and place in {identities[0], alerts[0]}:
            names[identities[0]] = alerts[0]
    return {names.get(identity, identity): sighting for identity, sighting in seen.items()}


def _by_place(identities: Iterable[AlertIdentity]) -> Mapping[AlertIdentity, list[AlertIdentity]]:
    places: dict[AlertIdentity, list[AlertIdentity]] = {}
    for identity in identities:
        places.setdefault(without_process(identity), []).append(identity)
    return places
