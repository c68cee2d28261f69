from dataclasses import replace
from typing import Any

import pytest

from builders import later, namespace, process, snapshot, socket, window
from sockwatch.diagnose.detectors.time_wait_buildup import DETECTOR
from sockwatch.diagnose.ports import BudgetSettings
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Namespace
from sockwatch.model.state import State

CLIENT = process(812, "gateway")
SERVER = process(900, "orders-api")
REMOTE = "10.0.0.9:5432"


def narrow(**sysctls: Any) -> Namespace:
    return namespace(ip_local_port_range="40000\t40099", **sysctls)


def waiting(local: str, remote: str, age: float = 40.0, **columns: Any) -> dict[str, Any]:
    return socket(State.TIME_WAIT, local, remote, expires_ms=int(60_000 - age * 1e3), timer=3, **columns)


def client(count: int, age: float = 40.0, start: int = 0, **columns: Any) -> list[dict[str, Any]]:
    """TIME_WAIT at a client, towards one destination."""
    return [waiting(f"10.0.0.1:{40000 + start + i}", REMOTE, age, **columns) for i in range(count)]


def server(count: int, age: float = 40.0, port: int = 8080, **columns: Any) -> list[dict[str, Any]]:
    """TIME_WAIT on the port of a service, each from another client."""
    return [waiting(f"10.0.0.1:{port}", f"10.0.0.7:{52000 + i}", age, **columns) for i in range(count)]


def live(count: int) -> list[dict[str, Any]]:
    return [socket(State.ESTABLISHED, "10.0.0.1:22", f"10.0.0.7:{5000 + i}", inode=500 + i) for i in range(count)]


LISTENER = socket(State.LISTEN, "0.0.0.0:8080", inode=1)


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def named(seen: Window, variant: str) -> list[Finding]:
    return [finding for finding in detect(seen) if finding.variant == variant]


# client_ports


def test_client_ports_fires_with_the_share_and_names_the_live_users() -> None:
    users = [socket(State.ESTABLISHED, f"10.0.0.1:{40090 + i}", REMOTE, inode=100 + i) for i in range(5)]
    [finding] = detect(window(*client(46), *users, namespaces=[narrow()], holders={100: [CLIENT]}))
    assert (finding.name, finding.severity, finding.count) == (
        "time_wait_buildup/client_ports",
        Severity.WARNING,
        46,
    )
    assert finding.subject.process == CLIENT
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:*", REMOTE)
    assert finding.oldest_seconds == 40.0
    assert finding.summary == "46% of the source ports towards 10.0.0.9:5432 are held by TIME_WAIT alone"
    assert {a.name: a.effect for a in finding.sysctls}["net.ipv4.tcp_fin_timeout"] is Effect.NONE
    expected = {"used": 51, "usable": 100, "time_wait": 46, "reusable": 0, "oldest_seconds_max": 40.0}
    assert finding.evidence == expected | {"confidence": "medium", "process_holds": 1}


@pytest.mark.parametrize(("count", "found"), [(49, 0), (50, 1)])
def test_client_ports_needs_half_of_the_budget(count: int, found: int) -> None:
    assert len(detect(window(*client(count), namespaces=[narrow()]))) == found


@pytest.mark.parametrize(("count", "found"), [(29, 0), (30, 1)])
def test_client_ports_needs_half_of_the_use(count: int, found: int) -> None:
    users = [socket(State.ESTABLISHED, f"10.0.0.1:{40099 - i}", REMOTE) for i in range(60 - count)]
    assert len(detect(window(*client(count), *users, namespaces=[narrow()]))) == found


@pytest.mark.parametrize(("age", "found"), [(29.9, 0), (30.0, 1)])
def test_a_burst_of_the_last_seconds_is_silent(age: float, found: int) -> None:
    assert len(detect(window(*client(60, age), namespaces=[narrow()]))) == found


@pytest.mark.parametrize(("count", "severity"), [(69, Severity.WARNING), (70, Severity.INFO)])
def test_it_is_info_as_soon_as_port_exhaustion_names_the_budget(count: int, severity: Severity) -> None:
    assert [f.severity for f in detect(window(*client(count), namespaces=[narrow()]))] == [severity]


def test_it_is_info_as_well_where_port_exhaustion_names_it_by_forecast() -> None:
    before = client(30, age=30.0)
    now = [*client(30, age=40.0), *client(25, age=5.0, start=30)]
    first = snapshot(*before, namespaces=[narrow()])
    seen = Window(current=later(snapshot(*now, namespaces=[narrow()]), 10.0), previous=first)
    assert [(f.variant, f.severity) for f in detect(seen)] == [("client_ports", Severity.INFO)]


def test_it_stays_a_warning_where_port_exhaustion_does_not_name_it() -> None:
    seen = window(*client(75), namespaces=[narrow()])
    for judges in ({}, {"port_exhaustion": BudgetSettings(used=0.9)}):
        assert [f.severity for f in detect(replace(seen, judges=judges))] == [Severity.WARNING]


def test_churn_on_loopback_is_silent_as_tcp_tw_reuse_gives_the_ports_back() -> None:
    rows = [waiting(f"127.0.0.1:{40000 + i}", "127.0.0.1:80") for i in range(100)]
    assert not detect(window(*rows, namespaces=[narrow()]))
    assert detect(window(*rows, namespaces=[narrow(tcp_tw_reuse="0")]))


def test_time_wait_over_many_destinations_is_silent() -> None:
    rows = [waiting(f"10.0.0.1:{40000 + i}", f"10.0.{j}.9:443") for j in range(30) for i in range(40)]
    assert not detect(window(*rows, namespaces=[narrow()]))


def test_a_range_that_cannot_be_read_is_no_verdict() -> None:
    assert not detect(window(*client(100), namespaces=[namespace(ip_local_port_range="")]))


# server_side


def test_server_side_is_harmless_and_names_the_listener() -> None:
    [finding] = detect(window(LISTENER, *server(2_000), holders={1: [SERVER]}))
    assert (finding.name, finding.severity) == ("time_wait_buildup/server_side", Severity.INFO)
    assert (finding.count, finding.subject.process) == (2_000, SERVER)
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:8080", None)
    assert finding.summary == "2,000 connections in TIME_WAIT on listening port 8080: harmless"
    assert finding.remedies == ("Nothing to do.",)


@pytest.mark.parametrize(("count", "found"), [(19, 0), (20, 1)])
def test_server_side_is_worth_a_word_from_20_on(count: int, found: int) -> None:
    assert len(detect(window(LISTENER, *server(count)))) == found


@pytest.mark.parametrize(("others", "found"), [(59, 1), (60, 0)])
def test_server_side_is_worth_a_word_from_a_quarter_of_all_on(others: int, found: int) -> None:
    assert len(detect(window(LISTENER, *server(20), *live(others)))) == found  # and the listener is one


@pytest.mark.parametrize(("age", "found"), [(29.9, 0), (30.0, 1)])
def test_server_side_is_silent_while_it_is_young(age: float, found: int) -> None:
    assert len(detect(window(LISTENER, *server(23, age)))) == found


def test_the_share_is_of_the_sockets_of_the_same_namespace() -> None:
    rows = [*(row | {"netns": 1} for row in [LISTENER, *server(20)]), *live(500)]
    found = detect(window(*rows, namespaces=[namespace(), namespace("web")]))
    assert [(f.subject.netns, f.variant, f.count) for f in found] == [("web", "server_side", 20)]


def test_only_the_listener_that_accepted_them_is_named() -> None:
    elsewhere = socket(State.LISTEN, "10.0.0.2:8080", inode=2)
    rows = [LISTENER | {"src_lo": server(1)[0]["src_lo"]}, elsewhere, *server(23)]
    [finding] = detect(window(*rows, holders={1: [SERVER], 2: [CLIENT]}))
    assert (finding.subject.process, finding.holders) == (SERVER, ())


def test_small_ports_do_not_add_up_to_one_that_is_worth_a_word() -> None:
    rows = [
        row for port in range(8000, 8060) for row in (socket(State.LISTEN, f"0.0.0.0:{port}"), *server(19, port=port))
    ]
    assert not detect(window(*rows))


def test_ipv6_and_v4_mapped_are_found() -> None:
    rows = [waiting("[::1]:8080", f"[::1]:{5000 + i}") for i in range(60)]
    [finding] = detect(window(socket(State.LISTEN, "[::]:8080"), *rows))
    assert (finding.variant, finding.subject.local) == ("server_side", "[::1]:8080")
    mapped = server(60, family=10)
    [finding] = detect(window(socket(State.LISTEN, "[::]:8080", inode=1), *mapped, holders={1: [SERVER]}))
    assert (finding.subject.local, finding.subject.process) == ("10.0.0.1:8080", SERVER)


# table_full


def full(in_table: int | None, limit: str, overflows: int | None = None) -> Namespace:
    counters = {"sockstat.TCP.tw": in_table, "TcpExt.TCPTimeWaitOverflow": overflows}
    known = {name: count for name, count in counters.items() if count is not None}
    return namespace(counters=known, tcp_max_tw_buckets=limit)


@pytest.mark.parametrize(("in_table", "found"), [(22, 0), (23, 1)])
def test_table_full_at_its_limit(in_table: int, found: int) -> None:
    seen = window(LISTENER, *server(19), namespaces=[full(in_table, "23", 1000)])
    assert len(detect(seen)) == found


def test_table_full_is_about_the_namespace() -> None:
    [finding] = detect(window(LISTENER, *server(19), namespaces=[full(2_300, "2300")]))
    assert (finding.name, finding.severity, finding.count) == ("time_wait_buildup/table_full", Severity.WARNING, 19)
    assert (finding.subject.local, finding.subject.remote, finding.subject.process) == (None, None, None)
    assert finding.summary == "The TIME_WAIT table is full: 2,300 of 2,300 used"
    assert finding.evidence == {"in_table": 2_300, "limit": 2_300, "oldest_seconds_max": 40.0}


def overflowing(then: int | None, now: int | None) -> list[Finding]:
    first = snapshot(LISTENER, *server(19), namespaces=[full(9, "23", then)])
    second = later(snapshot(LISTENER, *server(19), namespaces=[full(9, "23", now)]), 10.0)
    return detect(Window(current=second, previous=first))


def test_an_overflow_between_two_looks_is_told_with_its_number() -> None:
    [finding] = overflowing(5, 17)
    assert finding.evidence["overflowed"] == 12
    assert finding.summary.endswith("9 of 23 used, 12 found no place since the last look")


@pytest.mark.parametrize(("then", "now"), [(5, 5), (None, None), (None, 5), (5, None), (5, 3)])
def test_no_overflow_between_two_looks_is_silent(then: int | None, now: int | None) -> None:
    assert not overflowing(then, now)


@pytest.mark.parametrize(("in_table", "limit"), [(None, "23"), (23, ""), (None, "")])
def test_a_missing_limit_or_counter_is_no_verdict(in_table: int | None, limit: str) -> None:
    assert not detect(window(LISTENER, *server(19), namespaces=[full(in_table, limit)]))


def test_a_table_of_no_place_overflows_without_any_time_wait() -> None:
    first = snapshot(LISTENER, namespaces=[full(0, "0", 5)])
    second = later(snapshot(LISTENER, namespaces=[full(0, "0", 28)]), 10.0)
    assert not detect(Window(current=first))
    [finding] = detect(Window(current=second, previous=first))
    assert (finding.count, finding.subject.netns, finding.evidence["overflowed"]) == (0, "host", 23)


def test_a_table_full_of_orphans_is_full_as_well() -> None:
    rows = [socket(State.FIN_WAIT_2, "10.0.0.1:8080", f"10.0.0.7:{5000 + i}", timer=3) for i in range(23)]
    assert [f.variant for f in detect(window(LISTENER, *rows, namespaces=[full(23, "23")]))] == ["table_full"]


# bind_blocked


def test_bind_blocked_on_a_port_where_nothing_listens() -> None:
    [finding] = detect(window(*server(23)))
    assert (finding.name, finding.severity, finding.count) == ("time_wait_buildup/bind_blocked", Severity.INFO, 23)
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:8080", None)
    assert finding.summary == "23 connections in TIME_WAIT on port 8080, where nothing listens, can make bind() fail"
    assert finding.remedies[1] == "Or wait: the last of them ends in 20 s."


@pytest.mark.parametrize(("port", "found"), [(32767, 1), (32768, 0), (60999, 0), (61000, 1)])
def test_bind_blocked_is_about_ports_that_no_client_gets(port: int, found: int) -> None:
    assert len(detect(window(*server(3, port=port)))) == found


def test_a_reserved_port_inside_the_range_is_a_services() -> None:
    spaces = [namespace(ip_local_reserved_ports="40000")]
    assert [f.variant for f in detect(window(*server(3, port=40000), namespaces=spaces))] == ["bind_blocked"]


def test_a_port_with_a_listener_and_a_self_connect_are_not_blocked() -> None:
    itself = waiting("127.0.0.1:61081", "127.0.0.1:61081")
    assert not detect(window(LISTENER, *server(3), itself))


def test_a_listener_in_another_namespace_does_not_count() -> None:
    rows = [LISTENER | {"netns": 1}, *server(3)]
    found = detect(window(*rows, namespaces=[namespace(), namespace("web")]))
    assert [(f.variant, f.subject.netns) for f in found] == [("bind_blocked", "host")]


def test_other_states_on_the_port_are_none_of_it() -> None:
    assert not detect(window(socket(State.ESTABLISHED, "10.0.0.1:8080", "10.0.0.7:5")))


def test_live_users_of_budgets_and_listeners_with_many_are_suspects() -> None:
    user = socket(State.ESTABLISHED, "10.0.0.1:40099", REMOTE, inode=7)
    quiet = socket(State.LISTEN, "0.0.0.0:22", inode=2)
    seen = window(LISTENER, quiet, *server(60), *client(55), user, namespaces=[narrow()])
    assert set(DETECTOR.suspects(seen, DETECTOR.settings).inode.tolist()) == {0, 1, 7}


@pytest.mark.parametrize("remote", ["[fd01::1]:61081", "[fd00::2]:61081", "[fd00::1]:61082"])
def test_only_the_same_address_and_port_is_a_self_connect(remote: str) -> None:
    assert [f.variant for f in detect(window(waiting("[fd00::1]:61081", remote)))] == ["bind_blocked"]


def test_the_bound_port_of_a_client_blocks_no_service() -> None:
    assert not detect(window(waiting("10.0.0.1:871", "10.0.0.2:2049")))
