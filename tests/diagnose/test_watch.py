from dataclasses import replace
from typing import Any

import pytest

from builders import later, namespace, snapshot, socket, window
from sockwatch.diagnose import watch as module
from sockwatch.diagnose.detector import Settings
from sockwatch.diagnose.remember import remember
from sockwatch.diagnose.watch import Watched, budget_uses, peer_counts, watch
from sockwatch.diagnose.window import Window
from sockwatch.model.report import BudgetUse, PeerCount
from sockwatch.model.state import State, Timer

HUNDRED = "40000\t40099"
REMOTE = "10.0.0.9:5432"
OLD = {"last_ack_recv": 400_000, "last_data_recv": 400_000, "last_data_sent": 400_000}
ACCEPTED = {"bytes_acked": 0, "bytes_sent": 0, "bytes_retrans": 0, "notsent_bytes": 0}
CONNECTED = ACCEPTED | {"bytes_acked": 1}
CONNECTED_AND_CLOSED = ACCEPTED | {"bytes_acked": 2}


def clients(count: int, remote: str = REMOTE, **columns: Any) -> list[dict[str, Any]]:
    return [socket(State.ESTABLISHED, f"10.0.0.1:{40000 + i}", remote, **columns) for i in range(count)]


def hundred(name: str = "host") -> Any:
    return namespace(name, ip_local_port_range=HUNDRED)


@pytest.mark.parametrize(("used", "watched"), [(9, 0), (10, 1), (73, 1)])
def test_a_budget_is_watched_from_a_tenth_on(used: int, watched: int) -> None:
    found = budget_uses(window(*clients(used), namespaces=[hundred()]))
    expected = BudgetUse(netns="host", source="10.0.0.1", destination=REMOTE, used=used, usable=100)
    assert found == (expected,) * watched


def test_the_fullest_budget_comes_first_and_each_namespace_has_its_own() -> None:
    rows = [*clients(12), *clients(20, "[::ffff:10.0.0.8]:80"), *clients(30, netns=1)]
    found = budget_uses(window(*rows, namespaces=[hundred(), hundred("web")]))
    assert [(b.netns, b.destination, b.ratio) for b in found] == [
        ("web", REMOTE, 0.3),
        ("host", "10.0.0.8:80", 0.2),
        ("host", REMOTE, 0.12),
    ]


def test_a_budget_that_grows_has_an_end_in_sight() -> None:
    first = snapshot(*clients(50), namespaces=[hundred()])
    second = later(snapshot(*clients(60), namespaces=[hundred()]), 10.0)
    [budget] = budget_uses(Window(current=second, previous=first))
    assert budget.seconds_left == 40.0


def test_the_ports_of_those_who_bind_first_are_a_budget_for_all_destinations() -> None:
    rows = [
        socket(State.ESTABLISHED, f"10.0.0.1:{40001 + 2 * i}", f"10.0.1.{i}:80", autobound=1, **CONNECTED)
        for i in range(50)
    ]
    assert budget_uses(window(*rows, namespaces=[hundred()])) == (
        BudgetUse(netns="host", source="10.0.0.1", destination="*", used=50, usable=100),
    )


def test_only_so_many_budgets_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BUDGETS", 2)
    rows = [row for i in range(5) for row in clients(20 + i, f"10.0.0.{i}:80")]
    found = budget_uses(window(*rows, namespaces=[hundred()]))
    assert [budget.used for budget in found] == [24, 23]


def test_so_many_are_those_of_all_namespaces_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BUDGETS", 2)
    rows = [row for netns in range(5) for row in clients(20 + netns, netns=netns)]
    found = budget_uses(window(*rows, namespaces=[hundred("host"), *(hundred(f"n{i}") for i in range(1, 5))]))
    assert [(budget.netns, budget.used) for budget in found] == [("n4", 24), ("n3", 23)]


def leak(local: str, remote: str, state: State = State.CLOSE_WAIT, /, **columns: Any) -> dict[str, Any]:
    return socket(state, local, remote, **({"inode": 5} | OLD | columns))


def peer(local: str, remote: str, count: int, state: State = State.CLOSE_WAIT) -> PeerCount:
    return PeerCount(netns="host", local=local, peer=remote, state=state, count=count)


def counts(*rows: dict[str, Any], **fields: Any) -> tuple[PeerCount, ...]:
    return peer_counts(window(*rows, **fields), Settings())


def test_both_ends_of_a_connection_name_the_same_two_ends() -> None:
    serving = [leak("10.0.0.1:8080", f"10.0.0.9:{40001 + i}", State.CLOSE_WAIT, **ACCEPTED) for i in range(23)]
    calling = [
        leak(f"10.0.0.9:{40001 + i}", "10.0.0.1:8080", State.FIN_WAIT_2, **CONNECTED_AND_CLOSED) for i in range(23)
    ]
    assert counts(*serving) == (peer("10.0.0.1:8080", "10.0.0.9:*", 23),)
    assert counts(*calling) == (peer("10.0.0.9:*", "10.0.0.1:8080", 23, State.FIN_WAIT_2),)


@pytest.mark.parametrize(
    ("local", "remote", "shown"),
    [
        ("10.0.0.1:8080", "10.0.0.9:40001", ("10.0.0.1:8080", "10.0.0.9:*")),
        ("10.0.0.1:40001", "10.0.0.9:8080", ("10.0.0.1:*", "10.0.0.9:8080")),
        ("10.0.0.1:8081", "10.0.0.9:8080", ("10.0.0.1:*", "10.0.0.9:8080")),
        ("10.0.0.1:40001", "10.0.0.9:40002", ("10.0.0.1:40001", "10.0.0.9:*")),
        ("[2001:db8::1]:8080", "[2001:db8::9]:40001", ("[2001:db8::1]:8080", "[2001:db8::9]:*")),
    ],
)
def test_where_no_role_is_known_the_port_range_tells_the_client(
    local: str, remote: str, shown: tuple[str, str]
) -> None:
    assert counts(leak(local, remote)) == (peer(*shown, 1),)


def test_a_listener_tells_the_serving_end() -> None:
    rows = [socket(State.LISTEN, "0.0.0.0:40001"), leak("10.0.0.1:40001", "10.0.0.9:8080")]
    assert counts(*rows) == (peer("10.0.0.1:40001", "10.0.0.9:*", 1),)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1"])
def test_a_listener_on_the_same_address_tells_the_client(host: str) -> None:
    rows = [socket(State.LISTEN, f"{host}:50000"), leak(f"{host}:40000", f"{host}:50000")]
    assert counts(*rows) == (peer(f"{host}:*", f"{host}:50000", 1),)


@pytest.mark.parametrize(
    "young",
    [
        leak("10.0.0.1:80", "10.0.0.9:5", last_ack_recv=59_000, last_data_recv=400_000),
        leak("10.0.0.1:80", "10.0.0.9:5", State.ESTABLISHED),
        socket(State.TIME_WAIT, "10.0.0.1:80", "10.0.0.9:5", expires_ms=100),
        socket(State.FIN_WAIT_2, "10.0.0.1:80", "10.0.0.9:5", timer=Timer.TIME_WAIT, expires_ms=31_000),
        socket(State.LAST_ACK, "10.0.0.1:80", "10.0.0.9:5", timer=Timer.RETRANSMIT, expires_ms=1000, retransmits=1),
        socket(State.CLOSE_WAIT, "10.0.0.1:80", "10.0.0.9:5", inode=5),
    ],
    ids=["close_wait", "established", "time_wait", "fin_wait_2", "last_ack", "age unknown"],
)
def test_what_is_young_or_not_closing_is_not_counted(young: dict[str, Any]) -> None:
    assert counts(young) == ()


def test_what_the_kernel_ends_itself_is_old_at_half_of_its_life() -> None:
    orphan = socket(State.FIN_WAIT_2, "10.0.0.1:80", "10.0.0.9:40000", timer=Timer.TIME_WAIT, expires_ms=29_000)
    unanswered = {"timer": Timer.RETRANSMIT, "retransmits": 8, "backoff": 8, "rto": 51_200_000, "expires_ms": 1000}
    last = leak("10.0.0.1:80", "10.0.0.9:40000", State.LAST_ACK, inode=0, **unanswered)
    assert {(p.state, p.count) for p in counts(orphan, last)} == {(State.FIN_WAIT_2, 1), (State.LAST_ACK, 1)}


def test_what_earlier_looks_saw_counts() -> None:
    stuck = socket(State.CLOSING, "10.0.0.1:80", "10.0.0.9:40000", inode=5, cookie=7)
    first = snapshot(stuck)
    history = remember(Window(current=first), first.sockets)
    now = Window(current=later(first, 61.0), previous=first, history=history)
    assert peer_counts(now, Settings()) == (peer("10.0.0.1:80", "10.0.0.9:*", 1, State.CLOSING),)


def test_of_too_many_peers_the_rest_is_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PEERS", 2)
    rows = [leak("10.0.0.1:80", f"10.0.0.{i}:40000", cookie=100 * i + n) for i in range(2, 8) for n in range(i)]
    assert counts(*rows) == (
        peer("*", "*", 2 + 3 + 4 + 5),
        peer("10.0.0.1:80", "10.0.0.7:*", 7),
        peer("10.0.0.1:80", "10.0.0.6:*", 6),
    )


def test_a_healthy_host_has_nothing_to_watch() -> None:
    assert watch(window(socket(State.LISTEN, "0.0.0.0:80"), *clients(3))) == Watched()


def test_what_breaks_is_a_gap_and_takes_nothing_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(module, "fullest_budgets", break_down)
    found = watch(window(leak("10.0.0.1:80", "10.0.0.9:40000")))
    assert found.budgets == ()
    assert len(found.peers) == 1
    [gap] = found.gaps
    assert (gap.what, gap.why, gap.fatal) == ("port budgets", "KeyError: 'x'", True)
    assert replace(gap, why="").count == 1
