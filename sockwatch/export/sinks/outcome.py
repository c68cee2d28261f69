"""How telling a sink ended."""

from dataclasses import dataclass
from enum import StrEnum, auto


class Result(StrEnum):
    """What follows from it."""

    DELIVERED = auto()
    REFUSED = auto()
    """The sink answered that it does not want this, and will not want it later."""
    FAILED = auto()
    """It may go better later."""


class Reason(StrEnum):
    """Why it failed: the values of the label `reason`."""

    NETWORK = auto()
    TIMEOUT = auto()
    TLS = auto()
    TOKEN = auto()
    REDIRECT = auto()
    RATE_LIMIT = auto()
    CLIENT_ERROR = auto()
    SERVER_ERROR = auto()
    PROGRAM = auto()
    """It cannot be started, or must not be."""
    EXIT_STATUS = auto()
    SIGNAL = auto()
    STOPPED = auto()
    """The daemon ended first."""
    INTERNAL = auto()
    """An error that nobody foresaw."""


class Loss(StrEnum):
    """Why a sink is never told: the values of the label `reason` of what was dropped."""

    REFUSED = auto()
    TOO_OFTEN = auto()
    """It failed as often as may be."""
    OVERFLOW = auto()
    """More waited than is kept."""
    NO_SINK = auto()
    """The sink is no longer in the config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One try. `detail` is one printable line without secrets; `retry_after` seconds are what the sink asks for."""

    result: Result
    reason: Reason | None = None
    detail: str
    retry_after: float | None = None
    divisible: bool = False
    """Refused together: one by one some may be taken."""


def delivered(detail: str) -> Outcome:
    """It has been told."""
    return Outcome(result=Result.DELIVERED, detail=detail)


def refused(reason: Reason, detail: str, *, divisible: bool = False) -> Outcome:
    """It does not want it."""
    return Outcome(result=Result.REFUSED, reason=reason, detail=detail, divisible=divisible)


def failed(reason: Reason, detail: str, *, retry_after: float | None = None) -> Outcome:
    """Not now."""
    return Outcome(result=Result.FAILED, reason=reason, detail=detail, retry_after=retry_after)
