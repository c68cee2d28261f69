"""The life of an alert, look by look: `for` is 30 s, `keep_firing_for` 60 s, a look every 10 s."""

from dataclasses import replace
from pathlib import Path

import pytest

from builders import process
from export.alerts.looks import Looker, book, firing, gone
from reports import TIME, leak, overflow
from sockwatch.export.alerts.book import AlertBook
from sockwatch.export.alerts.identity import identity_of
from sockwatch.export.alerts.transitions import MOST_ALERTS
from sockwatch.model.alert import AlertState
from sockwatch.model.effort import Effort
from sockwatch.model.finding import Finding, Severity, Subject
from sockwatch.model.settings import AlertSettings, Silence

FIRING, RESOLVED = "firing close_wait_leak/not_closed", "resolved close_wait_leak/not_closed"
CRITICAL = leak(severity=Severity.CRITICAL)
NOTE = leak(severity=Severity.INFO)


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


def test_an_older_consequence_waits_for_a_cause_that_is_about_to_fire() -> None:
    full = replace(overflow(), severity=Severity.WARNING)
    stuck = leak(variant="never_accepted", subject=Subject(netns="host", local="10.0.0.1:80", remote="*:*"))
    looker = Looker()
    assert gone(looker, 2, stuck) == []
    assert gone(looker, 6, full, stuck) == ["firing accept_queue_overflow/somaxconn"]


def test_a_cause_that_never_fires_holds_its_consequence_back_only_while_it_is_seen() -> None:
    full = replace(overflow(), severity=Severity.WARNING)
    stuck = leak(variant="never_accepted", subject=Subject(netns="host", local="10.0.0.1:80", remote="*:*"))
    looker = Looker()
    assert gone(looker, 2, stuck) == []
    assert gone(looker, 3, full, stuck) == []
    assert looker.see(stuck) == ["firing close_wait_leak/never_accepted"]


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
