"""Alerts whose findings a look could not see, or only a part of them; times as in test_transitions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import process, socket, window
from export.alerts.looks import Looker, book, firing, gone
from reports import leak
from sockwatch.diagnose.detectors.close_wait_leak import DETECTOR as LEAK
from sockwatch.diagnose.verdict import MOST_GROUPS
from sockwatch.export.alerts.book import AlertBook
from sockwatch.model.alert import AlertIdentity, AlertState
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.report import Outcome, Result
from sockwatch.model.settings import AlertSettings
from sockwatch.model.snapshot import Gap
from sockwatch.model.state import State

FIRING, RESOLVED = "firing close_wait_leak/not_closed", "resolved close_wait_leak/not_closed"
NOTE = leak(severity=Severity.INFO)
GUESS = leak(severity=Severity.INFO, evidence={"confidence": "low"})
IN_TENTHS = (Outcome(code="close_wait_leak", result=Result.CLEAN, seen={"host": 0.1, "box": 0.5}),)


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
    assert blind.summary == (
        "sockwatch is blind: 4 looks in a row at the sockets failed: the kernel refused the dump: Permission denied"
    )
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
