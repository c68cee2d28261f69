from dataclasses import replace

from reports import leak, note, overflow, report
from sockwatch.export.what_if import render_what_if
from sockwatch.model.finding import Severity
from sockwatch.model.report import Report, WhatIf
from sockwatch.model.snapshot import Gap

NAME = "net.ipv4.tcp_fin_timeout"


def told(before: Report, after: Report, *, width: int = 200, one_screen: bool = False, colour: bool = False) -> str:
    what_if = WhatIf(sysctls={NAME: "30"}, takes_effect={NAME: "For later ones."}, before=before)
    return render_what_if(after, what_if, width=width, one_screen=one_screen, colour=colour)


def labels(text: str) -> list[str]:
    """The first column."""
    return [label for line in text.splitlines() if (label := line[:12].strip())]


def test_each_finding_is_told_once_by_what_becomes_of_it() -> None:
    softer = replace(overflow(), severity=Severity.WARNING)
    moved = leak(variant="data_unread")
    text = told(report(overflow(), leak(), note()), report(softer, moved, note()))
    assert labels(text) == ["what if", "before", "after", "changes", "vanishes", "appears", "same"]
    assert "before      critical: 1 critical finding, 1 warning, 1 info\n" in text
    assert "after       warning: 2 warnings, 1 info\n" in text
    assert "changes     critical, now warning accept_queue_overflow/somaxconn: " in text
    assert "vanishes    warning close_wait_leak/not_closed: " in text
    assert "appears     warning close_wait_leak/data_unread: " in text
    assert "same        1 more, unchanged.\n" in text


def test_another_count_is_a_change_and_another_value_in_the_advice_is_none() -> None:
    advised = replace(overflow().sysctls[1], value="4096")
    assert "changes     warning close_wait_leak" in told(report(leak()), report(leak(count=24)))
    assert "It changes no finding." in told(report(overflow()), report(replace(overflow(), sysctls=(advised,))))


def test_two_findings_of_one_kind_are_told_apart_by_their_subject() -> None:
    other = leak(subject=replace(leak().subject, local="10.0.0.1:9090"))
    text = told(report(leak(), other), report(other))
    assert labels(text) == ["what if", "before", "after", "vanishes", "same"]
    assert "local 10.0.0.1:8080" in text
    assert "local 10.0.0.1:9090" not in text


def test_what_was_not_seen_is_still_said() -> None:
    gaps = [Gap(what=f"thing {i}", why="not there") for i in range(7)]
    assert told(report(gaps=gaps), report(gaps=gaps)).count("not there") == 7
    assert "and 2 more" in told(report(gaps=gaps), report(gaps=gaps), one_screen=True)


def test_colour_only_where_asked() -> None:
    assert "\x1b" not in told(report(leak()), report())
    assert "\x1b[33m" in told(report(leak()), report(), colour=True)


def test_no_line_is_longer_than_the_terminal_is_wide() -> None:
    assert max(map(len, told(report(overflow(), leak(), note()), report(), width=80).splitlines())) <= 80
