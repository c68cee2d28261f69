"""What is new, changed and gone between two reports."""

from dataclasses import replace

from builders import process
from export.html_report.stories import hostile
from reports import leak, note, overflow, report
from sockwatch.export.html_report.story import Fate, compare
from sockwatch.model.finding import Severity, Subject
from sockwatch.model.report import Report


def fates(before: Report, after: Report) -> list[tuple[str, str]]:
    changes = compare(before, after)
    return [(c.fate.value, (c.after or c.before or leak()).name) for c in changes]


def test_each_finding_has_one_fate() -> None:
    before = report(overflow(), leak(), note())
    after = report(leak(count=46), note(), hostile())
    assert fates(before, after) == [
        ("new", "close_wait_leak/not_closed"),
        ("changed", "close_wait_leak/not_closed"),
        ("same", "time_wait_buildup/server_side"),
        ("gone", "accept_queue_overflow/somaxconn"),
    ]


def test_a_restart_makes_no_new_finding_and_another_severity_is_a_change() -> None:
    restarted = Subject(netns="host", local="10.0.0.1:8080", remote="10.0.0.9:*", process=process(999, "app"))
    (same,) = compare(report(leak()), report(leak(subject=restarted)))
    assert same.fate is Fate.SAME
    (worse,) = compare(report(leak()), report(replace(leak(), severity=Severity.CRITICAL)))
    assert worse.fate is Fate.CHANGED
