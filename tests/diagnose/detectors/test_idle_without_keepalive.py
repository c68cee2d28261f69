from typing import Any

import pytest

from builders import namespace, process, socket, window
from sockwatch.diagnose.detector import NoDataError
from sockwatch.diagnose.detectors.idle_without_keepalive import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.state import State, Timer

SERVER = process(812, "orders-api")
CLIENT = process(900, "gateway")
LISTENER = socket(State.LISTEN, "0.0.0.0:8080", inode=1)


def idle(number: int, seconds: float = 7200.0, **columns: object) -> dict[str, Any]:
    row = {"inode": 100 + number, "last_data_sent": seconds * 1e3, "last_data_recv": seconds * 1e3 + 500}
    return socket(State.ESTABLISHED, "10.0.0.1:8080", f"10.0.0.7:{50000 + number}", **(row | columns))


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_fires_with_process_service_and_age_and_is_info() -> None:
    rows = [idle(i) for i in range(23)]
    [finding] = detect(window(LISTENER, *rows, holders={row["inode"]: [SERVER] for row in rows}))
    assert (finding.code, finding.variant, finding.count) == ("idle_without_keepalive", None, 23)
    assert (finding.severity, finding.subject.process) == (Severity.INFO, SERVER)
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:8080", "10.0.0.7:*")
    assert finding.oldest_seconds == 7200.0
    assert finding.evidence == {"oldest_seconds_max": 7200.0}


@pytest.mark.parametrize(
    "row",
    [
        idle(0, seconds=7199.9),
        idle(0, last_data_recv=1_000.0),
        idle(0, last_data_sent=1_000.0),
        idle(0, last_data_sent=float("nan")),
        idle(0, last_data_recv=float("nan")),
        idle(0, timer=Timer.KEEPALIVE, expires_ms=60_000),
        idle(0, timer=Timer.RETRANSMIT),
        idle(0, inode=0),
        idle(0) | {"state": State.CLOSE_WAIT},
    ],
    ids=[
        "shorter",
        "received",
        "sent",
        "sent unknown",
        "received unknown",
        "keepalive",
        "data in flight",
        "not accepted yet",
        "other state",
    ],
)
def test_silent_at_the_edge_and_with_keepalive(row: dict[str, Any]) -> None:
    assert not detect(window(LISTENER, row, idle(1, seconds=1.0)))


def test_both_ends_in_one_namespace_cannot_lose_each_other() -> None:
    there = idle(0) | {
        "inode": 9,
        "sport": 50_000,
        "dport": 8080,
        "src_lo": idle(0)["dst_lo"],
        "dst_lo": idle(0)["src_lo"],
    }
    assert not detect(window(LISTENER, idle(0), there))


def test_a_socket_connected_to_itself_has_no_peer_to_lose() -> None:
    row = idle(0)
    assert not detect(window(row | {"dst_lo": row["src_lo"], "dport": row["sport"]}))


def test_a_local_peer_without_a_socket_is_gone() -> None:
    here = idle(0) | {"src_lo": 0xFFFF_7F00_0001, "dst_lo": 0xFFFF_7F00_0001}
    assert detect(window(LISTENER, here))[0].evidence["peer_gone"] == 1


def test_a_client_is_grouped_by_its_destination_and_a_server_by_its_port() -> None:
    clients = [idle(i) | {"sport": 40_000 + i, "dport": 5432} for i in range(5)]
    found = detect(window(LISTENER, *(idle(i) for i in range(3)), *clients))
    assert {(f.subject.local, f.subject.remote, f.count) for f in found} == {
        ("10.0.0.1:8080", "10.0.0.7:*", 3),
        ("10.0.0.1:*", "10.0.0.7:5432", 5),
    }


def test_processes_and_namespaces_are_told_apart() -> None:
    rows = [idle(0), idle(1), idle(2, netns=1)]
    holders = {100: [SERVER], 101: [CLIENT]}
    found = detect(window(LISTENER, *rows, namespaces=[namespace(), namespace("web")], holders=holders))
    assert {(f.subject.process, f.subject.netns) for f in found} == {
        (SERVER, "host"),
        (CLIENT, "host"),
        (None, "web"),
    }


def test_ipv6_and_v4_mapped() -> None:
    six = socket(State.ESTABLISHED, "[2001:db8::1]:80", "[2001:db8::2]:4000")
    addresses = {name: six[name] for name in ("src_hi", "src_lo", "dst_hi", "dst_lo", "family")}
    found = detect(window(idle(0) | addresses, idle(1, family=10)))
    assert {f.subject.local for f in found} == {"[2001:db8::1]:8080", "10.0.0.1:8080"}


def test_sockets_that_were_not_read_in_detail_are_passed_over() -> None:
    unread = socket(State.ESTABLISHED, "10.0.0.1:8080", "10.0.0.7:1", inode=5)
    assert detect(window(LISTENER, unread, idle(0)))[0].count == 1


def test_without_details_nothing_can_be_said() -> None:
    with pytest.raises(NoDataError, match="tcp_info"):
        detect(window(socket(State.ESTABLISHED, "10.0.0.1:8080", "10.0.0.7:1", inode=5)))


def test_only_the_idle_are_suspects() -> None:
    suspects = DETECTOR.suspects(window(LISTENER, idle(0), idle(1, seconds=60.0)), DETECTOR.settings)
    assert suspects.inode.tolist() == [100]
