from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from builders import snapshot, socket, window
from sockwatch.diagnose.detector import Detector, NoDataError, Settings
from sockwatch.diagnose.registry import load_detectors
from sockwatch.diagnose.run import diagnose, find_follow_up
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity, Subject
from sockwatch.model.report import Outcome, Result
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

FINDING = Finding(
    code="x",
    variant=None,
    severity=Severity.INFO,
    subject=Subject(netns="host"),
    count=1,
    summary="",
    cause="",
    remedies=(),
)


def finds(*findings: Finding) -> Detector[Settings]:
    return Detector(asks=Asks(), settings=Settings(), detect=lambda _window, _settings: iter(findings))


def raises(error: Exception) -> Detector[Settings]:
    def detect(_window: Window, _settings: Settings) -> Iterator[Finding]:
        yield FINDING
        raise error

    return Detector(asks=Asks(), settings=Settings(), detect=detect)


def suspecting(choose: Callable[[Window, Settings], SocketTable]) -> Detector[Settings]:
    return replace(finds(), suspects=choose)


def test_each_detector_ends_in_one_of_four_ways() -> None:
    detectors = {
        "a": finds(FINDING),
        "b": finds(),
        "c": raises(NoDataError("no counter")),
        "d": raises(ZeroDivisionError("by zero")),
    }
    findings, outcomes = diagnose(window(), detectors)
    assert findings == (FINDING,)
    assert outcomes == (
        Outcome(code="a", result=Result.FINDINGS),
        Outcome(code="b", result=Result.CLEAN),
        Outcome(code="c", result=Result.NO_DATA, why="no counter"),
        Outcome(code="d", result=Result.FAILED, why="ZeroDivisionError: by zero"),
    )


def test_the_worst_comes_first_then_the_largest_then_a_fixed_order() -> None:
    ordered = (
        replace(FINDING, severity=Severity.CRITICAL),
        replace(FINDING, severity=Severity.WARNING, count=5),
        replace(FINDING, severity=Severity.WARNING, count=2, code="a"),
        replace(FINDING, severity=Severity.WARNING, count=2, code="b"),
        replace(FINDING, count=9, subject=Subject(netns="host", local="10.0.0.1:1")),
        replace(FINDING, count=9, subject=Subject(netns="host", local="10.0.0.1:2", remote="10.0.0.2:1")),
        replace(FINDING, count=9, subject=Subject(netns="host", local="10.0.0.1:2", remote="10.0.0.2:2")),
        replace(FINDING, count=9, subject=Subject(netns="web")),
    )
    findings, _ = diagnose(window(), {"x": finds(*reversed(ordered))})
    assert findings == ordered


def test_suspects_are_those_of_all_detectors_and_one_that_breaks_takes_nobody_with_it() -> None:
    def breaks(_window: Window, _settings: Settings) -> SocketTable:
        raise KeyError

    seen = window(socket(State.CLOSE_WAIT, "10.0.0.1:80", "10.0.0.2:1", inode=5), socket(State.LISTEN, "0.0.0.0:80"))
    detectors = {
        "a": suspecting(lambda w, _: w.sockets.in_state(State.CLOSE_WAIT)),
        "b": suspecting(breaks),
        "c": finds(),
        "d": suspecting(lambda w, _: w.sockets.in_state(State.LISTEN)),
    }
    wanted = find_follow_up(seen, detectors)
    assert wanted.suspects.state.tolist() == [State.CLOSE_WAIT, State.LISTEN]
    _, outcomes = diagnose(seen, detectors, wanted.failed)
    assert {o.code: (o.result, o.why) for o in outcomes if o.result is not Result.CLEAN} == {
        "b": (Result.FAILED, "KeyError: ")
    }


def test_nobody_is_suspected_without_detectors() -> None:
    assert not len(find_follow_up(Window(current=snapshot()), {}).suspects)


HALF_CLOSED = snapshot(
    socket(State.FIN_WAIT_2, "127.0.0.1:40000", "127.0.0.1:80", inode=1, last_ack_recv=5e5, last_data_sent=5e5),
    socket(State.CLOSE_WAIT, "127.0.0.1:80", "127.0.0.1:40000", inode=2, last_ack_recv=5e5, last_data_recv=5e5),
)
"""Both ends of one bug, 500 s old."""


def severities(detectors: Mapping[str, Detector[Any]]) -> dict[str, Severity]:
    findings, _ = diagnose(Window(current=HALF_CLOSED), detectors)
    return {finding.name: finding.severity for finding in findings if finding.code in {CLOSE, FIN}}


CLOSE, FIN = "close_wait_leak", "fin_wait_2_stuck"


def test_one_end_of_a_bug_carries_the_warning() -> None:
    assert severities(load_detectors()) == {f"{CLOSE}/not_closed": Severity.WARNING, f"{FIN}/held": Severity.INFO}


def test_an_end_that_is_not_judged_leaves_the_warning_to_the_other() -> None:
    assert severities({FIN: load_detectors()[FIN]}) == {f"{FIN}/held": Severity.WARNING}


def test_an_end_that_is_too_young_for_its_detector_leaves_the_warning_to_the_other() -> None:
    patient = replace(load_detectors()[CLOSE], settings=replace(load_detectors()[CLOSE].settings, min_age=600.0))
    assert severities({**load_detectors(), CLOSE: patient}) == {f"{FIN}/held": Severity.WARNING}
