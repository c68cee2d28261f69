from typing import Any

import pytest

from builders import namespace, process, socket, window
from sockwatch.diagnose.detector import NoDataError
from sockwatch.diagnose.detectors.zero_window_stall import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.state import State, Timer

SERVER = process(812, "orders-api")
READER = process(900, "slow-reader")
LISTENER = socket(State.LISTEN, "0.0.0.0:8080", inode=1)


def stalled(number: int, seconds: float = 60.0, **columns: object) -> dict[str, Any]:
    """A socket that has probed a closed window for so long: 51 s until the last probe, then the rest."""
    row = {
        "inode": 100 + number,
        "timer": Timer.PROBE,
        "rto": 0.2e6,
        "backoff": 8.0,
        "send_q": 1000,
        "expires_ms": round((51.2 + 51.0 - seconds) * 1e3),
        "last_data_sent": seconds * 1e3 + 200,
    }
    return socket(State.ESTABLISHED, "10.0.0.1:8080", f"10.0.0.7:{50000 + number}", **(row | columns))


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_fires_with_process_service_age_and_evidence() -> None:
    rows = [stalled(i) for i in range(23)]
    [finding] = detect(window(LISTENER, *rows, holders={row["inode"]: [SERVER] for row in rows}))
    assert (finding.code, finding.variant, finding.count) == ("zero_window_stall", None, 23)
    assert (finding.severity, finding.subject.process) == (Severity.WARNING, SERVER)
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:8080", "10.0.0.7:*")
    assert finding.oldest_seconds == pytest.approx(60.0)
    assert finding.evidence == {
        "waiting_bytes": 23_000,
        "share_of_service": 1.0,
        "oldest_seconds_max": pytest.approx(60.2),
    }
    assert finding.summary == "orders-api[812] cannot send on 23 connections: 10.0.0.7 does not read"


@pytest.mark.parametrize(
    "row",
    [
        stalled(0, seconds=59.9),
        stalled(0, backoff=0.0, expires_ms=200),
        stalled(0, last_data_sent=2_000.0),
        stalled(0, send_q=0),
        stalled(0, timer=Timer.OFF),
        stalled(0, timer=Timer.RETRANSMIT, retransmits=1),
        stalled(0) | {"state": State.FIN_WAIT_1},
    ],
    ids=[
        "young",
        "the first probe",
        "a slow reader that reads",
        "nothing waits",
        "open again",
        "data in flight",
        "other state",
    ],
)
def test_silent_at_the_edge_and_once_the_window_opens(row: dict[str, Any]) -> None:
    assert not detect(window(row | {"sport": 40_000, "dport": 5432}))


def test_a_reader_on_this_host_is_named_and_always_a_warning() -> None:
    there = socket(State.ESTABLISHED, "10.0.0.7:50000", "10.0.0.1:8080", inode=9, recv_q=100_000)
    [finding] = detect(window(LISTENER, stalled(0), there, holders={100: [SERVER], 9: [READER]}))
    assert finding.severity is Severity.WARNING
    assert finding.other_end is not None
    assert (finding.other_end.state, finding.other_end.process) == (State.ESTABLISHED, READER)
    assert finding.summary == "orders-api[812] cannot send on 1 connection: slow-reader[900] does not read"


def test_a_few_paused_clients_are_info() -> None:
    assert detect(window(LISTENER, *(stalled(i) for i in range(9))))[0].severity is Severity.INFO
    assert detect(window(LISTENER, *(stalled(i) for i in range(10))))[0].severity is Severity.WARNING


def test_a_small_share_of_a_service_is_info() -> None:
    rows = [stalled(i) for i in range(10)]
    reading = [socket(State.ESTABLISHED, "10.0.0.1:8080", f"10.0.0.8:{30000 + i}", inode=1000 + i) for i in range(91)]
    assert detect(window(LISTENER, *rows, *reading[:90]))[0].severity is Severity.WARNING
    assert detect(window(LISTENER, *rows, *reading))[0].severity is Severity.INFO


def test_a_server_that_does_not_read_is_a_warning_at_the_first_connection() -> None:
    [finding] = detect(window(stalled(0) | {"sport": 40_000, "dport": 5432}))
    assert finding.severity is Severity.WARNING
    assert finding.summary.endswith("10.0.0.7:5432 does not read")


def test_probes_without_an_answer_are_told() -> None:
    """A living peer answers no two within half a second, so one is nothing."""
    assert "unanswered_probes_max" not in detect(window(stalled(0, retransmits=1)))[0].evidence
    assert detect(window(stalled(0, retransmits=2)))[0].evidence["unanswered_probes_max"] == 2


def test_processes_and_namespaces_are_told_apart() -> None:
    rows = [stalled(0), stalled(1), stalled(2, netns=1), stalled(3), LISTENER | {"netns": 1}]
    namespaces = [namespace(), namespace("web")]
    found = detect(window(LISTENER, *rows, namespaces=namespaces, holders={100: [SERVER], 101: [READER]}))
    assert {(f.subject.process, f.subject.netns) for f in found} == {
        (SERVER, "host"),
        (READER, "host"),
        (None, "host"),
        (None, "web"),
    }


def test_ipv6_and_v4_mapped() -> None:
    six = socket(State.ESTABLISHED, "[2001:db8::1]:80", "[2001:db8::2]:4000")
    addresses = {name: six[name] for name in ("src_hi", "src_lo", "dst_hi", "dst_lo", "family")}
    found = detect(window(stalled(0) | addresses, stalled(1, family=10)))
    assert {f.subject.local for f in found} == {"[2001:db8::1]:8080", "10.0.0.1:8080"}


def test_without_details_nothing_can_be_said() -> None:
    bare = {name: value for name, value in stalled(0).items() if name not in {"rto", "backoff", "last_data_sent"}}
    with pytest.raises(NoDataError, match="tcp_info"):
        detect(window(bare))


def test_only_the_stalled_and_their_ends_are_suspects() -> None:
    there = socket(State.ESTABLISHED, "10.0.0.7:50000", "10.0.0.1:8080", inode=9)
    suspects = DETECTOR.suspects(window(LISTENER, stalled(0), there, stalled(1, seconds=59.0)), DETECTOR.settings)
    assert sorted(suspects.inode.tolist()) == [9, 100]
