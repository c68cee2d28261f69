from typing import Any

import pytest

from builders import namespace, process, socket, window
from sockwatch.diagnose.detectors.closing_stuck import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.state import State, Timer

SERVER = process(812, "orders-api")
READER = process(900, "slow-reader")
LISTENER = socket(State.LISTEN, "0.0.0.0:8080", inode=1)
DEFAULTS = namespace(tcp_orphan_retries="0", tcp_retries2="15")


def closing(number: int, seconds: float = 60.0, state: State = State.FIN_WAIT_1, **columns: object) -> dict[str, Any]:
    """An orphan whose FIN has been repeated for so long: 51 s until the last time, then the rest."""
    row = {
        "timer": Timer.RETRANSMIT,
        "retransmits": 8,
        "rto": 51.2e6,
        "backoff": 8.0,
        "expires_ms": round((51.2 + 51.0 - seconds) * 1e3),
        "last_data_sent": 90_000.0,
        "send_q": 1,
        "shutdown": 3,
    }
    return socket(state, "10.0.0.1:8080", f"10.0.0.7:{50000 + number}", **(row | columns))


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


@pytest.mark.parametrize("state", [State.FIN_WAIT_1, State.LAST_ACK])
def test_fires_with_service_age_and_evidence(state: State) -> None:
    rows = [closing(i, state=state) for i in range(23)]
    [finding] = detect(window(LISTENER, *rows, namespaces=[DEFAULTS]))
    assert (finding.code, finding.variant, finding.count) == ("closing_stuck", state.label, 23)
    assert (finding.severity, finding.subject.process) == (Severity.WARNING, None)
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:8080", "10.0.0.7:*")
    assert finding.oldest_seconds == pytest.approx(60.0)
    assert finding.evidence == {"retransmits_max": 8, "share_of_service": 1.0, "orphans": 23}
    assert [(s.name, s.value) for s in finding.sysctls] == [
        ("net.ipv4.tcp_orphan_retries", "0"),
        ("net.ipv4.tcp_retries2", "15"),
        ("net.ipv4.tcp_fin_timeout", "60"),
    ]


def test_orphans_are_old_at_half_the_time_that_the_kernel_gives_them() -> None:
    """tcp_orphan_retries 0 means 8 retransmissions: 102.2 s."""
    rows = [closing(i, seconds=51.09) for i in range(10)]
    assert not detect(window(LISTENER, *rows, namespaces=[DEFAULTS]))
    rows = [closing(i, seconds=51.11) for i in range(10)]
    assert detect(window(LISTENER, *rows, namespaces=[DEFAULTS]))[0].count == 10
    many_retries = namespace(tcp_orphan_retries="15")
    assert not detect(window(LISTENER, *rows, namespaces=[many_retries]))


def test_those_with_a_descriptor_have_the_time_of_tcp_retries2() -> None:
    rows = [closing(i, seconds=59.9, inode=100 + i) for i in range(10)]
    assert not detect(window(LISTENER, *rows, namespaces=[DEFAULTS]))
    rows = [closing(i, seconds=60.1, inode=100 + i) for i in range(10)]
    [finding] = detect(window(LISTENER, *rows, holders={100 + i: [SERVER] for i in range(10)}, namespaces=[DEFAULTS]))
    assert finding.subject.process == SERVER
    assert finding.evidence["orphans"] == 0


@pytest.mark.parametrize(
    "row",
    [
        closing(0, retransmits=2, backoff=0.0),
        closing(0, timer=Timer.OFF),
        closing(0, state=State.FIN_WAIT_2),
        closing(0, state=State.CLOSING),
    ],
    ids=["two losses", "nothing in flight", "acknowledged", "both closed at once"],
)
def test_silent_at_the_edge_and_once_it_is_acknowledged(row: dict[str, Any]) -> None:
    assert not detect(window(row))


def test_a_few_vanished_clients_are_info() -> None:
    assert detect(window(LISTENER, *(closing(i) for i in range(9))))[0].severity is Severity.INFO
    assert detect(window(LISTENER, *(closing(i) for i in range(10))))[0].severity is Severity.WARNING


def test_a_busy_service_is_measured_by_what_it_closed_as_well() -> None:
    done = [socket(State.TIME_WAIT, "10.0.0.1:8080", f"10.0.0.8:{30000 + i}") for i in range(91)]
    rows = [closing(i) for i in range(10)]
    assert detect(window(LISTENER, *rows, *done[:90]))[0].severity is Severity.WARNING
    assert detect(window(LISTENER, *rows, *done))[0].severity is Severity.INFO


def test_a_dead_server_is_a_warning_at_the_first_connection() -> None:
    [finding] = detect(window(closing(0) | {"sport": 40_000, "dport": 5432}))
    assert finding.severity is Severity.WARNING
    assert finding.summary == "1 connection closed on this side: 10.0.0.7:5432 does not acknowledge the FIN"


def test_data_behind_a_zero_window_is_counted_and_its_reader_named() -> None:
    row = closing(0, timer=Timer.PROBE, retransmits=0, rto=0.2e6, backoff=8.0, expires_ms=42_000, send_q=10_497)
    there = socket(State.ESTABLISHED, "10.0.0.7:50000", "10.0.0.1:8080", inode=9)
    seen = window(LISTENER, row, there, holders={9: [READER]}, namespaces=[DEFAULTS])
    [finding] = detect(seen)
    assert finding.evidence["zero_window"] == finding.evidence["data_before_fin"] == 1
    assert finding.oldest_seconds == pytest.approx(60.2)
    assert finding.other_end is not None
    assert finding.other_end.process == READER
    assert finding.summary == "1 connection closed on this side: slow-reader[900] does not read the data before the FIN"
    assert (finding.sysctls[0].name, finding.sysctls[0].effect) == ("net.ipv4.tcp_orphan_retries", Effect.NONE)
    assert not detect(window(LISTENER, row | {"expires_ms": 42_300}, namespaces=[DEFAULTS]))


def test_what_most_of_them_wait_for_is_told() -> None:
    waiting: dict[str, Any] = {
        "timer": Timer.PROBE,
        "retransmits": 0,
        "rto": 0.2e6,
        "backoff": 8.0,
        "expires_ms": 40_000,
    }
    rows = [closing(0, **waiting), closing(1)]
    [finding] = detect(window(LISTENER, *rows))
    assert finding.evidence["zero_window"] == 1
    assert finding.summary.endswith("10.0.0.7 does not acknowledge the FIN")
    [finding] = detect(window(LISTENER, *rows, closing(2, **waiting)))
    assert finding.summary.endswith("10.0.0.7 does not read the data before the FIN")


def test_states_and_namespaces_are_told_apart() -> None:
    rows = [closing(0), closing(1, state=State.LAST_ACK), closing(2, netns=1)]
    found = detect(window(LISTENER, *rows, namespaces=[DEFAULTS, namespace("web")]))
    assert {(f.variant, f.subject.netns) for f in found} == {
        ("fin_wait_1", "host"),
        ("fin_wait_1", "web"),
        ("last_ack", "host"),
    }


def test_ipv6_and_v4_mapped() -> None:
    six = socket(State.LAST_ACK, "[2001:db8::1]:80", "[2001:db8::2]:4000")
    addresses = {name: six[name] for name in ("src_hi", "src_lo", "dst_hi", "dst_lo", "family")}
    found = detect(window(closing(0, state=State.LAST_ACK) | addresses, closing(1, family=10)))
    assert {f.subject.remote for f in found} == {"[2001:db8::2]:50000", "10.0.0.7:50001"}


def test_a_kernel_without_tcp_info_tells_less_and_never_too_much() -> None:
    bare = {name: value for name, value in closing(0).items() if name not in {"rto", "backoff", "last_data_sent"}}
    assert not detect(window(bare | {"expires_ms": 51_200}, namespaces=[DEFAULTS]))
    [finding] = detect(window(bare | {"expires_ms": 51_400}, namespaces=[DEFAULTS]))
    assert finding.oldest_seconds == pytest.approx(51.2, abs=0.01)


def test_orphans_and_their_ends_are_suspects_as_somebody_left_them() -> None:
    there = socket(State.ESTABLISHED, "10.0.0.7:50000", "10.0.0.1:8080", inode=9)
    rows = [closing(0), there, closing(1, inode=101), closing(2, seconds=1.0, inode=102)]
    suspects = DETECTOR.suspects(window(LISTENER, *rows, namespaces=[DEFAULTS]), DETECTOR.settings)
    assert sorted(suspects.inode.tolist()) == [0, 9, 101]
