"""What is carried from look to look: every alert with its timers, which run on looks and not on a clock.

A timer is a number of seconds that grows by the time between two looks which both saw the same thing. So it stands
still while looks fail or the daemon is not there, and no jump of the wall clock moves it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from sockwatch.model.alert import AlertIdentity, AlertState
from sockwatch.model.finding import Finding, Severity


class Presence(Enum):
    """What the last look said of an alert's finding."""

    SEEN = auto()
    GONE = auto()
    UNKNOWN = auto()
    """The look failed, or it could not see this; so after a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Of an alert what outlives the daemon, with its timers, in seconds. Wall times (began, fired) are for people."""

    identity: AlertIdentity
    state: AlertState
    severity: Severity
    worst: Severity
    """The highest severity since it began."""
    summary: str
    cause: str
    remedies: tuple[str, ...]
    count: int
    began: float
    fired: float | None = None
    present: float = 0.0
    """Since when it is there without a look that missed it."""
    away: float = 0.0
    """Since when it is gone."""
    told: Severity | None = None
    """The severity that sinks were told last; None while nobody knows of it."""
    told_ago: float = 0.0
    """How long ago that was; looks that fail count too."""
    inhibited_by: AlertIdentity | None = None
    wait: float = 0.0
    """How long it must still be there, once nothing explains it any more, before somebody is told."""
    hidden: int = 0
    """How many namespaces were hidden from the look that saw it last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked(Kept):
    """One alert."""

    presence: Presence = Presence.UNKNOWN
    finding: Finding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """All alerts, and what the looks before this one were."""

    alerts: Mapping[AlertIdentity, Tracked] = field(default_factory=dict)
    failures: int = 0
    """Looks that failed in a row."""
    looked: float | None = None
    """When the last look was, on the monotonic clock; None at the start."""
    untracked: int = 0
    """Findings of the last look that found no place."""
