from typing import Any

import pytest

from builders import namespace, process, socket, window
from sockwatch.diagnose.detectors.simultaneous_close import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.state import State, Timer

CLIENT = process(812, "gateway")


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def closing(number: int, *, state: State = State.CLOSING, **columns: Any) -> dict[str, Any]:
    silence = {"last_ack_recv": 5_000.0, "last_data_recv": 9_000.0}
    waiting = {"timer": Timer.RETRANSMIT, "retransmits": 3, "inode": 100 + number}
    row = silence | waiting | columns
    return socket(state, f"10.0.0.1:{40000 + number}", "10.0.0.9:443", **row)


def test_it_is_info_with_process_service_age_and_retransmissions() -> None:
    rows = [closing(i, retransmits=1 + i) for i in range(5)]
    [finding] = detect(window(*rows, holders={100 + i: [CLIENT] for i in range(5)}))
    assert (finding.name, finding.severity, finding.count) == ("simultaneous_close", Severity.INFO, 5)
    assert (finding.subject.process, finding.subject.local, finding.subject.remote) == (
        CLIENT,
        "10.0.0.1:*",
        "10.0.0.9:443",
    )
    assert finding.oldest_seconds == 5.0
    assert finding.evidence == {"retransmits_max": 5, "oldest_seconds_max": 9.0}
    assert finding.summary.startswith("5 connections closed from both sides at once")


def test_one_that_has_not_yet_waited_for_its_first_ack_is_not_worth_a_word() -> None:
    assert not detect(window(closing(0, retransmits=0)))


def test_one_that_cannot_send_its_fin_because_the_window_is_closed_is() -> None:
    assert [f.count for f in detect(window(closing(0, retransmits=0, timer=Timer.PROBE)))] == [1]


@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSING])
def test_other_states_are_none_of_its_business(state: State) -> None:
    assert not detect(window(closing(0, state=state)))


def test_orphans_have_no_process_and_accepted_ends_are_grouped_by_their_port() -> None:
    listener = socket(State.LISTEN, "0.0.0.0:8080", inode=1)
    rows = [
        socket(State.CLOSING, "10.0.0.1:8080", f"10.0.0.{7 + i}:50000", timer=Timer.RETRANSMIT, retransmits=2)
        for i in range(3)
    ]
    [finding] = detect(window(listener, *rows))
    assert (finding.subject.process, finding.subject.local, finding.subject.remote) == (
        None,
        "10.0.0.1:8080",
        "*:50000",
    )


def test_a_kernel_without_tcp_info_gives_no_age() -> None:
    row = socket(State.CLOSING, "10.0.0.1:40000", "10.0.0.9:443", timer=Timer.RETRANSMIT, retransmits=2)
    [finding] = detect(window(row))
    assert finding.oldest_seconds is None
    assert finding.evidence == {"retransmits_max": 2}


def test_the_other_end_on_this_host_is_named() -> None:
    mirror = socket(State.FIN_WAIT_1, "10.0.0.9:443", "10.0.0.1:40000", inode=7)
    [finding] = detect(window(closing(0), mirror, holders={100: [CLIENT]}))
    assert finding.other_end is not None
    assert finding.other_end.state is State.FIN_WAIT_1


def test_namespaces_families_and_v4_mapped_ones_are_told_apart() -> None:
    rows = [
        closing(0),
        closing(1, family=10),
        closing(2, netns=1),
        socket(State.CLOSING, "[::1]:40000", "[::1]:443", timer=Timer.RETRANSMIT, retransmits=1),
    ]
    found = detect(window(*rows, namespaces=[namespace(), namespace("web")]))
    assert sorted((f.subject.netns, f.subject.remote, f.count) for f in found) == [
        ("host", "10.0.0.9:443", 2),
        ("host", "[::1]:443", 1),
        ("web", "10.0.0.9:443", 1),
    ]
