from typing import Any

import pytest

from builders import namespace, process, socket, window
from sockwatch.diagnose.detector import NoDataError
from sockwatch.diagnose.detectors.dead_peer import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.state import State, Timer

SERVER = process(812, "orders-api")
CLIENT = process(900, "gateway")
LISTENER = socket(State.LISTEN, "0.0.0.0:8080", inode=1)


def repeating(number: int, seconds: float = 60.0, **columns: object) -> dict[str, Any]:
    """A socket of the server whose data has been repeated for so long: 51 s until the last time, then the rest."""
    since_last = seconds - 51.0
    row = {
        "inode": 100 + number,
        "timer": Timer.RETRANSMIT,
        "retransmits": 8,
        "rto": 51.2e6,
        "backoff": 8.0,
        "send_q": 100,
        "expires_ms": round((51.2 - since_last) * 1e3),
        "last_data_sent": since_last * 1e3,
        "last_data_recv": seconds * 1e3 + 500,
        "last_ack_recv": seconds * 1e3 + 400,
    }
    return socket(State.ESTABLISHED, "10.0.0.1:8080", f"10.0.0.7:{50000 + number}", **(row | columns))


def probing(number: int, seconds: float = 7275.0, **columns: object) -> dict[str, Any]:
    """A socket of the server whose peer has been silent for so long: 7,200 s until it was asked."""
    row = {
        "inode": 200 + number,
        "timer": Timer.KEEPALIVE,
        "retransmits": 3,
        "expires_ms": 40_000,
        "last_data_recv": seconds * 1e3 + 500,
        "last_ack_recv": seconds * 1e3,
    }
    return socket(State.ESTABLISHED, "10.0.0.1:8080", f"10.0.0.7:{51000 + number}", **(row | columns))


def healthy(number: int, **columns: object) -> dict[str, Any]:
    row = {"inode": 1000 + number, "timer": Timer.OFF} | columns
    return socket(State.ESTABLISHED, "10.0.0.1:8080", f"10.0.0.8:{30000 + number}", **row)


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_fires_with_process_service_age_and_evidence() -> None:
    rows = [repeating(i) for i in range(23)]
    [finding] = detect(window(LISTENER, *rows, holders={row["inode"]: [SERVER] for row in rows}))
    assert (finding.code, finding.variant, finding.count) == ("dead_peer", "retransmitting", 23)
    assert finding.severity is Severity.WARNING
    assert finding.subject.process == SERVER
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:8080", "10.0.0.7:*")
    assert finding.oldest_seconds == pytest.approx(60.0)
    assert finding.evidence == {
        "retransmits_max": 8,
        "share_of_service": 1.0,
        "unacknowledged_bytes": 2300,
        "oldest_seconds_max": pytest.approx(60.4),
    }
    assert finding.summary == "orders-api[812] sends data on 23 connections, and 10.0.0.7 no longer acknowledges it"


def test_unanswered_keepalive_probes_are_the_other_variant() -> None:
    rows = [probing(i) for i in range(23)]
    [finding] = detect(window(LISTENER, *rows, holders={row["inode"]: [SERVER] for row in rows}))
    assert (finding.variant, finding.count, finding.severity) == ("keepalive_probing", 23, Severity.WARNING)
    assert finding.oldest_seconds == 80.0
    assert finding.evidence == {
        "unanswered_probes_max": 3,
        "share_of_service": 1.0,
        "oldest_seconds_max": 7275.0,
    }
    assert "keepalive probes" in finding.summary


def test_a_silence_in_which_nobody_asked_is_a_guess_until_the_probes_took_long_enough() -> None:
    asked_for_2_s = [probing(i, retransmits=3, expires_ms=1_000, seconds=7202.0) for i in range(23)]
    [finding] = detect(window(LISTENER, *asked_for_2_s))
    assert (finding.severity, finding.count, finding.oldest_seconds) == (Severity.INFO, 23, 2.0)
    assert (finding.evidence["confidence"], finding.evidence["oldest_seconds_max"]) == ("low", 7202.0)
    [settled] = detect(window(LISTENER, *asked_for_2_s, *(probing(30 + i, expires_ms=30_000) for i in range(10))))
    assert (settled.severity, settled.count) == (Severity.WARNING, 10)
    assert "confidence" not in settled.evidence


@pytest.mark.parametrize(
    "row",
    [
        repeating(0, seconds=59.9),
        repeating(0, retransmits=2, rto=60e6, backoff=0.0, expires_ms=0),
        probing(0, seconds=59.9, expires_ms=29_000),
        probing(0, retransmits=1),
        probing(0, retransmits=0),
        repeating(0, timer=Timer.OFF),
        repeating(0) | {"state": State.CLOSE_WAIT},
    ],
    ids=["young", "two losses", "short silence", "one probe lost", "probes answered", "acknowledged", "other state"],
)
def test_silent_at_the_edge_and_once_it_is_answered(row: dict[str, Any]) -> None:
    client = row | {"sport": 40_000, "dport": 5432}
    assert not detect(window(row))
    assert not detect(window(client))


def test_half_of_the_kernels_patience_is_old_as_well() -> None:
    """tcp_retries2 = 5 gives up after 12.6 s."""
    impatient = namespace(tcp_retries2="5")
    row = {"rto": 6.4e6, "backoff": 4.0, "retransmits": 4, "last_data_sent": 400.0}
    client = repeating(0, expires_ms=6_000, **row) | {"sport": 40_000, "dport": 5432}
    assert detect(window(client, namespaces=[impatient]))[0].oldest_seconds == pytest.approx(6.4)
    assert not detect(window(client, namespaces=[namespace(tcp_retries2="15")]))
    assert not detect(window(client | {"last_data_sent": 200.0}, namespaces=[impatient]))


def test_a_dead_server_is_a_warning_at_the_first_connection() -> None:
    row = repeating(0) | {"sport": 40_000, "dport": 5432}
    [finding] = detect(window(row, holders={100: [CLIENT]}))
    assert (finding.severity, finding.subject.remote) == (Severity.WARNING, "10.0.0.7:5432")
    assert finding.summary == "gateway[900] sends data on 1 connection, and 10.0.0.7:5432 no longer acknowledges it"


def test_a_few_vanished_clients_are_info() -> None:
    assert detect(window(LISTENER, *(repeating(i) for i in range(9))))[0].severity is Severity.INFO
    assert detect(window(LISTENER, *(repeating(i) for i in range(10))))[0].severity is Severity.WARNING


def test_a_small_share_of_a_service_is_info() -> None:
    dead = [repeating(i) for i in range(10)]
    assert detect(window(LISTENER, *dead, *(healthy(i) for i in range(90))))[0].severity is Severity.WARNING
    assert detect(window(LISTENER, *dead, *(healthy(i) for i in range(91))))[0].severity is Severity.INFO


def test_a_peer_that_is_still_heard_points_at_large_packets() -> None:
    rows = [repeating(i, last_ack_recv=2_000.0, last_data_recv=90_000.0) for i in range(10)]
    [finding] = detect(window(LISTENER, *rows))
    assert finding.evidence["still_heard"] == 10
    assert "oldest_seconds_max" not in finding.evidence


def test_both_variants_processes_and_sources_are_told_apart() -> None:
    rows = [repeating(0), repeating(1), probing(0), repeating(2) | {"src_lo": 0xFFFF_0A00_0002}]
    holders = {100: [SERVER], 101: [CLIENT], 102: [SERVER], 200: [SERVER]}
    found = detect(window(LISTENER, *rows, holders=holders))
    told = {(f.variant, f.subject.process, f.subject.local, f.count) for f in found}
    assert told == {
        ("retransmitting", SERVER, "10.0.0.1:8080", 1),
        ("retransmitting", CLIENT, "10.0.0.1:8080", 1),
        ("retransmitting", SERVER, "10.0.0.2:8080", 1),
        ("keepalive_probing", SERVER, "10.0.0.1:8080", 1),
    }


def test_many_services_leave_one_finding_for_the_rest() -> None:
    rows = [repeating(i) | {"sport": 40_000 + i, "dport": 5000 + i} for i in range(30)]
    found = detect(window(*rows))
    assert len(found) == 21
    assert found[-1].summary.endswith("10.0.0.7:* no longer acknowledges it")


def test_the_other_end_on_this_host_is_named() -> None:
    there = socket(State.ESTABLISHED, "10.0.0.7:50000", "10.0.0.1:8080", inode=9)
    [finding] = detect(window(LISTENER, repeating(0), there, holders={9: [CLIENT]}))
    assert finding.other_end is not None
    assert (finding.other_end.state, finding.other_end.process) == (State.ESTABLISHED, CLIENT)


def test_ipv6_and_v4_mapped() -> None:
    six = socket(State.ESTABLISHED, "[2001:db8::1]:80", "[2001:db8::2]:4000")
    addresses = {name: six[name] for name in ("src_hi", "src_lo", "dst_hi", "dst_lo", "family")}
    found = detect(window(repeating(0) | addresses, repeating(1, family=10)))
    assert {f.subject.local for f in found} == {"[2001:db8::1]:8080", "10.0.0.1:8080"}


def test_without_details_the_timer_tells_less_and_never_too_much() -> None:
    bare = {name: value for name, value in repeating(0).items() if name not in {"rto", "backoff", "last_data_sent"}}
    bare |= {"last_ack_recv": float("nan"), "last_data_recv": float("nan")}
    with pytest.raises(NoDataError, match="last_ack_recv"):
        detect(window(bare | {"expires_ms": 60_000}))
    [finding] = detect(window(bare | {"expires_ms": 61_000}))
    assert finding.oldest_seconds == pytest.approx(60.76, abs=0.01)


def test_only_the_dead_and_their_ends_are_suspects() -> None:
    there = socket(State.ESTABLISHED, "10.0.0.7:50000", "10.0.0.1:8080", inode=9)
    rows = [repeating(0), there, repeating(1, seconds=59.0), probing(0), healthy(0)]
    suspects = DETECTOR.suspects(window(LISTENER, *rows), DETECTOR.settings)
    assert sorted(suspects.inode.tolist()) == [9, 100, 200]


def test_probes_without_details_are_a_gap() -> None:
    unread = {"last_data_recv": float("nan"), "last_ack_recv": float("nan")}
    with pytest.raises(NoDataError, match=r"how long 1 socket lasted takes .*last_ack_recv and last_data_recv"):
        detect(window(LISTENER, probing(0, expires_ms=20_000, **unread)))
    assert not detect(window(LISTENER, probing(0, retransmits=1, **unread)))
