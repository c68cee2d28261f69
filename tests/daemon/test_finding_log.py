import logging

import pytest

from reports import failed, leak, overflow, report
from sockwatch.daemon.finding_log import MOST_LINES, WINDOW_SECONDS, FindingLog
from sockwatch.model.finding import Severity, Subject
from sockwatch.model.report import Report


class Log:
    """Takes a report every 10 s."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "sockwatch")
        self._log = FindingLog()
        self._caplog = caplog
        self._now = 1000.0

    def take(self, told: Report, *, success: bool = True) -> list[tuple[str, str]]:
        self._caplog.clear()
        self._now += 10
        self._log.take(told, success=success, monotonic=self._now)
        return [(record.levelname, record.getMessage()) for record in self._caplog.records]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


def test_one_line_when_it_comes_and_one_when_it_goes(log: Log) -> None:
    assert log.take(report(leak(summary="23 leaks"))) == [
        ("WARNING", "opened, warning close_wait_leak/not_closed: 23 leaks")
    ]
    assert log.take(report(leak(summary="24 leaks", count=24))) == []
    assert log.take(report()) == [("INFO", "closed, warning close_wait_leak/not_closed: 24 leaks")]


def test_one_line_when_it_gets_worse(log: Log) -> None:
    log.take(report(leak()))
    ((level, line),) = log.take(report(leak(severity=Severity.CRITICAL)))
    assert (level, line[:31]) == ("ERROR", "was warning, critical close_wai")


def test_one_line_whenever_it_has_grown_tenfold(log: Log) -> None:
    log.take(report(leak(count=2)))
    assert log.take(report(leak(count=19))) == []
    assert log.take(report(leak(count=20, summary="20 leaks"))) == [
        ("WARNING", "grown, warning close_wait_leak/not_closed: 20 leaks")
    ]
    assert log.take(report(leak(count=2))) == []
    assert log.take(report(leak(count=199))) == []
    assert len(log.take(report(leak(count=200)))) == 1


def test_findings_of_other_subjects_are_others(log: Log) -> None:
    log.take(report(leak()))
    told = log.take(report(leak(), leak(subject=Subject(netns="net:[1]"))))
    assert len(told) == 1


def test_a_look_that_fails_closes_nothing_and_says_so_once(log: Log) -> None:
    log.take(report(overflow()))
    assert log.take(failed(), success=False) == [
        ("ERROR", "cannot look: the kernel refused the dump: Permission denied")
    ]
    assert log.take(failed(), success=False) == []
    assert log.take(report(overflow())) == [("INFO", "can look again")]


def test_what_flutters_does_not_fill_the_log(log: Log) -> None:
    lines = 0
    for number in range(int(WINDOW_SECONDS / 10)):
        lines += len(log.take(report(*([leak(), overflow()] if number % 2 else []))))
    assert lines == MOST_LINES
    assert log.take(report())[0][1].endswith(" more lines about findings were left out")
