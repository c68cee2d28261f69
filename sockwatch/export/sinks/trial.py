"""A test alert: what `sockwatch run --test-alert SINK` sends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from sockwatch.clock import Clock
from sockwatch.export.sinks.notice import Notice
from sockwatch.export.sinks.outcome import Outcome, Reason, Result
from sockwatch.model.alert import TEST, AlertIdentity, AlertState
from sockwatch.model.finding import Severity
from sockwatch.model.printable import printable

_ANSWERED = {Reason.EXIT_STATUS, Reason.SERVER_ERROR, Reason.RATE_LIMIT}

Tell = Callable[[Sequence[Notice]], Outcome]


class Verdict(IntEnum):
    """The exit code."""

    DELIVERED = 0
    REFUSED = 1
    COULD_NOT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How it went: `line` is for people."""

    verdict: Verdict
    line: str


def trial(sink: str, tells: Sequence[Tell], *, send_resolved: bool, host: str, clock: Clock) -> Trial:
    """Tell each receiver of a sink that an alert fires, and that it is over; once, and one after the other."""
    firing = _test_notice(host, clock)
    resolved = replace(firing, state=AlertState.RESOLVED, resolved=clock.unixtime())
    told: list[str] = []
    for tell in tells:
        for notice in (firing, resolved) if send_resolved else (firing,):
            outcome = tell([notice])
            told.append(f"{notice.state}: {outcome.detail}")
            if outcome.result is not Result.DELIVERED:
                answered = outcome.result is Result.REFUSED or outcome.reason in _ANSWERED
                verdict, word = (Verdict.REFUSED, "refused") if answered else (Verdict.COULD_NOT, "not delivered")
                return Trial(verdict=verdict, line=f"sink {sink}: {word}: {told[-1]}")
    return Trial(verdict=Verdict.DELIVERED, line=f"sink {sink}: delivered: {'; '.join(told)}")


def _test_notice(host: str, clock: Clock) -> Notice:
    now = clock.unixtime()
    return Notice(
        identity=AlertIdentity(code=TEST),
        state=AlertState.FIRING,
        severity=Severity.WARNING,
        summary=f"This is a test alert from sockwatch on {printable(host)}; nothing is wrong.",
        cause="Somebody ran sockwatch run --test-alert.",
        remedies=("Nothing is to be done.",),
        count=0,
        began=now,
        fired=now,
        resolved=None,
    )
