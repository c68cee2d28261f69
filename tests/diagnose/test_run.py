from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from builders import namespace, snapshot, socket, window
from sockwatch.diagnose.detector import Detector, NoDataError, Settings
from sockwatch.diagnose.registry import load_detectors
from sockwatch.diagnose.run import diagnose, find_follow_up
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity, Subject
from sockwatch.model.report import Outcome, Result
from sockwatch.model.snapshot import COUNTED_BY_KERNEL, Asks, Gap, Snapshot
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


def test_says_which_part_of_the_established_sockets_it_could_look_into() -> None:
    def rows(details: int, bare: int, **fields: Any) -> list[dict[str, Any]]:
        known = [socket(State.ESTABLISHED, "10.0.0.1:80", last_data_recv=1.0, **fields) for _ in range(details)]
        return known + [socket(State.ESTABLISHED, "10.0.0.1:80", **fields) for _ in range(bare)]

    sockets = rows(3, 9) + rows(2, 0, netns=1) + rows(0, 2, netns=2) + [socket(State.CLOSE_WAIT, "10.0.0.1:80")]
    look = snapshot(*sockets, namespaces=[namespace(name=name) for name in ("host", "box", "old")])
    cut = replace(look, gaps=(Gap(what="socket details", why="only 3 (others each time)", count=9),))
    established = replace(finds(), asks=Asks(states=frozenset({State.ESTABLISHED, State.CLOSE_WAIT})))
    closing = replace(finds(), asks=Asks(states=frozenset({State.CLOSE_WAIT})))
    for current, seen in ((cut, {"host": 0.25}), (look, {})):
        _, outcomes = diagnose(Window(current=current), {"a": established, "b": closing})
        assert [outcome.seen for outcome in outcomes] == [seen, {}]


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


def unread_look(*states: State) -> Snapshot:
    return snapshot(namespaces=[replace(namespace(), counted=dict.fromkeys(states, 23))])


def test_a_detector_whose_sockets_were_not_read_has_no_data_and_does_not_run() -> None:
    needs = {
        "by_details": replace(raises(ZeroDivisionError()), asks=Asks(states=frozenset({State.ESTABLISHED}))),
        "by_rows": replace(raises(ZeroDivisionError()), rows=frozenset({State.TIME_WAIT, State.ESTABLISHED})),
        "neither": finds(),
    }
    for current, previous in ((State.ESTABLISHED, None), (None, State.ESTABLISHED)):
        looks = [unread_look(*([] if state is None else [state])) for state in (current, previous)]
        _, outcomes = diagnose(Window(current=looks[0], previous=looks[1]), needs)
        why = "sockets in established were not read, to keep looking cheap"
        assert outcomes == (
            Outcome(code="by_details", result=Result.NO_DATA, why=why),
            Outcome(code="by_rows", result=Result.NO_DATA, why=why),
            Outcome(code="neither", result=Result.CLEAN),
        )


def test_what_is_right_without_all_sockets_is_told_and_the_rest_is_no_data() -> None:
    partly = replace(finds(FINDING), rows=frozenset({State.TIME_WAIT}), partly=True)
    findings, (outcome,) = diagnose(Window(current=unread_look(State.TIME_WAIT)), {"x": partly})
    assert findings == (FINDING,)
    assert outcome.result is Result.NO_DATA


def test_a_detector_without_its_sockets_suspects_nobody_and_leaves_nothing_to_others() -> None:
    seen: list[Any] = []

    def detect(window: Window, _settings: Settings) -> Iterator[Finding]:
        seen.append(window.settings_of("x", None))
        return iter(())

    blind = replace(suspecting(lambda window, _: window.sockets), rows=frozenset({State.TIME_WAIT}))
    look = replace(unread_look(State.TIME_WAIT), sockets=snapshot(socket(State.LISTEN, "0.0.0.0:80")).sockets)
    without = Window(current=look)
    assert not len(find_follow_up(without, {"x": blind}).suspects)
    diagnose(without, {"x": blind, "y": replace(finds(), detect=detect)})
    assert seen == [None]


def test_what_can_be_clean_though_neither_time_wait_nor_established_was_read() -> None:
    """These look at no socket in either state, nor at the other ends of any that could be in one."""
    without = Window(current=unread_look(*COUNTED_BY_KERNEL))
    assert {code for code, detector in load_detectors().items() if not detector.misses(without)} == {
        "accept_queue_overflow",
        "bound_unconnected",
        "close_wait_leak",
        "conntrack_pressure",
        "fin_wait_2_stuck",
        "orphan_pressure",
        "simultaneous_close",
        "udp_receive_drops",
    }
    _, outcomes = diagnose(without, load_detectors())
    assert not [o for o in outcomes if o.result is Result.FAILED]
