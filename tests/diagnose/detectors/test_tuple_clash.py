from typing import Any

import pytest

from builders import later, namespace, process, snapshot, socket
from sockwatch.diagnose.detectors.tuple_clash import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.snapshot import Namespace, Snapshot
from sockwatch.model.state import State, Timer

SERVER = process(812, "orders-api")
CLIENT = process(900, "gateway")
LISTENER = socket(State.LISTEN, "0.0.0.0:8080", inode=1, cookie=1)
HERE, THERE = "10.0.0.1:8080", "10.0.0.7:40000"
OLD = {"last_ack_recv": 60_000.0, "last_data_recv": 60_000.0, "last_data_sent": 60_000.0}


def challenged(syns: int, name: str = "host") -> Namespace:
    return namespace(name, counters={"TcpExt.TCPSYNChallenge": syns, "TcpExt.TCPChallengeACK": 2 * syns})


def look(*rows: dict[str, Any], syns: int = 0, **fields: Any) -> Snapshot:
    return snapshot(LISTENER, *rows, **({"namespaces": [challenged(syns)]} | fields))


def detect(now: Snapshot, before: Snapshot | None = None) -> list[Finding]:
    return list(DETECTOR.detect(Window(current=later(now, 5), previous=before), DETECTOR.settings))


def stale(state: State = State.CLOSE_WAIT, *, cookie: int = 7, **columns: Any) -> dict[str, Any]:
    return socket(state, HERE, THERE, **({"cookie": cookie, "inode": 70} | OLD | columns))


def fresh(*, cookie: int = 8, **columns: Any) -> dict[str, Any]:
    return socket(State.ESTABLISHED, HERE, THERE, **({"cookie": cookie, "inode": 80} | columns))


@pytest.mark.parametrize("state", [State.CLOSE_WAIT, State.ESTABLISHED, State.FIN_WAIT_2])
def test_a_stale_socket_that_gave_way_to_the_same_tuple_is_a_clash(state: State) -> None:
    [finding] = detect(look(fresh(), syns=3, holders={80: [SERVER]}), look(stale(state)))
    assert (finding.name, finding.severity, finding.count) == ("tuple_clash", Severity.WARNING, 1)
    assert (finding.subject.process, finding.subject.local, finding.subject.remote) == (SERVER, HERE, THERE)
    assert finding.evidence == {"state_of_the_old": state.label, "challenged_syns": 3, "challenge_acks": 6}
    assert finding.summary == (
        "orders-api[812] held 1 connection that the peers had forgotten, until new ones with the same ports came"
    )


def test_without_a_challenge_the_tuple_was_free() -> None:
    assert not detect(look(fresh()), look(stale()))


def test_challenges_without_a_tuple_that_came_back_say_nothing() -> None:
    assert not detect(look(stale(), syns=100), look(stale()))
    assert not detect(look(syns=100), look(stale()))
    assert not detect(look(socket(State.ESTABLISHED, HERE, "10.0.0.7:40001", cookie=8), syns=1), look(stale()))


@pytest.mark.parametrize("state", [State.CLOSE_WAIT, State.ESTABLISHED, State.FIN_WAIT_2])
def test_a_socket_that_was_young_or_busy_may_have_ended_by_itself(state: State) -> None:
    busy = stale(state, last_ack_recv=59_999.0, last_data_recv=59_999.0, last_data_sent=59_999.0)
    assert not detect(look(fresh(), syns=1), look(busy))


@pytest.mark.parametrize(
    "row",
    [
        stale(State.TIME_WAIT),
        stale(State.FIN_WAIT_2, inode=0, timer=Timer.TIME_WAIT, expires_ms=1),
        stale(State.LISTEN),
    ],
)
def test_what_accepts_a_syn_does_not_clash(row: dict[str, Any]) -> None:
    assert not detect(look(fresh(), syns=1), look(row))


def test_looks_out_of_order_are_one_look() -> None:
    seen = Window(current=look(fresh(), syns=1), previous=later(look(stale()), 5))
    assert not list(DETECTOR.detect(seen, DETECTOR.settings))


def test_one_look_cannot_see_what_was_replaced() -> None:
    assert not detect(look(fresh(), syns=100))


def test_what_is_not_accepted_yet_is_the_listeners_and_the_client_is_named() -> None:
    client = socket(State.ESTABLISHED, THERE, HERE, inode=90, cookie=9)
    now = look(fresh(inode=0), client, syns=1, holders={1: [SERVER], 90: [CLIENT]})
    [finding] = detect(now, look(stale()))
    assert finding.subject.process == SERVER
    assert finding.other_end is not None
    assert finding.other_end.process == CLIENT


def test_a_kernel_without_tcp_info_or_the_counter_gives_no_verdict() -> None:
    unread = stale(last_ack_recv=float("nan"), last_data_recv=float("nan"), last_data_sent=float("nan"))
    assert not detect(look(fresh(), syns=1), look(unread))
    assert not detect(look(fresh(), namespaces=[namespace()]), look(stale(), namespaces=[namespace()]))


def trying(*, retransmits: int = 1, **columns: Any) -> dict[str, Any]:
    return socket(State.SYN_SENT, THERE, HERE, **({"inode": 90, "cookie": 9, "retransmits": retransmits} | columns))


BLOCKING = (State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.LAST_ACK)


@pytest.mark.parametrize("state", BLOCKING)
def test_one_look_proves_a_syn_that_faces_a_live_socket(state: State) -> None:
    [finding] = detect(look(stale(state), trying(), holders={70: [SERVER], 90: [CLIENT]}))
    assert (finding.severity, finding.count, finding.subject.process) == (Severity.WARNING, 1, SERVER)
    assert finding.evidence == {"state_of_the_old": state.label}
    assert finding.other_end is not None
    assert (finding.other_end.state, finding.other_end.process) == (State.SYN_SENT, CLIENT)
    assert finding.summary == "orders-api[812] still holds 1 connection that clients try to open anew"


def test_a_first_syn_may_just_be_on_its_way() -> None:
    assert not detect(look(stale(), trying(retransmits=0)))


@pytest.mark.parametrize(
    "row",
    [
        stale(State.TIME_WAIT),
        stale(State.SYN_RECV),
        stale(State.SYN_SENT),
        stale(State.CLOSE),
        stale(State.FIN_WAIT_2, timer=Timer.TIME_WAIT, inode=0),
    ],
)
def test_a_syn_that_faces_something_else_is_no_clash(row: dict[str, Any]) -> None:
    assert not detect(look(row, trying()))


def test_clashes_are_grouped_by_process_and_service() -> None:
    olds = [socket(State.CLOSE_WAIT, HERE, f"10.0.0.7:{i}", inode=i, cookie=i, **OLD) for i in range(100, 123)]
    news = [socket(State.ESTABLISHED, HERE, f"10.0.0.7:{i}", inode=i + 100, cookie=i + 100) for i in range(100, 123)]
    [finding] = detect(look(*news, syns=23, holders={i: [SERVER] for i in range(200, 223)}), look(*olds))
    assert (finding.count, finding.subject.local, finding.subject.remote) == (23, HERE, "10.0.0.7:*")


def test_namespaces_keep_their_names_when_their_numbers_change() -> None:
    before = look(stale(netns=1), namespaces=[challenged(0), challenged(0, "web")])
    now = look(fresh(), namespaces=[challenged(1, "web"), challenged(0)])
    [finding] = detect(now, before)
    assert finding.subject.netns == "web"
    assert not detect(look(fresh(), syns=1), before)


def test_challenges_in_another_namespace_are_not_about_this_one() -> None:
    quiet = [challenged(0), challenged(0, "web")]
    now = look(fresh(), namespaces=[challenged(0), challenged(1, "web")])
    assert not detect(now, look(stale(), namespaces=quiet))


@pytest.mark.parametrize(("local", "remote", "family"), [("[::1]:80", "[::1]:5000", 10), (HERE, THERE, 10)])
def test_ipv6_and_v4_mapped(local: str, remote: str, family: int) -> None:
    old = socket(State.CLOSE_WAIT, local, remote, cookie=7, family=family, **OLD)
    new = socket(State.ESTABLISHED, local, remote, cookie=8, family=family)
    assert [f.subject.local for f in detect(look(new, syns=1), look(old))] == [local]
    syn = socket(State.SYN_SENT, remote, local, cookie=9, retransmits=2)
    assert [f.subject.local for f in detect(look(old, syn))] == [local]


def test_suspects_are_both_ends_and_the_listener_of_what_is_queued() -> None:
    client = socket(State.ESTABLISHED, THERE, HERE, inode=90, cookie=9)
    now, before = later(look(fresh(inode=0), client, syns=1), 5), look(stale())
    suspects = DETECTOR.suspects(Window(current=now, previous=before), DETECTOR.settings)
    assert sorted(suspects.inode.tolist()) == [0, 1, 90]


def test_more_replacements_than_challenges_are_a_guess() -> None:
    old, new = [stale(), stale(dport=5999, cookie=77)], [fresh(), fresh(dport=5999, cookie=78)]
    [guess] = detect(look(*new, syns=1), look(*old))
    assert (guess.severity, guess.count, guess.evidence["confidence"]) == (Severity.INFO, 2, "low")
    [sure] = detect(look(*new, syns=2), look(*old))
    assert (sure.severity, "confidence" in sure.evidence) == (Severity.WARNING, False)


def test_a_client_with_a_fixed_port_that_connects_again_is_a_guess() -> None:
    rows = [socket(state, "10.0.0.1:871", "10.0.0.9:2049", **columns) for state, columns in CLIENT_LOOKS]
    [finding] = detect(look(rows[1], syns=1), look(rows[0]))
    assert (finding.severity, finding.evidence["confidence"]) == (Severity.INFO, "low")


SILENT = {"last_ack_recv": 6e5, "last_data_recv": 6e5, "last_data_sent": 6e5}
CLIENT_LOOKS = (
    (State.ESTABLISHED, {"inode": 5, "cookie": 500} | SILENT),
    (State.ESTABLISHED, {"inode": 6, "cookie": 501} | SILENT),
)
"""A socket before and after a client closed it and connected again from the same port."""
