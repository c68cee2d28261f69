"""The life of an alert, look by look: `for` is 30 s, `keep_firing_for` 60 s, a look every 10 s."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from builders import process, socket, window
from export.alerts.looks import Looker
from reports import TIME, failed, leak, overflow, report
from sockwatch.diagnose.detectors.close_wait_leak import DETECTOR as LEAK
from sockwatch.diagnose.verdict import MOST_GROUPS
from sockwatch.export.alerts.book import AlertBook
from sockwatch.export.alerts.identity import identity_of
from sockwatch.export.alerts.state import decode, encode
from sockwatch.export.alerts.tracked import Memory
from sockwatch.export.alerts.transitions import MOST_ALERTS, Look, advance
from sockwatch.model.alert import AlertIdentity, AlertState
from sockwatch.model.effort import Effort
from sockwatch.model.finding import Finding, Severity, Subject
from sockwatch.model.report import Outcome, Result
from sockwatch.model.settings import AlertSettings, Silence
from sockwatch.model.snapshot import Gap
from sockwatch.model.state import State

FIRING, RESOLVED = "firing close_wait_leak/not_closed", "resolved close_wait_leak/not_closed"
CRITICAL = leak(severity=Severity.CRITICAL)
NOTE = leak(severity=Severity.INFO)


def firing(looker: Looker, *findings: Finding) -> Looker:
    """Four looks: it has been there for 30 s, and everybody was told."""
    for _ in range(4):
        looker.see(*findings)
    return looker


def gone(looker: Looker, looks: int, *findings: Finding) -> list[str]:
    """Everything that is told in so many looks."""
    return [line for _ in range(looks) for line in looker.see(*findings)]


def stuck(number: int, local: str, name: str) -> dict[str, Any]:
    """A connection that this process has not closed for five minutes."""
    ages = {"last_ack_recv": 300e3, "last_data_recv": 300e3}
    remote = f"10.1.{number // 250 % 250}.{1 + number // 62500}:{40000 + number % 250}"
    return socket(State.CLOSE_WAIT, local, remote, inode=1_000_000 + number, uid=len(name), recv_q=0, **ages)


def leaks_of(rows: list[dict[str, Any]]) -> list[Finding]:
    """What is found about them; each user has one process."""
    of = {3: process(812, "app"), 4: process(900, "spam")}
    listeners = [socket(State.LISTEN, f"0.0.0.0:{port}", inode=port) for port in (8080, *range(2000, 2025))]
    seen = window(*listeners, *rows, holders={row["inode"]: [of[row["uid"]]] for row in rows})
    return list(LEAK.detect(seen, LEAK.settings))


def book(**fields: Any) -> Looker:
    return Looker(book=AlertBook(AlertSettings(**fields)))


def test_fires_once_it_has_been_there_for_long_enough() -> None:
    looker = Looker()
    assert [looker.see(leak()) for _ in range(6)] == [[], [], [], [FIRING], [], []]
    alert = looker.only
    assert (alert.began, alert.fired, alert.resolved) == (TIME + 10, TIME + 40, None)
    assert (alert.summary, alert.count, alert.finding) == (leak().summary, 23, leak())
    assert alert.told


def test_what_goes_before_it_fires_is_told_to_nobody() -> None:
    looker = Looker()
    assert gone(looker, 3, leak()) == []
    assert looker.see() == []
    assert looker.last.alerts == ()
    assert gone(looker, 3, leak()) == []


def test_what_is_critical_fires_at_once() -> None:
    looker = Looker()
    assert looker.see(overflow()) == ["firing accept_queue_overflow/somaxconn"]


def test_a_pending_alert_that_becomes_critical_fires_at_once() -> None:
    looker = Looker()
    assert looker.see(leak()) == []
    assert looker.see(CRITICAL) == [FIRING]


def test_a_rise_to_critical_is_told_again_and_a_fall_is_not() -> None:
    looker = firing(Looker(), leak())
    assert looker.see(CRITICAL) == [FIRING]
    assert gone(looker, 3, leak()) == []
    assert looker.only.severity is Severity.WARNING
    assert looker.see(CRITICAL) == []


def test_a_rise_is_told_again_once_the_fall_was_told() -> None:
    looker = firing(book(repeat_interval=50), leak())
    assert looker.see(CRITICAL) == [FIRING]
    assert gone(looker, 5, leak()) == [FIRING]
    assert looker.see(CRITICAL) == [FIRING]


def test_is_resolved_once_it_has_been_gone_for_long_enough() -> None:
    looker = firing(Looker(), leak())
    assert [looker.see() for _ in range(8)] == [[], [], [], [], [], [], [RESOLVED], []]
    assert looker.last.alerts == ()


def test_says_when_it_was_resolved() -> None:
    looker = firing(Looker(), leak())
    gone(looker, 7)
    assert (looker.only.state, looker.only.resolved) == (AlertState.RESOLVED, TIME + 110)


def test_what_comes_back_in_time_has_never_been_away() -> None:
    looker = firing(Looker(), leak())
    for _ in range(5):
        assert gone(looker, 6) == []
        assert looker.see(leak()) == []


def test_what_sinks_to_a_note_keeps_firing_as_if_it_were_gone() -> None:
    looker = firing(Looker(), leak())
    assert gone(looker, 6, NOTE) == []
    assert looker.only.severity is Severity.WARNING
    assert looker.see(NOTE) == [RESOLVED]


def test_a_note_makes_no_alert() -> None:
    assert gone(Looker(), 10, NOTE) == []


def test_with_a_higher_bar_a_warning_raises_nothing_and_keeps_what_fires() -> None:
    looker = book(severity="critical")
    assert gone(looker, 10, leak()) == []
    assert looker.see(CRITICAL) == [FIRING]
    assert gone(looker, 10, leak()) == []
    assert gone(looker, 7) == [RESOLVED]


def test_what_never_reached_the_bar_that_a_reload_brought_ends() -> None:
    looker = firing(Looker(), leak())
    looker.book.configure(AlertSettings(severity="critical"))
    assert gone(looker, 7, leak()) == [RESOLVED]


def test_is_told_again_after_the_repeat_interval() -> None:
    looker = firing(book(repeat_interval=60), leak())
    assert [looker.see(leak()) for _ in range(7)] == [[], [], [], [], [], [FIRING], []]


def test_is_told_once_where_nothing_is_to_be_repeated() -> None:
    looker = firing(book(repeat_interval=0), leak())
    assert looker.see(leak(), after=1e9) == []


def test_is_not_repeated_while_it_is_gone() -> None:
    looker = firing(book(repeat_interval=60, keep_firing_for=200), leak())
    assert gone(looker, 15) == []
    assert looker.see(leak()) == [FIRING]


def test_a_look_that_fails_fires_nothing_resolves_nothing_and_stops_the_timers() -> None:
    looker = book(blind_after=100)
    gone(looker, 3, leak())
    assert looker.fail(after=1000) == []
    assert looker.see(leak(), after=1000) == []
    assert looker.see(leak()) == [FIRING]
    gone(looker, 6)
    assert looker.fail(after=1000) == []
    assert looker.see(after=1000) == []
    assert looker.see() == [RESOLVED]


def test_goes_blind_and_sees_again() -> None:
    looker = firing(Looker(), leak())
    assert [looker.fail() for _ in range(4)] == [[], [], ["firing blind"], []]
    blind = looker.last.alerts[-1]
    assert blind.identity == AlertIdentity(code="blind")
    assert blind.severity is Severity.CRITICAL
    assert "4 looks in a row" in blind.summary
    assert "Permission denied" in blind.cause
    assert looker.see(leak()) == ["resolved blind"]
    assert looker.see(leak()) == []


def test_looks_that_fail_now_and_then_are_no_blindness() -> None:
    looker = Looker()
    for _ in range(5):
        assert looker.fail() + looker.fail() + looker.see() == []
    assert looker.last.alerts == ()


def test_blindness_is_told_again_too() -> None:
    looker = book(repeat_interval=30, blind_after=1)
    assert [looker.fail() for _ in range(5)] == [["firing blind"], [], [], ["firing blind"], []]


@pytest.mark.parametrize("result", [Result.FAILED, Result.NO_DATA])
def test_what_its_detector_could_not_see_is_not_over(result: Result) -> None:
    looker = firing(Looker(), leak())
    for _ in range(20):
        assert looker.see(outcomes=(Outcome(code="close_wait_leak", result=result),)) == []
    assert looker.only.finding == leak()
    assert gone(looker, 6) == []
    assert looker.see() == [RESOLVED]


def test_a_detector_that_failed_says_nothing_of_the_alerts_of_others() -> None:
    looker = firing(Looker(), leak())
    failed_other = Outcome(code="dead_peer", result=Result.FAILED)
    assert [line for _ in range(7) for line in looker.see(outcomes=(failed_other,))] == [RESOLVED]


@pytest.mark.parametrize("gap", [Gap(what="namespace box", why="EPERM"), Gap(what="network namespaces", why="1 more")])
def test_a_namespace_that_could_not_be_entered_is_not_over_and_one_that_is_gone_is(gap: Gap) -> None:
    looker = firing(Looker(), leak(subject=replace(leak().subject, netns="box")))
    for _ in range(20):
        assert looker.see(gaps=[gap]) == []
    assert gone(looker, 7) == [RESOLVED]


def test_namespaces_that_are_always_hidden_keep_no_other_one_alive() -> None:
    hidden = Gap(what="network namespaces", why="no permission", count=3)
    looker = Looker()
    for _ in range(4):
        looker.see(leak(subject=replace(leak().subject, netns="box")), gaps=[hidden])
    assert [line for _ in range(7) for line in looker.see(gaps=[hidden])] == [RESOLVED]


GUESS = leak(severity=Severity.INFO, evidence={"confidence": "low"})


def test_a_guess_ends_nothing_as_after_a_restart_when_no_age_is_known(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    looker = firing(Looker(book=AlertBook(AlertSettings(keep_firing_for=20), path)), leak())
    looker.book.save(looker.book.memory)
    looker.book = AlertBook(AlertSettings(keep_firing_for=20), path)
    assert gone(looker, 20, GUESS) == []
    assert looker.only.state is AlertState.FIRING
    assert gone(looker, 5, leak()) == []
    assert gone(looker, 3, NOTE) == [RESOLVED]


def test_a_guess_begins_nothing_and_drops_nothing() -> None:
    looker = Looker()
    assert gone(looker, 10, GUESS) == []
    assert looker.last.alerts == ()
    gone(looker, 3, leak())
    looker.see(GUESS)
    assert looker.see(leak()) == []
    assert looker.see(leak()) == [FIRING]


IN_TENTHS = (Outcome(code="close_wait_leak", result=Result.CLEAN, seen={"host": 0.1, "box": 0.5}),)


def in_tenths(looker: Looker, looks: int, *findings: Finding) -> list[str]:
    return [line for _ in range(looks) for line in looker.see(*findings, outcomes=IN_TENTHS)]


def test_what_a_look_at_a_tenth_of_the_sockets_misses_is_gone_once_every_part_was_looked_at() -> None:
    looker = firing(Looker(), leak())
    for _ in range(10):  # the parts take turns
        assert in_tenths(looker, 9) == []
        assert in_tenths(looker, 1, leak()) == []
    assert in_tenths(looker, 60) == []
    assert in_tenths(looker, 2) == [RESOLVED]


def test_parts_of_another_namespace_or_detector_change_nothing() -> None:
    looker = firing(Looker(), leak(subject=replace(leak().subject, netns="web")), leak(code="dead_peer"))
    assert sorted(in_tenths(looker, 7)) == [RESOLVED, "resolved dead_peer/not_closed"]


def test_what_is_seen_each_time_that_its_part_is_looked_at_fires() -> None:
    looker = Looker()
    assert in_tenths(looker, 1, leak()) + in_tenths(looker, 9) == []
    assert in_tenths(looker, 1, leak()) == [FIRING]


def test_what_is_not_seen_again_when_every_part_was_looked_at_is_dropped() -> None:
    looker = Looker()
    in_tenths(looker, 1, leak())
    assert in_tenths(looker, 31) == []
    assert looker.last.alerts == ()


def test_who_is_pushed_into_what_is_left_of_many_groups_is_not_over() -> None:
    app = [stuck(i, "10.0.0.1:8080", "app") for i in range(11)]
    others = [stuck(100 * port + i, f"10.0.0.1:{port}", "spam") for port in range(2000, 2025) for i in range(12)]
    looker = firing(Looker(), *leaks_of(app))
    alone = looker.only
    for _ in range(20):
        found = leaks_of(app + others)
        assert len(found) == MOST_GROUPS + 1
        told = looker.see(*found)
        assert RESOLVED not in told
    assert alone.identity in {alert.identity for alert in looker.last.alerts}
    folded = [alert for alert in looker.last.alerts if alert.identity.local == "*:*"]
    assert [(alert.identity.process, alert.count) for alert in folded] == [("", 5 * 12 + 11)]
    assert gone(looker, 6, *leaks_of(others[: 12 * 20])) == []
    assert sorted(looker.see(*leaks_of(others[: 12 * 20]))) == [RESOLVED, RESOLVED]


def test_what_is_folded_elsewhere_says_nothing_of_this_place() -> None:
    looker = firing(Looker(), leak())
    elsewhere = (
        leak(folded=True, variant="data_unread"),
        leak(folded=True, subject=replace(leak().subject, netns="box")),
        leak(folded=True, code="dead_peer"),
    )
    assert RESOLVED in gone(looker, 7, *elsewhere)


def test_what_could_not_be_seen_keeps_pending() -> None:
    looker = Looker()
    gone(looker, 3, leak())
    looker.see(outcomes=(Outcome(code="close_wait_leak", result=Result.FAILED),))
    assert looker.see(leak()) == []
    assert looker.see(leak()) == [FIRING]


@pytest.mark.parametrize("jump", [-3.2e8, -3600, 3600, 3.2e8])
def test_no_jump_of_the_wall_clock_fires_or_resolves_anything(jump: float) -> None:
    looker = Looker()
    for _ in range(3):
        assert looker.see(leak()) == []
        looker.time += jump
    assert looker.see(leak()) == [FIRING]
    for _ in range(6):
        assert looker.see() == []
        looker.time += jump
    assert looker.see() == [RESOLVED]
    alert = looker.only
    assert alert.fired is not None
    assert alert.resolved is not None
    assert alert.began <= alert.fired <= alert.resolved


def test_after_a_suspend_everything_is_as_it_was() -> None:
    looker = firing(Looker(), leak())
    assert looker.see(leak(), after=14_000) == []
    assert looker.see(after=1e6) == []
    assert gone(looker, 5) == []
    assert looker.see(leak(), after=1e6) == [FIRING]  # for the repeat interval is over


def test_the_time_of_a_suspend_counts_as_one_interval() -> None:
    effort = Effort(cpu_share_limit=0.01, seconds_limit=5.0, seconds=0.1, interval=10.0)
    looker = Looker()
    assert [looker.see(leak(), effort=effort, after=after) for after in (10, 28_800, 30, 10)] == [[], [], [FIRING], []]
    assert looker.see(effort=effort, after=10) == []
    assert [looker.see(effort=effort, after=after) for after in (28_800, 30, 10, 28_800)] == [[], [], [], [RESOLVED]]


def test_a_look_that_takes_longer_than_the_interval_is_no_suspend() -> None:
    effort = Effort(cpu_share_limit=0.01, seconds_limit=5.0, seconds=14.0, interval=1.0)
    looker = Looker()
    assert [looker.see(leak(), effort=effort, after=15) for _ in range(3)] == [[], [], [FIRING]]


def test_a_monotonic_clock_that_starts_anew_moves_no_timer() -> None:
    looker = firing(Looker(), leak())
    gone(looker, 3)
    looker.monotonic = 5.0
    assert gone(looker, 4) == []
    assert looker.see() == [RESOLVED]


def test_who_is_silenced_is_followed_and_not_told_even_of_its_end() -> None:
    looker = book(silences=(Silence(code="close_wait_leak", why="Ann: deploy"),))
    assert gone(looker, 5, leak()) == []
    assert (looker.only.state, looker.only.silenced_by, looker.only.told) == (AlertState.FIRING, "Ann: deploy", False)
    assert gone(looker, 7) == []


def test_who_was_told_before_a_silence_is_told_of_the_end() -> None:
    looker = firing(book(repeat_interval=10), leak())
    looker.book.configure(AlertSettings(repeat_interval=10, silences=(Silence(),)))
    assert gone(looker, 3, leak()) == []
    assert gone(looker, 7) == [RESOLVED]
    assert looker.only.told


def test_what_still_fires_when_its_silence_ends_is_told() -> None:
    looker = book(silences=(Silence(until="2023-11-14T22:14:20Z"),))  # 60 s after TIME
    assert [looker.see(leak()) for _ in range(7)] == [[], [], [], [], [], [FIRING], []]


def test_a_consequence_is_told_when_its_cause_is_over_and_it_is_not() -> None:
    full = overflow()
    stuck = leak(
        variant="never_accepted",
        subject=Subject(netns="host", local="10.0.0.1:80", remote="*:*"),
        severity=Severity.WARNING,
    )
    looker = Looker()
    assert looker.see(full, stuck) == ["firing accept_queue_overflow/somaxconn"]
    assert gone(looker, 5, full, stuck) == []
    explained = looker.last.alerts[1]
    assert (explained.state, explained.told) == (AlertState.FIRING, False)
    assert explained.inhibited_by == identity_of(full)
    assert gone(looker, 7, stuck) == ["resolved accept_queue_overflow/somaxconn"]
    assert [looker.see(stuck) for _ in range(3)] == [[], ["firing close_wait_leak/never_accepted"], []]


def test_a_consequence_that_ends_soon_after_its_cause_is_never_told() -> None:
    full = overflow()
    stuck = leak(variant="never_accepted", subject=Subject(netns="host", local="10.0.0.1:80", remote="*:*"))
    looker = firing(Looker(), full, stuck)
    assert gone(looker, 8, stuck) == ["resolved accept_queue_overflow/somaxconn"]
    assert gone(looker, 10) == []


def test_two_looks_apart_say_nothing_of_the_time_between_if_one_was_before_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    looker = Looker(book=AlertBook(AlertSettings(), path))
    for _ in range(3):
        looker.see(leak())
        looker.save()
    looker.book = AlertBook(AlertSettings(), path)
    assert looker.see(leak(), after=5000) == []
    assert looker.see(leak()) == [FIRING]


def test_beyond_the_most_alerts_the_rest_is_counted() -> None:
    def of(number: int, severity: Severity) -> Finding:
        return leak(subject=replace(leak().subject, process=process(7, f"app{number}")), severity=severity)

    many = [of(i, Severity.WARNING) for i in range(MOST_ALERTS + 7)]
    worst = of(9999, Severity.CRITICAL)
    looker = Looker()
    assert looker.see(*many, worst) == [FIRING]
    assert len(looker.last.alerts) == MOST_ALERTS
    metrics = {metric.name: metric for metric in looker.book.metrics()}
    assert metrics["sockwatch_alerts_untracked"].samples[0].value == 8


# What holds whatever happens, by a second account of what was seen.

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
