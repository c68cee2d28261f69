"""An alert: a finding followed over many looks, from the first time it was seen until it is over."""

from dataclasses import dataclass
from enum import StrEnum

from sockwatch.model.finding import Finding, Severity

BLIND = "blind"
"""The code of the alert that fires when looks keep failing; it is no finding."""
TEST = "test"
"""The code of the alert that tries a sink; it is no finding."""


class AlertState(StrEnum):
    """Where an alert is in its life."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class AlertIdentity:
    """What makes it the same alert from look to look, and over a restart of either side: never a pid.

    `process` is the name of the process. All but the code are empty where they are unknown or do not apply.
    """

    code: str
    variant: str = ""
    netns: str = ""
    local: str = ""
    remote: str = ""
    process: str = ""
    unit: str = ""
    container: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert as it is after a look.

    Times are seconds since 1970: `began` when it was first seen, `fired` when somebody was to be told, `resolved` when
    it was over; None where that did not come yet. `severity` and the texts are those of the last look that saw it;
    `finding` is None for `blind` and for an alert that a restart brought back and no look has seen since.
    """

    identity: AlertIdentity
    state: AlertState
    severity: Severity
    summary: str
    cause: str
    remedies: tuple[str, ...]
    count: int
    began: float
    fired: float | None = None
    resolved: float | None = None
    silenced_by: str | None = None
    """Why the silence that matches it was made; nobody is told while there is one."""
    inhibited_by: AlertIdentity | None = None
    """The alert that explains it; nobody is told of this one while that one fires or is pending, and for as long as
    `for` after it fired."""
    finding: Finding | None = None
    told_severity: Severity | None = None
    """The severity that sinks were told last, at this look included; None while they know nothing of it."""

    @property
    def name(self) -> str:
        """`code/variant`, or the code alone."""
        return f"{self.identity.code}/{self.identity.variant}" if self.identity.variant else self.identity.code

    @property
    def told(self) -> bool:
        """Whether sinks are told of it: it fires or has fired, and nothing keeps it quiet."""
        return self.fired is not None and self.silenced_by is None and self.inhibited_by is None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRound:
    """What one look changed: all alerts as they are now, and those of them that sinks must be told of now.

    `due` are alerts in state FIRING or RESOLVED with `told`: new ones, repeated ones, and those that are over.
    """

    alerts: tuple[Alert, ...] = ()
    due: tuple[Alert, ...] = ()
