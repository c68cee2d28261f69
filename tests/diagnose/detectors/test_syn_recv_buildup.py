from typing import Any

import pytest

from builders import later, namespace, process, snapshot, socket, window
from sockwatch.diagnose.detectors.syn_recv_buildup import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.snapshot import Namespace
from sockwatch.model.state import State

SERVER = process(812, "httpd")
CLIENT = process(900, "ab")
BACKLOG = 128


def syn_sysctls(**sysctls: str) -> Namespace:
    return namespace(
        **({"tcp_syncookies": "1", "tcp_max_syn_backlog": "2048", "tcp_synack_retries": "5"} | sysctls)  # type: ignore[arg-type]  # none of them is counters
    )


def listener(local: str = "0.0.0.0:80", **columns: Any) -> dict[str, Any]:
    return socket(State.LISTEN, local, **({"inode": 1, "send_q": BACKLOG} | columns))


def half_open(number: int, *, retransmits: int = 1, local: str = "10.0.0.1:80", **columns: Any) -> dict[str, Any]:
    remote = f"10.{1 + number // 250}.0.{1 + number % 250}:{5000 + number}"
    return socket(State.SYN_RECV, local, remote, **({"retransmits": retransmits, "expires_ms": 500} | columns))


def old(number: int, **columns: Any) -> dict[str, Any]:
    """Half-open since 31.5 s: 63 s end with the sixth timeout, which comes in 31.5 s."""
    return half_open(number, **({"retransmits": 5, "expires_ms": 31_500} | columns))


def detect(*rows: dict[str, Any], sysctls: Namespace | None = None, **fields: Any) -> list[Finding]:
    seen = window(*rows, **({"namespaces": [sysctls or syn_sysctls()]} | fields))
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_a_full_listener_is_a_flood_with_its_process_and_evidence() -> None:
    rows = [half_open(i, retransmits=i % 2) for i in range(BACKLOG)]
    [finding] = detect(listener(), *rows, holders={1: [SERVER]})
    assert (finding.name, finding.severity, finding.count) == ("syn_recv_buildup/flood", Severity.WARNING, BACKLOG)
    assert (finding.subject.process, finding.subject.local, finding.subject.remote) == (SERVER, "0.0.0.0:80", None)
    assert finding.evidence == {
        "half_open": 128,
        "limit": 128,
        "unanswered": 64,
        "sources": 128,
        "synack_retransmits_max": 1,
        "oldest_seconds_max": 2.5,
    }
    assert finding.oldest_seconds == 0.5
    assert "with cookies" in finding.cause
    assert finding.summary == "Half-open handshakes fill 0.0.0.0:80: 128 of 128, and 64 of them do not answer"


def test_one_below_the_limit_is_no_flood() -> None:
    assert not detect(listener(), *(half_open(i) for i in range(BACKLOG - 1)))


def test_a_full_listener_whose_clients_answer_is_no_flood() -> None:
    assert not detect(listener(), *(half_open(i, retransmits=int(i < 63)) for i in range(BACKLOG)))


def test_deferred_accepts_are_no_flood_and_no_handshakes_without_an_answer() -> None:
    rows = [half_open(i, retransmits=0, expires_ms=16_000) for i in range(200)]
    assert not detect(listener(), *rows)


@pytest.mark.parametrize("columns", [{"inode": 7, "shutdown": 0}, {"shutdown": 0}])
def test_fast_open_and_simultaneous_open_are_no_half_open_handshakes(columns: dict[str, Any]) -> None:
    assert not detect(listener(), *(half_open(i, **columns) for i in range(BACKLOG)))


def test_without_cookies_a_flood_is_critical_and_the_syn_backlog_limits_too() -> None:
    off = syn_sysctls(tcp_syncookies="0", tcp_max_syn_backlog="29")
    [finding] = detect(listener(), *(half_open(i) for i in range(23)), sysctls=off)
    assert (finding.severity, finding.evidence["limit"]) == (Severity.CRITICAL, 23)
    assert "dropped" in finding.cause
    assert not detect(listener(), *(half_open(i) for i in range(22)), sysctls=off)


def test_with_cookies_the_syn_backlog_does_not_count() -> None:
    assert not detect(listener(), *(half_open(i) for i in range(23)), sysctls=syn_sysctls(tcp_max_syn_backlog="29"))


def test_two_looks_tell_how_many_were_answered_with_cookies_or_dropped() -> None:
    rows = [listener(), *(half_open(i) for i in range(BACKLOG))]
    counts = {"TcpExt.TCPReqQFullDoCookies": 100, "TcpExt.TCPReqQFullDrop": 5}
    before, after = (namespace(counters={name: k * n for name, n in counts.items()}) for k in (1, 2))
    first = snapshot(*rows, namespaces=[before])
    second = later(snapshot(*rows, namespaces=[after]), 5.0)
    [finding] = DETECTOR.detect(Window(current=second, previous=first), DETECTOR.settings)
    assert (finding.evidence["cookies_sent"], finding.evidence["dropped"]) == (100, 5)
    [still] = DETECTOR.detect(Window(current=later(first, 5.0), previous=first), DETECTOR.settings)
    assert {"cookies_sent", "dropped"}.isdisjoint(still.evidence)


def test_many_old_handshakes_below_the_limit_are_unacknowledged() -> None:
    rows = [*(old(i) for i in range(20)), half_open(70)]
    [finding] = detect(listener(), *rows, holders={1: [SERVER]})
    assert (finding.name, finding.severity, finding.count) == (
        "syn_recv_buildup/unacknowledged",
        Severity.WARNING,
        20,
    )
    assert (finding.subject.process, finding.subject.local, finding.oldest_seconds) == (SERVER, "0.0.0.0:80", 31.5)
    assert finding.summary == "20 half-open handshakes on 0.0.0.0:80 get no last ACK, the oldest for 32 s"


def test_nineteen_are_what_scans_leave_on_any_public_listener() -> None:
    assert not detect(listener(), *(old(i) for i in range(19)))


def test_they_count_from_half_of_their_life_on() -> None:
    assert not detect(listener(), *(old(i, expires_ms=31_501) for i in range(23)))


@pytest.mark.parametrize(("retries", "expires_ms", "found"), [("2", 3_500, 1), ("2", 3_501, 0), ("1", 3_501, 1)])
def test_fewer_repetitions_make_a_shorter_life(retries: str, expires_ms: int, found: int) -> None:
    rows = [half_open(i, retransmits=2, expires_ms=expires_ms) for i in range(23)]
    assert len(detect(listener(), *rows, sysctls=syn_sysctls(tcp_synack_retries=retries))) == found


def test_timeouts_grow_to_two_minutes_and_no_further() -> None:
    rows = [half_open(i, retransmits=8, expires_ms=119_000) for i in range(20)]
    [finding] = detect(listener(), *rows)
    assert (finding.oldest_seconds, finding.evidence["oldest_seconds_max"]) == (128, 127 + 2 * 120 - 119)


def test_syns_that_come_again_count_as_repetitions_but_do_not_make_a_handshake_old() -> None:
    """23 clients that repeat their SYN once a second, 5.2 s after the first: 1 or 2 of 6 repetitions are timeouts."""
    rows = [half_open(i, retransmits=6, expires_ms=1_800) for i in range(23)]
    [finding] = detect(listener(), *rows)
    assert (finding.severity, finding.count) == (Severity.INFO, 23)
    assert finding.oldest_seconds == pytest.approx(1.2)
    assert finding.evidence["oldest_seconds_max"] == pytest.approx(125.2)
    assert finding.evidence["confidence"] == "low"
    assert finding.summary == "23 half-open handshakes on 0.0.0.0:80 get no last ACK, the oldest for 1 to 125 s"


def test_what_is_left_of_a_timeout_tells_how_many_there_were() -> None:
    rows = [half_open(i, retransmits=5, expires_ms=31_500) for i in range(20)]
    [sure] = detect(listener(), *rows)
    assert (sure.severity, sure.oldest_seconds, sure.evidence["oldest_seconds_max"]) == (Severity.WARNING, 31.5, 31.5)
    [guess] = detect(listener(), *rows[:19], half_open(19, retransmits=5, expires_ms=15_000))
    assert (guess.severity, guess.count, guess.evidence["confidence"]) == (Severity.INFO, 20, "low")


def test_a_second_look_at_the_same_handshakes_settles_their_age() -> None:
    first = snapshot(listener(), *(half_open(i, retransmits=4, expires_ms=16_000) for i in range(20)))
    after = [listener(), *(half_open(i, retransmits=5, expires_ms=15_500) for i in range(20))]
    second = later(snapshot(*after, namespaces=[syn_sysctls()]), 32.5)
    [finding] = DETECTOR.detect(Window(current=second, previous=first), DETECTOR.settings)
    assert (finding.severity, finding.oldest_seconds) == (Severity.WARNING, 15 + 32.5 - first.took)
    assert "confidence" not in finding.evidence
    unread = later(snapshot(*after), 32.5)
    [finding] = DETECTOR.detect(Window(current=unread, previous=first), DETECTOR.settings)
    assert (finding.severity, finding.evidence["confidence"]) == (Severity.WARNING, "low")  # it may be a flood
    others = later(snapshot(*({**row, "cookie": 7000 + i} for i, row in enumerate(after))), 32.5)
    [guess] = DETECTOR.detect(Window(current=others, previous=first), DETECTOR.settings)
    assert (guess.severity, guess.evidence["confidence"]) == (Severity.INFO, "low")


def test_a_stray_syn_on_a_short_backlog_is_no_flood() -> None:
    assert not detect(listener(send_q=1), half_open(0))
    assert not detect(listener(send_q=19), *(half_open(i) for i in range(19)))
    assert len(detect(listener(send_q=19), *(half_open(i) for i in range(20)))) == 1


@pytest.mark.parametrize("counter", ["TCPReqQFullDoCookies", "TCPReqQFullDrop"])
def test_a_few_are_a_flood_where_others_were_turned_away_since_the_previous_look(counter: str) -> None:
    rows = [listener(send_q=1), half_open(0)]
    before, after = (namespace(counters={f"TcpExt.{counter}": n}) for n in (7, 8))
    first = snapshot(*rows, namespaces=[before])
    second = later(snapshot(*rows, namespaces=[after]), 5.0)
    [finding] = DETECTOR.detect(Window(current=second, previous=first), DETECTOR.settings)
    assert (finding.name, finding.count) == ("syn_recv_buildup/flood", 1)
    assert not list(DETECTOR.detect(Window(current=second), DETECTOR.settings))
    assert not list(DETECTOR.detect(Window(current=later(first, 5.0), previous=first), DETECTOR.settings))


def test_a_few_beside_many_connections_are_silent() -> None:
    live = [socket(State.ESTABLISHED, "10.0.0.1:80", f"10.9.0.1:{i + 1}", inode=9) for i in range(60)]
    assert len(detect(listener(), *live, *(old(i) for i in range(20)))) == 1
    live.append(socket(State.ESTABLISHED, "10.0.0.1:80", "10.9.0.2:1", inode=9))
    assert not detect(listener(), *live, *(old(i) for i in range(20)))


def test_connections_elsewhere_are_no_measure() -> None:
    other_port = [socket(State.ESTABLISHED, "10.0.0.1:81", f"10.9.0.1:{i + 1}", inode=9) for i in range(97)]
    elsewhere = [socket(State.ESTABLISHED, "10.0.0.1:80", f"10.9.0.1:{i + 1}", inode=9, netns=1) for i in range(97)]
    rows = [listener(), *other_port, *elsewhere, *(old(i) for i in range(20))]
    assert len(detect(*rows, namespaces=[syn_sysctls(), namespace("web")])) == 1


def test_where_the_accept_queue_is_full_that_is_why_no_ack_counts() -> None:
    assert not detect(listener(recv_q=BACKLOG + 1), *(old(i) for i in range(23)))
    assert detect(listener(recv_q=BACKLOG), *(old(i) for i in range(23)))


def test_a_listener_that_is_gone_is_no_finding() -> None:
    assert not detect(*(old(i) for i in range(200)))


def test_the_client_on_this_host_that_believes_to_be_connected_is_named() -> None:
    rows = [old(i, local="127.0.0.1:80") for i in range(20)]
    ends = [
        socket(State.ESTABLISHED, f"10.1.0.{1 + i}:{5000 + i}", "127.0.0.1:80", inode=50 + i, cookie=900 + i)
        for i in range(20)
    ]
    [finding] = detect(listener(), *rows, *ends, holders={50 + i: [CLIENT] for i in range(20)})
    assert finding.other_end is not None
    assert (finding.other_end.state, finding.other_end.process) == (State.ESTABLISHED, CLIENT)


def test_listeners_on_one_port_are_told_apart_by_their_addresses() -> None:
    own = listener("10.0.0.2:80", inode=2)
    rows = [*(old(i) for i in range(20)), *(old(40 + i, local="10.0.0.2:80") for i in range(21))]
    found = detect(listener(), own, *rows, holders={1: [SERVER], 2: [CLIENT]})
    assert {(f.subject.local, f.count) for f in found} == {("0.0.0.0:80", 20), ("10.0.0.2:80", 21)}


def test_listeners_that_share_a_port_have_room_together() -> None:
    rows = [half_open(i) for i in range(255)]
    assert not detect(listener(), listener(inode=2), *rows)
    assert len(detect(listener(), listener(inode=2), *rows, half_open(255))) == 1


def test_ipv6_v4_mapped_and_namespaces() -> None:
    dual = listener("[::]:80", inode=2)
    v6 = [
        socket(State.SYN_RECV, "[::1]:80", f"[::1]:{5000 + i}", retransmits=5, expires_ms=31_500, family=10)
        for i in range(20)
    ]
    mapped = [old(i, family=10) for i in range(20)]
    web = [listener(netns=1), *(old(i, netns=1) for i in range(20))]
    found = detect(dual, *v6, *mapped, *web, namespaces=[syn_sysctls(), namespace("web")])
    assert {(f.subject.netns, f.subject.local, f.count) for f in found} == {
        ("host", "[::]:80", 40),
        ("web", "0.0.0.0:80", 20),
    }


def test_suspects_are_listeners_in_trouble_and_the_other_ends_of_their_handshakes() -> None:
    quiet = listener("0.0.0.0:81", inode=2)
    rows = [*(old(i) for i in range(20)), half_open(70, local="10.0.0.1:81")]
    end = socket(State.ESTABLISHED, "10.1.0.1:5000", "10.0.0.1:80", inode=50, cookie=900)
    seen = window(listener(), quiet, *rows, end, namespaces=[syn_sysctls()])
    assert sorted(DETECTOR.suspects(seen, DETECTOR.settings).inode.tolist()) == [1, 50]
