"""What everybody is told, whatever happens, by a second account of what was seen."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings as hypothesis_settings, strategies as st

from reports import failed, leak, report
from sockwatch.export.alerts.state import decode, encode
from sockwatch.export.alerts.tracked import Memory
from sockwatch.export.alerts.transitions import Look, advance
from sockwatch.model.finding import Severity, Subject
from sockwatch.model.report import Outcome, Result
from sockwatch.model.settings import AlertSettings

KEYS = ("a", "b", "c")
SEVERITIES = st.sampled_from([None, None, Severity.INFO, Severity.WARNING, Severity.WARNING, Severity.CRITICAL])
LOOKS = st.one_of(
    st.tuples(*[SEVERITIES] * len(KEYS)),
    st.tuples(*[SEVERITIES] * len(KEYS)),
    st.sampled_from(["fail", "restart", "a unknown", "b unknown"]),
)
STEPS = st.lists(st.tuples(LOOKS, st.sampled_from([5.0, 10.0, 40.0, 100.0]), st.floats(0, 4e9)), max_size=60)


@dataclass
class Account:
    """What is owed to whoever is told of one finding."""

    before: str = "unknown"
    there: float = 0.0
    gone: float = 0.0
    told: Severity | None = None
    ago: float = 0.0

    def owed(self, now: Severity | str | None, after: float, settings: AlertSettings) -> str | None:
        kind = "seen" if now in {Severity.WARNING, Severity.CRITICAL} else "unknown" if now == "unknown" else "gone"
        again, self.before = kind == self.before, kind
        if kind == "unknown":
            return None
        if kind == "gone":
            self.there, self.gone = 0.0, self.gone + (after if again else 0.0)
            over = self.told is not None and self.gone >= settings.keep_firing_for
            self.told = None if over else self.told
            return "resolved" if over else None
        severity = Severity(str(now))
        self.there, self.gone = self.there + (after if again else 0.0), 0.0
        if self.told is None:
            tell = severity is Severity.CRITICAL or self.there >= settings.for_
        else:
            tell = severity.rank > self.told.rank or self.ago >= settings.repeat_interval
        if tell:
            self.told, self.ago = severity, 0.0
        return "firing" if tell else None


@hypothesis_settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_everybody_is_told_exactly_what_is_owed_over_failures_restarts_and_jumps_of_the_wall_clock(
    steps: list[tuple[Any, float, float]],
) -> None:
    settings = AlertSettings(repeat_interval=95, blind_after=100)
    memory, monotonic, running = Memory(), 0.0, False
    accounts = {key: Account() for key in KEYS}
    for look, after, wall in steps:
        monotonic += after
        if look == "restart":
            memory, running = decode(encode(memory)), False
            for account in accounts.values():
                account.before = "unknown"
            continue
        seen = dict(zip(KEYS, look, strict=True)) if isinstance(look, tuple) else dict.fromkeys(KEYS)
        findings = [
            leak(code=key, variant=None, severity=severity, subject=Subject(netns="host"))
            for key, severity in seen.items()
            if severity is not None
        ]
        blind = look[0] if look in {"a unknown", "b unknown"} else ""
        outcomes = tuple(Outcome(code=key, result=Result.FAILED) for key in blind)
        said = failed() if look == "fail" else report(*findings, outcomes=outcomes)
        memory, told = advance(
            memory, Look(report=said, success=look != "fail", time=wall, monotonic=monotonic), settings
        )
        expected = set()
        for key, account in accounts.items():
            account.ago += after if running else 0.0
            unknown = look == "fail" or key == blind
            owed = account.owed("unknown" if unknown else seen[key], after, settings)
            expected |= {(owed, key)} if owed else set()
        assert {(alert.state.value, alert.identity.code) for alert in told.due} == expected
        running = True
        for alert in told.alerts:
            assert alert.began <= (alert.fired or alert.began) <= (alert.resolved or alert.fired or alert.began)
