"""Findings as episodes: from the look that found one to the look from which on it was gone. Pure.

An episode has an event when it opens, when it changes (another severity; twice or half the sockets), and when it is
over. What comes back within a minute has not been away, so that what flickers makes one episode and not hundreds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from sockwatch.export.alerts.sighting import Sighting, hidden_namespaces, is_unknown, part_seen, sightings
from sockwatch.export.history.samples import Look
from sockwatch.model.alert import AlertIdentity
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.printable import printable

CLOSE_AFTER = 60.0
"""Seconds of looks that succeed and do not see it."""
CHANGE_AFTER = 60.0
"""Seconds between two changes, unless the severity rises above all before."""
MOST_OPEN = 2000


class EventKind(StrEnum):
    """What happened to a finding."""

    OPENED = "opened"
    CHANGED = "changed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One finding that is open. Times are seconds since 1970, durations seconds of looks that succeeded."""

    identity: AlertIdentity
    opened: float
    seen: float
    severity: Severity
    worst: Severity
    count: int
    most: int
    summary: str
    noted_severity: Severity
    noted_count: int
    """What the last event said."""
    noted_ago: float = 0.0
    gone: float | None = None
    """When the first look missed it."""
    away: float = 0.0
    hidden: int = 0
    finding: Finding | None = None
    """As seen last; None after a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened to an episode, at `time`; `episode` is how it is after that."""

    kind: EventKind
    time: float
    episode: Episode


def follow(
    episodes: Mapping[AlertIdentity, Episode], look: Look, passed: float
) -> tuple[dict[AlertIdentity, Episode], tuple[Event, ...]]:
    """The open episodes after a look, and what happened. `passed`: seconds since the look before, 0 if that failed."""
    if not look.success:
        return dict(episodes), ()
    seen = sightings(look.report, episodes)
    after: dict[AlertIdentity, Episode] = {}
    events: list[Event] = []
    for identity, before in episodes.items():
        sighting = seen.pop(identity, None)
        if sighting is not None:
            after[identity], event = _seen(before, sighting, look, passed)
        elif is_unknown(look.report, identity, before.hidden):
            after[identity], event = before, None
        else:
            missed, event = _missed(before, look, passed, passed * part_seen(look.report, identity))
            if event is None:
                after[identity] = missed
        events += [] if event is None else [event]
    for identity, sighting in list(seen.items())[: max(MOST_OPEN - len(after), 0)]:
        after[identity] = _open(identity, sighting, look)
        events.append(Event(kind=EventKind.OPENED, time=look.time, episode=after[identity]))
    return after, tuple(events)


def _open(identity: AlertIdentity, sighting: Sighting, look: Look) -> Episode:
    finding = sighting.finding
    return Episode(
        identity=identity,
        opened=look.time,
        seen=look.time,
        severity=finding.severity,
        worst=finding.severity,
        count=sighting.count,
        most=sighting.count,
        summary=printable(finding.summary),
        noted_severity=finding.severity,
        noted_count=sighting.count,
        hidden=hidden_namespaces(look.report),
        finding=finding,
    )


def _seen(before: Episode, sighting: Sighting, look: Look, passed: float) -> tuple[Episode, Event | None]:
    finding, count = sighting.finding, sighting.count
    ago = before.noted_ago + passed
    rises = finding.severity.rank > before.worst.rank
    differs = finding.severity is not before.noted_severity or not (
        before.noted_count < 2 * count and count < 2 * max(before.noted_count, 1)
    )
    noted = rises or (differs and ago >= CHANGE_AFTER)
    episode = replace(
        before,
        seen=look.time,
        severity=finding.severity,
        worst=finding.severity if rises else before.worst,
        count=count,
        most=max(before.most, count),
        summary=printable(finding.summary),
        noted_severity=finding.severity if noted else before.noted_severity,
        noted_count=count if noted else before.noted_count,
        noted_ago=0.0 if noted else ago,
        gone=None,
        away=0.0,
        hidden=hidden_namespaces(look.report),
        finding=finding,
    )
    return episode, Event(kind=EventKind.CHANGED, time=look.time, episode=episode) if noted else None


def _missed(before: Episode, look: Look, passed: float, counted: float) -> tuple[Episode, Event | None]:
    gone = look.time if before.gone is None else before.gone
    away = 0.0 if before.gone is None else before.away + counted
    episode = replace(before, gone=gone, away=away, noted_ago=before.noted_ago + passed)
    over = away >= CLOSE_AFTER
    return episode, Event(kind=EventKind.CLOSED, time=max(gone, before.opened), episode=episode) if over else None
