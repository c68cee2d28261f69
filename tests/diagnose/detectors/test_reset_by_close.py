from typing import Any

import pytest

from builders import later, namespace, process, snapshot, socket
from sockwatch.diagnose.detector import NoDataError
from sockwatch.diagnose.detectors.reset_by_close import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.snapshot import Namespace
from sockwatch.model.state import State

SERVER = process(812, "orders-api")
LISTENER = socket(State.LISTEN, "0.0.0.0:8080", inode=1, cookie=1)


def counted(name: str = "host", *, on_close: int = 0, on_data: int = 0, opened: int = 0) -> Namespace:
    return namespace(
        name,
        counters={
            "TcpExt.TCPAbortOnClose": 1_000 + on_close,
            "TcpExt.TCPAbortOnData": 1_000 + on_data,
            "Tcp.ActiveOpens": 50_000 + opened // 2,
            "Tcp.PassiveOpens": 50_000 + opened - opened // 2,
        },
    )


def unread(number: int, state: State = State.CLOSE_WAIT, **columns: Any) -> dict[str, Any]:
    row = {"recv_q": 101, "inode": 100 + number, "cookie": 100 + number} | columns
    return socket(state, "10.0.0.1:8080", f"10.0.0.7:{5000 + number}", **row)


def two_looks(before: list[dict[str, Any]], now: list[dict[str, Any]], then: Namespace, **counts: int) -> Window:
    first = snapshot(LISTENER, *before, namespaces=[then])
    second = snapshot(
        LISTENER, *now, namespaces=[counted("host", **counts)], holders={1: [SERVER]}, monotonic=first.monotonic + 5
    )
    return Window(current=second, previous=first)


def detect(before: list[dict[str, Any]], now: list[dict[str, Any]], **counts: int) -> list[Finding]:
    return list(DETECTOR.detect(two_looks(before, now, counted(), **counts), DETECTOR.settings))


def test_many_resets_that_nothing_else_shows_are_a_guess_about_the_namespace() -> None:
    [finding] = detect([], [], on_close=23, on_data=2, opened=46)
    assert (finding.name, finding.severity, finding.count) == ("reset_by_close", Severity.INFO, 23)
    assert (finding.subject.netns, finding.subject.process, finding.subject.local) == ("host", None, None)
    assert finding.evidence == {"unread_data": 23, "late_data_or_linger": 2, "opened": 46, "confidence": "low"}
    assert finding.summary == "23 connections reset since the last look by close() over unread data"
    assert finding.sockets == ()


@pytest.mark.parametrize(
    ("on_close", "opened", "found"),
    [(10, 0, [Severity.INFO]), (9, 0, []), (100, 1_000, [Severity.INFO]), (99, 1_000, [])],
)
def test_few_or_a_small_part_are_what_impatient_clients_cause(
    on_close: int, opened: int, found: list[Severity]
) -> None:
    assert [f.severity for f in detect([], [], on_close=on_close, opened=opened)] == found


def test_late_data_and_lingering_zero_seconds_may_be_meant() -> None:
    [finding] = detect([], [], on_close=4, on_data=19, opened=46)
    assert (finding.severity, finding.count, finding.evidence["confidence"]) == (Severity.INFO, 23, "low")
    assert detect([], [], on_close=4, on_data=6, opened=46)
    assert not detect([], [], on_close=4, on_data=5, opened=46)


@pytest.mark.parametrize(
    ("stale", "busy", "confidence"),
    [(12, 0, "high"), (11, 1, "medium"), (0, 12, "medium"), (11, 0, "low"), (0, 0, "low")],
)
def test_what_vanished_with_unread_data_points_at_the_service(stale: int, busy: int, confidence: str) -> None:
    before = [unread(i) for i in range(stale)] + [unread(30 + i, State.ESTABLISHED) for i in range(busy)]
    [finding] = detect(before, [], on_close=24)
    guess = confidence == "low"
    assert finding.evidence["confidence"] == confidence
    assert finding.severity is (Severity.INFO if guess else Severity.WARNING)
    assert finding.subject.process == (None if guess else SERVER)
    if not guess:
        assert finding.evidence["seen_at"] == "10.0.0.1:8080"
        assert finding.summary.endswith("over unread data, most likely on 10.0.0.1:8080")


def test_a_client_that_closes_early_is_pointed_at_by_its_destination() -> None:
    before = [
        socket(State.ESTABLISHED, f"10.0.0.1:{40000 + i}", "10.0.0.9:80", recv_q=9, inode=100 + i, cookie=100 + i)
        for i in range(23)
    ]
    [finding] = detect(before, [], on_close=23)
    assert (finding.subject.process, finding.evidence["seen_at"]) == (None, "10.0.0.9:80")


@pytest.mark.parametrize(
    "columns",
    [
        {"recv_q": 1},
        {"recv_q": 0},
        {"inode": 0},
        {"state": State.FIN_WAIT_2},
        {"state": State.ESTABLISHED, "recv_q": 0},
    ],
)
def test_sockets_without_unread_data_or_without_a_descriptor_point_at_nobody(columns: dict[str, Any]) -> None:
    [finding] = detect([unread(i, **columns) for i in range(23)], [], on_close=23)
    assert "seen_at" not in finding.evidence


def test_sockets_that_are_still_there_were_not_reset() -> None:
    rows = [unread(i) for i in range(23)]
    [finding] = detect(rows, rows, on_close=23)
    assert "seen_at" not in finding.evidence


def test_totals_since_boot_say_nothing_at_the_first_look() -> None:
    first = Window(current=snapshot(*[unread(i) for i in range(23)], namespaces=[counted(on_close=23)]))
    assert not list(DETECTOR.detect(first, DETECTOR.settings))
    assert not len(DETECTOR.suspects(first, DETECTOR.settings))


def test_looks_out_of_order_are_one_look() -> None:
    seen = two_looks([], [], counted(), on_close=23)
    backwards = Window(current=later(seen.current, -10), previous=seen.previous)
    assert not list(DETECTOR.detect(backwards, DETECTOR.settings))
    assert not len(DETECTOR.suspects(backwards, DETECTOR.settings))


def test_a_kernel_without_the_counters_is_no_data() -> None:
    with pytest.raises(NoDataError, match="TCPAbortOnClose"):
        list(DETECTOR.detect(two_looks([], [], namespace(), on_close=23), DETECTOR.settings))


def test_half_of_the_counters_are_none() -> None:
    half = namespace(counters={"TcpExt.TCPAbortOnClose": 1_000})
    with pytest.raises(NoDataError):
        list(DETECTOR.detect(two_looks([], [], half, on_close=23), DETECTOR.settings))


def test_each_namespace_has_its_own_counters_whatever_its_number() -> None:
    first = snapshot(*[unread(i, netns=1) for i in range(23)], namespaces=[counted(), counted("web")])
    second = snapshot(LISTENER, namespaces=[counted("web", on_close=23), counted()], holders={1: [SERVER]})
    [finding] = DETECTOR.detect(Window(current=later(second, 5), previous=first), DETECTOR.settings)
    assert (finding.subject.netns, finding.subject.process) == ("web", SERVER)


@pytest.mark.parametrize(("local", "family"), [("[::1]:80", 10), ("127.0.0.1:80", 10), ("127.0.0.1:80", 2)])
def test_ipv6_and_v4_mapped(local: str, family: int) -> None:
    remote = local.replace(":80", ":5000")
    before = [
        socket(State.CLOSE_WAIT, local, remote, recv_q=9, inode=5 + i, cookie=50 + i, family=family) for i in range(23)
    ]
    [finding] = detect(before, [], on_close=23)
    assert finding.evidence["seen_at"] in {local, remote}


def test_only_the_listeners_of_what_vanished_are_suspects() -> None:
    other = socket(State.LISTEN, "0.0.0.0:9090", inode=2, cookie=2)
    seen = two_looks([unread(i) for i in range(23)], [other, unread(40)], counted(), on_close=23)
    assert DETECTOR.suspects(seen, DETECTOR.settings).inode.tolist() == [1]
    quiet = two_looks([unread(i) for i in range(23)], [other], counted(), on_close=9)
    assert not len(DETECTOR.suspects(quiet, DETECTOR.settings))
