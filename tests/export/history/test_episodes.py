"""When a finding begins, changes and ends, look by look."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from export.history.past import START, Looks
from reports import leak
from sockwatch.export.history.episodes import Episode, follow
from sockwatch.export.history.samples import Look
from sockwatch.model.alert import AlertIdentity
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.report import Outcome, Result


@dataclass(kw_only=True)
class Follower:
    """Follows one look after the other; what happened, as `kind count` with seconds since the first look."""

    looks: Looks = field(default_factory=Looks)
    open: Mapping[AlertIdentity, Episode] = field(default_factory=dict)
    before: Look | None = None

    def see(self, *findings: Finding, **fields: Any) -> list[str]:
        return self.take(self.looks.see(*findings, **fields))

    def fail(self) -> list[str]:
        return self.take(self.looks.fail())

    def take(self, look: Look) -> list[str]:
        passed = look.monotonic - self.before.monotonic if self.before is not None and self.before.success else 0.0
        self.open, events = follow(self.open, look, passed)
        self.before = look
        return [f"{event.kind} {event.episode.count} at {event.time - START:g}" for event in events]


def test_opens_lasts_and_closes_a_minute_after_it_was_gone_with_the_time_at_which_it_was() -> None:
    follower = Follower()
    assert follower.see(leak()) == ["opened 23 at 0"]
    assert [follower.see(leak()) for _ in range(9)] == [[]] * 9
    assert [follower.see() for _ in range(7)] == [[]] * 6 + [["closed 23 at 100"]]
    assert follower.open == {}


def test_what_flickers_is_one_episode() -> None:
    follower = Follower()
    follower.see(leak())
    for _ in range(20):
        assert follower.see() + follower.see() + follower.see(leak()) == []


def test_a_look_that_fails_ends_nothing() -> None:
    follower = Follower()
    follower.see(leak())
    assert [line for _ in range(20) for line in follower.fail()] == []
    assert [line for _ in range(6) for line in follower.see()] == []
    assert follower.see() == ["closed 23 at 210"]


def test_what_its_detector_could_not_see_is_not_over() -> None:
    follower = Follower()
    follower.see(leak())
    for _ in range(20):
        assert follower.see(outcomes=(Outcome(code="close_wait_leak", result=Result.NO_DATA),)) == []


def test_a_look_at_a_tenth_of_the_sockets_counts_for_a_tenth_of_its_time() -> None:
    follower = Follower()
    follower.see(leak())
    tenth = (Outcome(code="close_wait_leak", result=Result.CLEAN, seen={"host": 0.1}),)
    assert [line for _ in range(60) for line in follower.see(outcomes=tenth)] == []
    assert [line for _ in range(2) for line in follower.see(outcomes=tenth)] == ["closed 23 at 10"]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([23, 45, 45, 45, 45, 45, 45, 45, 45], []),
        ([23, 46, 46, 46, 46, 46, 46, 46, 46], ["changed 46 at 60"]),
        ([23, 12, 12, 12, 12, 12, 12, 12, 12], []),
        ([23, 11, 11, 11, 11, 11, 11, 11, 11], ["changed 11 at 60"]),
        ([23, 46, 23, 46, 23, 46, 23, 46, 23], ["changed 46 at 70"]),
    ],
)
def test_changes_when_its_sockets_double_or_halve_at_most_once_a_minute(counts: list[int], expected: list[str]) -> None:
    follower = Follower()
    follower.see(leak(count=counts[0]))
    assert [line for count in counts[1:] for line in follower.see(leak(count=count))] == expected


def test_a_rise_in_severity_is_noted_at_once_and_a_fall_or_the_same_rise_again_once_a_minute() -> None:
    follower = Follower()
    critical = leak(severity=Severity.CRITICAL)
    follower.see(leak())
    assert follower.see(critical) == ["changed 23 at 10"]
    assert [follower.see(leak()) for _ in range(6)] == [[], [], [], [], [], ["changed 23 at 70"]]
    assert follower.see(critical) == []
    (episode,) = follower.open.values()
    assert (episode.severity, episode.worst) == (Severity.CRITICAL, Severity.CRITICAL)


def test_remembers_the_most_sockets_and_the_last_texts() -> None:
    follower = Follower()
    follower.see(leak(count=30))
    follower.see(leak(count=20, summary="another\nline"))
    (episode,) = follower.open.values()
    assert (episode.count, episode.most, episode.summary) == (20, 30, "another\\nline")
    assert episode.finding == replace(leak(count=20), summary="another\nline")


def test_notes_are_followed_too() -> None:
    assert Follower().see(leak(severity=Severity.INFO)) == ["opened 23 at 0"]
