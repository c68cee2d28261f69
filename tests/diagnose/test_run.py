from collections.abc import Callable, Iterator
from dataclasses import replace

from builders import snapshot, socket, window
from sockwatch.diagnose.detector import Detector, NoDataError, Settings
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
    assert find_follow_up(seen, detectors).suspects.state.tolist() == [State.CLOSE_WAIT, State.LISTEN]


def test_nobody_is_suspected_without_detectors() -> None:
    assert not len(find_follow_up(Window(current=snapshot()), {}).suspects)
