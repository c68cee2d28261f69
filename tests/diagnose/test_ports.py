from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from builders import later, namespace, snapshot, socket, window
from sockwatch.diagnose.detectors import port_exhaustion
from sockwatch.diagnose.ports import (
    HALF,
    MOST_BUDGETS,
    BudgetSettings,
    PortBudget,
    count_left_out,
    port_budgets,
    port_range_mask,
    reserve_command,
    usable_ports,
)
from sockwatch.diagnose.window import Window
from sockwatch.model.snapshot import Namespace
from sockwatch.model.state import State

NARROW = "40000\t40009"
REMOTE = "10.0.0.9:5432"


def client(port: int, state: State = State.ESTABLISHED, remote: str = REMOTE, **columns: Any) -> dict[str, Any]:
    return socket(state, f"10.0.0.1:{port}", remote, **columns)


def time_wait(port: int, age: float, local: str = "10.0.0.1", remote: str = REMOTE, **columns: Any) -> dict[str, Any]:
    return socket(State.TIME_WAIT, f"{local}:{port}", remote, expires_ms=int(60_000 - age * 1e3), **columns)


def narrow(**sysctls: Any) -> list[Namespace]:
    return [namespace(ip_local_port_range=NARROW, **sysctls)]


def budgets(seen: Window, at_least: float = 0.0) -> list[PortBudget]:
    return list(port_budgets(seen, at_least))


def test_every_state_uses_a_port_of_its_own_destination_only() -> None:
    rows = [
        client(40000),
        client(40001, State.FIN_WAIT_2),
        client(40002, State.SYN_SENT),
        client(40003, remote="10.0.0.9:5433"),
        time_wait(40004, 5),
    ]
    [mine, other] = budgets(window(*rows, namespaces=narrow()))
    assert (mine.used, mine.usable, mine.free, mine.ratio, mine.time_wait) == (4, 10, 6, 0.4, 1)
    assert (other.used, other.ratio) == (1, 0.1)


@pytest.mark.parametrize(("share", "found"), [(0.3, 1), (0.31, 0)])
def test_only_budgets_that_are_used_enough_are_found(share: float, found: int) -> None:
    assert len(budgets(window(*(client(40000 + i) for i in range(3)), namespaces=narrow()), share)) == found


def test_of_very_many_budgets_the_fullest_are_looked_at_and_the_others_counted() -> None:
    more = 23
    rows = [
        client(40000 + port, remote=f"10.0.{i >> 8}.{i & 255}:80")
        for i in range(MOST_BUDGETS + more)
        for port in range(6 + (i >= more))
    ]
    seen = window(*rows, namespaces=narrow())
    assert [budget.used for budget in budgets(seen, HALF)] == [7] * MOST_BUDGETS
    assert (count_left_out(seen, HALF), count_left_out(seen, 0.6), count_left_out(seen, 0.65)) == (more, more, 0)
    findings = list(port_exhaustion.detect(seen, replace(BudgetSettings(), used=0.6)))
    assert len(findings) == MOST_BUDGETS
    assert {finding.evidence.get("budgets_left_out") for finding in findings} == {more}


def test_where_all_are_looked_at_nothing_is_left_out() -> None:
    seen = window(*(client(40000 + i) for i in range(8)), namespaces=narrow())
    assert count_left_out(seen, HALF) == 0
    [finding] = port_exhaustion.detect(seen, BudgetSettings())
    assert "budgets_left_out" not in finding.evidence


def test_ports_that_bind_took_are_out_of_reach_for_every_destination() -> None:
    rows = [
        socket(State.LISTEN, "127.0.0.1:40000"),
        socket(State.BOUND, "10.0.0.1:40001"),
        client(40002),
        client(40000),  # accepted by the listener
    ]
    [budget] = budgets(window(*rows, namespaces=narrow()))
    assert (budget.used, budget.usable) == (1, 8)


def test_reserved_ports_are_no_usable_ports() -> None:
    seen = window(namespaces=narrow(ip_local_reserved_ports="40000,40005-40007,80"))
    assert usable_ports(seen.current, 0).nonzero()[0].tolist() == [40001, 40002, 40003, 40004, 40008, 40009]


def test_a_range_without_a_usable_port_is_used_up() -> None:
    rows = [socket(State.BOUND, f"0.0.0.0:{40000 + i}") for i in range(10)]
    [budget] = budgets(window(*rows, client(40000), namespaces=narrow()))
    assert (budget.used, budget.usable, budget.free, budget.lost) == (1, 1, 0, 9)
    assert budget.ratio == 1.0


@pytest.mark.parametrize("sysctls", [{}, {"net.ipv4.ip_local_port_range": ""}])
def test_where_the_range_cannot_be_read_there_are_no_budgets(sysctls: dict[str, str]) -> None:
    unreadable = replace(namespace(), sysctls=sysctls)
    assert port_range_mask(unreadable) is None
    assert not budgets(window(client(40000), namespaces=[unreadable]))


@pytest.mark.parametrize(
    ("reuse", "local", "reusable"),
    [
        ("0", "127.0.0.1", 0),
        ("1", "127.0.0.1", 1),
        ("2", "127.0.0.1", 1),
        ("0", "10.0.0.1", 0),
        ("1", "10.0.0.1", 1),
        ("2", "10.0.0.1", 0),
        ("2", "::1", 1),
        ("", "127.0.0.1", 0),
    ],
)
def test_tcp_tw_reuse_gives_old_time_wait_away_where_it_applies(reuse: str, local: str, reusable: int) -> None:
    address = f"[{local}]" if ":" in local else local
    rows = [time_wait(40000 + i, age, address, f"{address}:80") for i, age in enumerate((0.9, 1.1))]
    [budget] = budgets(window(*rows, namespaces=narrow(tcp_tw_reuse=reuse)))
    assert (budget.reusable, budget.used, budget.time_wait) == (reusable, 2 - reusable, 2 - reusable)


def test_without_timestamps_nothing_is_reused() -> None:
    row = time_wait(40000, 30, "127.0.0.1", "127.0.0.1:80")
    [budget] = budgets(window(row, namespaces=narrow(tcp_tw_reuse="1", tcp_timestamps="0")))
    assert budget.reusable == 0


def test_the_reuse_delay_is_a_second_where_the_kernel_has_no_sysctl_for_it() -> None:
    rows = [time_wait(40000 + i, age, "127.0.0.1", "127.0.0.1:80") for i, age in enumerate((0.9, 1.1, 3.5))]
    old = narrow()[0]
    old = replace(old, sysctls={k: v for k, v in old.sysctls.items() if not k.endswith("delay")})
    assert [b.reusable for b in budgets(window(*rows, namespaces=[old]))] == [2]
    assert [b.reusable for b in budgets(window(*rows, namespaces=narrow(tcp_tw_reuse_delay="3000")))] == [1]


def test_an_orphan_in_fin_wait_2_is_never_reused() -> None:
    row = socket(State.FIN_WAIT_2, "127.0.0.1:40000", "127.0.0.1:80", timer=3, expires_ms=20_000)
    assert [b.reusable for b in budgets(window(row, namespaces=narrow(tcp_tw_reuse="1")))] == [0]


def forecast(before: list[dict[str, Any]], now: list[dict[str, Any]], elapsed: float = 10.0, **sysctls: Any) -> Any:
    first = snapshot(*before, namespaces=narrow(**sysctls))
    second = later(snapshot(*now, namespaces=narrow(**sysctls)), elapsed)
    [budget] = budgets(Window(current=second, previous=first))
    return budget.seconds_left


def test_one_look_gives_no_forecast() -> None:
    assert [b.seconds_left for b in budgets(window(client(40000), namespaces=narrow()))] == [None]


def test_connections_that_stay_use_the_rest_up_at_their_growth() -> None:
    rows = [client(40000 + i, cookie=1 + i) for i in range(6)]
    assert forecast(rows[:4], rows) == pytest.approx(20.0)  # 4 ports left, 2 in 10 s


def test_a_budget_that_shrinks_or_stands_still_lasts() -> None:
    rows = [client(40000 + i, cookie=1 + i) for i in range(6)]
    assert forecast(rows, rows) is None
    assert forecast(rows, rows[:4]) is None


def test_steady_time_wait_that_levels_off_below_the_budget_lasts() -> None:
    before = [time_wait(40000 + i, 10.0 * i, cookie=1 + i) for i in range(5)]
    now = [time_wait(40000 + i, 10.0 * i + 5.0, cookie=0 if i == 0 else i) for i in range(6)]
    assert forecast(before, now) is None  # one in 10 s levels off at 6 of 10


def test_time_wait_that_will_not_level_off_uses_the_budget_up() -> None:
    old = [time_wait(40000 + i, 1.0, cookie=1 + i) for i in range(2)]
    aged = [time_wait(40000 + i, 11.0, cookie=1 + i) for i in range(2)]
    new = [time_wait(40005 + i, 5.0, cookie=9 + i) for i in range(4)]
    assert forecast(old, aged + new) == pytest.approx(10.0)  # 4 left, 4 in 10 s


def test_churn_that_tcp_tw_reuse_absorbs_lasts() -> None:
    old = [time_wait(40000 + i, 1.0, cookie=1 + i) for i in range(2)]
    aged = [time_wait(40000 + i, 11.0, cookie=1 + i) for i in range(2)]
    new = [time_wait(40005 + i, 5.0, cookie=9 + i) for i in range(4)]
    assert forecast(old, aged + new, tcp_tw_reuse="1") is None


def test_namespaces_that_come_and_go_between_the_looks_are_matched_by_name() -> None:
    rows = [client(40000 + i, cookie=1 + i) for i in range(6)]
    web = replace(narrow()[0], name="web", inode=7)
    first = snapshot(*rows[:4], namespaces=[web])
    moved = [row | {"netns": 1} for row in rows]
    second = later(snapshot(*moved, namespaces=[*narrow(), web]), 10.0)
    [budget] = budgets(Window(current=second, previous=first))
    assert budget.seconds_left == pytest.approx(20.0)


def test_a_namespace_that_was_not_looked_at_before_has_no_forecast() -> None:
    first = snapshot(client(40000), namespaces=[namespace("other")])
    second = later(snapshot(*(client(40000 + i) for i in range(6)), namespaces=narrow()), 10.0)
    assert [b.seconds_left for b in budgets(Window(current=second, previous=first))] == [None]


def test_the_fullest_budget_comes_first() -> None:
    rows = [client(40000, remote="10.0.0.8:1"), *(client(40000 + i) for i in range(3))]
    assert [b.used for b in budgets(window(*rows, namespaces=narrow()))] == [3, 1]


def test_both_families_and_v4_mapped_addresses_have_their_budgets() -> None:
    rows = [
        client(40000),
        client(40001, family=10),
        socket(State.ESTABLISHED, "[fd00::1]:40000", "[fd00::2]:5432"),
    ]
    assert [b.used for b in budgets(window(*rows, namespaces=narrow()))] == [2, 1]


def test_the_reserve_command_keeps_what_is_reserved() -> None:
    ports = np.array([40001, 40000, 40001], np.uint16)
    assert reserve_command(namespace(), ports) == "sysctl -w net.ipv4.ip_local_reserved_ports=40000-40001"
    kept = namespace(ip_local_reserved_ports="8080-8090\n")
    assert reserve_command(kept, ports).endswith("=8080-8090,40000-40001")


def autobound(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return [row | {"autobound": 1 if row["autobound"] == 255 else row["autobound"]} for row in rows]


OTHER = "10.0.0.9:80"


@pytest.mark.parametrize(
    ("lost", "other"),
    [
        (0, client(40002, remote=OTHER)),  # connect() tries even ports first here
        (1, client(40003, remote=OTHER)),  # so this was bind()
        (1, client(40003, State.SYN_SENT, remote=OTHER)),
        (1, client(40002, remote=OTHER, autobound=0)),  # the program named it
        (1, client(40002, remote=OTHER, bytes_acked=9.0, bytes_sent=9.0, bytes_retrans=0.0, notsent_bytes=0.0)),
        (1, socket(State.CLOSE, "10.0.0.1:40002", OTHER)),  # what is in CLOSE and still has a port has named it
    ],
)
def test_what_bind_took_for_another_destination_is_lost(lost: int, other: dict[str, Any]) -> None:
    rows = autobound(client(40000), other)
    [mine] = [b for b in budgets(window(*rows, namespaces=narrow())) if b.sockets.dport[0] == 5432]
    assert (mine.free, mine.lost, mine.exact) == (9 - lost, lost, True)


def test_without_autobound_the_number_of_free_ports_is_the_most_there_may_be() -> None:
    rows = [client(40000), client(40003, remote=OTHER)]
    assert [(b.free, b.exact) for b in budgets(window(*rows, namespaces=narrow()))] == [(9, False), (9, False)]


def test_alone_in_the_range_a_budget_needs_no_autobound_to_be_exact() -> None:
    assert [(b.free, b.exact) for b in budgets(window(client(40000), namespaces=narrow()))] == [(9, True)]


def test_beyond_its_first_half_a_destination_hides_who_took_its_ports() -> None:
    first = [client(40000 + i, remote=OTHER) for i in range(0, 10, 2)]
    rows = autobound(*first, client(40001, remote=OTHER), client(40000))
    assert {b.used: (b.free, b.exact) for b in budgets(window(*rows, namespaces=narrow()))} == {
        6: (4, True),
        1: (9, False),
    }


def test_when_bind_has_used_up_its_half_the_other_half_is_unsure() -> None:
    bound = [client(40001 + i, remote=f"10.0.0.9:{80 + i}") for i in range(0, 10, 2)]
    rows = autobound(*bound, client(40000, remote="10.0.0.9:99"), client(40002))
    [mine] = [b for b in budgets(window(*rows, namespaces=narrow())) if b.sockets.dport[0] == 5432]
    assert (mine.free, mine.lost, mine.exact) == (4, 5, False)


def test_the_parity_counts_from_the_low_end_of_the_range() -> None:
    odd = [namespace(ip_local_port_range="40001\t40010")]
    rows = autobound(client(40001), client(40003, remote=OTHER), client(40004, remote=OTHER))
    [mine] = [b for b in budgets(window(*rows, namespaces=odd)) if b.sockets.dport[0] == 5432]
    assert (mine.free, mine.lost) == (8, 1)


def test_a_port_in_time_wait_that_bind_took_is_not_reused() -> None:
    rows = autobound(time_wait(40000, 30.0), time_wait(40001, 30.0), client(40002))
    [budget] = budgets(window(*rows, namespaces=narrow(tcp_tw_reuse="1")))
    assert (budget.reusable, budget.used, budget.free) == (1, 2, 8)


def test_budgets_are_counted_once_for_all_who_ask() -> None:
    seen = window(*(client(40000 + i) for i in range(9)), namespaces=narrow())
    assert budgets(seen, 0.5)[0] is budgets(seen, 0.7)[0]


STATES = st.sampled_from((State.ESTABLISHED, State.TIME_WAIT, State.FIN_WAIT_2, State.LISTEN, State.BOUND))
ADDRESSES = st.sampled_from(("10.0.0.1", "127.0.0.1", "[::1]"))
SOCKETS = st.tuples(
    STATES, st.integers(0, 1), ADDRESSES, st.integers(39998, 40012), ADDRESSES, st.sampled_from((80, 81, 40003))
)


@given(st.lists(SOCKETS, max_size=40), st.sampled_from((0.0, 0.1, 0.3, 0.5, 1.0)))
def test_budgets_are_those_of_a_slow_count(drawn: list[tuple[Any, ...]], at_least: float) -> None:
    unique = {drawing[1:]: drawing[0] for drawing in drawn}
    rows = [
        socket(
            state,
            f"{src}:{sport}",
            f"{dst}:{dport}" if state not in (State.LISTEN, State.BOUND) else "0.0.0.0:0",
            netns=netns,
        )
        for (netns, src, sport, dst, dport), state in unique.items()
    ]
    reserved = {40002, 40003}
    spaces = [
        namespace(ip_local_port_range=NARROW, ip_local_reserved_ports="40002-40003", tcp_tw_reuse="0"),
        namespace("web", ip_local_port_range="40004 40008", tcp_tw_reuse="0"),
    ]
    mine = [set(range(40000, 40010)) - reserved, set(range(40004, 40009))]
    listening = {(key[0], key[2]) for key, state in unique.items() if state == State.LISTEN}
    taken = listening | {(key[0], key[2]) for key, state in unique.items() if state == State.BOUND}
    used = Counter(
        (netns, src, dst, dport)
        for (netns, src, sport, dst, dport), state in unique.items()
        if state not in (State.LISTEN, State.BOUND) and sport in mine[netns] and (netns, sport) not in listening
    )
    expected = []
    for key, count in used.items():
        ports = {row[2] for row, state in unique.items() if (row[0], row[1], row[3], row[4]) == key}
        free = len({port for port in mine[key[0]] - ports if (key[0], port) not in taken})
        if count >= at_least * (count + free):
            expected.append((count, count + free, count / (count + free)))
    seen = window(*rows, namespaces=spaces)
    assert sorted((b.used, b.usable, b.ratio) for b in budgets(seen, at_least)) == sorted(expected)


def test_a_forecast_compares_only_the_same_budget_of_the_same_namespace() -> None:
    rows = [client(40000 + i, cookie=1 + i) for i in range(6)]
    elsewhere = [row | {"netns": 1} for row in rows]
    served = [client(40009, cookie=70 + i) for i in range(2)]
    listener = socket(State.LISTEN, "10.0.0.1:40009", cookie=99)
    spaces = [*narrow(), replace(narrow()[0], name="web", inode=7)]
    first = snapshot(*rows[:4], *elsewhere, *served, listener, namespaces=spaces)
    second = later(snapshot(*rows, *elsewhere, *served, listener, namespaces=spaces), 10.0)
    lasting = {b.namespace.name: b.seconds_left for b in budgets(Window(current=second, previous=first))}
    assert lasting == {"host": pytest.approx(15.0), "web": None}  # 9 usable, 3 left, 2 in 10 s


def test_a_forecast_does_not_count_ports_that_can_be_reused() -> None:
    live = [client(40000 + i, cookie=1 + i) for i in range(8)]
    before = [*live, time_wait(40009, 14.5, cookie=20)]
    now = [*live, time_wait(40009, 15.0, cookie=20), time_wait(40008, 0.3, cookie=21)]
    # 8 live and 2 a second, each for 1 s, reach the 10; of these 9 are used, 1 in 0.5 s
    assert forecast(before, now, elapsed=0.5, tcp_tw_reuse="1") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("local", "remote", "reusable"),
    [("127.0.0.1", "10.0.0.1:80", 1), ("10.0.0.1", "127.0.0.1:80", 1), ("10.0.0.1", "10.0.0.1:80", 0)],
)
def test_one_loopback_address_is_enough_for_tcp_tw_reuse_2(local: str, remote: str, reusable: int) -> None:
    row = time_wait(40000, 30.0, local, remote)
    assert [b.reusable for b in budgets(window(row, namespaces=narrow()))] == [reusable]


def test_what_a_capture_has_for_ports_is_no_part_of_a_command() -> None:
    hostile = namespace(ip_local_reserved_ports="$(evil|sh),7,9-a")
    assert reserve_command(hostile, np.array([8], np.uint16)) == "sysctl -w net.ipv4.ip_local_reserved_ports=7-8"
