"""What readers of the history get."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sockwatch.export.history.episodes import EventKind
from sockwatch.export.history.samples import Series
from sockwatch.model.alert import AlertIdentity
from sockwatch.model.finding import Severity

Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart: the mean and the highest value of each step; None where nothing is known."""

    series: Series
    mean: Values
    high: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over the same steps: `times` are where they begin, in seconds since 1970, each `step` seconds long."""

    times: tuple[int, ...]
    step: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A time for which nothing is known, and why; `ended` is None while it lasts."""

    began: float
    ended: float | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PastFinding:
    """A finding from when it was seen first to when it was gone.

    `seen` is when it was seen last, up to a minute early while it is open. `closed` is when the first look missed it,
    None while it is open. `severity`, `count` and `summary` are the last ones, `worst` and `most` the highest.
    """

    number: int
    identity: AlertIdentity
    opened: float
    seen: float
    closed: float | None
    severity: Severity
    worst: Severity
    count: int
    most: int
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PastEvent:
    """What happened to the past finding with this `number`.

    `finding` is the finding as it was, as an object of sockwatch.report/1, with its evidence and some sockets; None
    where it ended before this daemon saw it.
    """

    number: int
    time: float
    kind: EventKind
    severity: Severity
    count: int
    finding: Mapping[str, Any] | None
