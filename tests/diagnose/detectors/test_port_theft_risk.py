from typing import Any

import pytest

from builders import later, namespace, process, snapshot, socket, window
from sockwatch.diagnose.detectors.port_theft_risk import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.snapshot import Namespace
from sockwatch.model.state import State

SERVER = process(812, "orders-api")
CLIENT = process(900, "poller")
TARGET = "127.0.0.1:40001"
FAILS = "Tcp.AttemptFails"


def listener(port: int, address: str = "127.0.0.1", **columns: Any) -> dict[str, Any]:
    return socket(State.LISTEN, f"{address}:{port}", **({"inode": 1} | columns))


def trying(number: int, target: str = TARGET, **columns: Any) -> dict[str, Any]:
    return socket(
        State.SYN_SENT, f"127.0.0.1:{41000 + number}", target, **({"inode": 100 + number, "retransmits": 1} | columns)
    )


def left(number: int, state: State = State.TIME_WAIT, target: str = TARGET) -> dict[str, Any]:
    return socket(state, f"127.0.0.1:{41000 + number}", target, inode=100 + number)


def refused(*rows: dict[str, Any], then: int | None = 5, now: int | None = 28) -> Window:
    """Two looks between which attempts to connect failed."""

    def counted(count: int | None) -> list[Namespace]:
        return [namespace(counters={} if count is None else {FAILS: count})]

    first = snapshot(*rows, namespaces=counted(then))
    return Window(current=later(snapshot(*rows, namespaces=counted(now)), 10.0), previous=first)


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_a_listener_in_the_range_is_info_with_the_command_to_reserve_it() -> None:
    reserved = namespace(ip_local_reserved_ports="50000")
    [finding] = detect(window(listener(40000), namespaces=[reserved], holders={1: [SERVER]}))
    assert (finding.name, finding.severity, finding.count) == ("port_theft_risk/listener", Severity.INFO, 1)
    assert (finding.subject.process, finding.subject.local) == (SERVER, "127.0.0.1:40000")
    assert finding.summary == "orders-api[812] listens on port 40000, which the kernel also gives to clients"
    assert "sysctl -w net.ipv4.ip_local_reserved_ports=40000,50000" in finding.remedies[0]


@pytest.mark.parametrize(("port", "found"), [(32767, 0), (32768, 1), (60999, 1), (61000, 0)])
def test_the_range_has_two_ends(port: int, found: int) -> None:
    assert len(detect(window(listener(port)))) == found


def test_a_listener_on_a_reserved_port_is_safe() -> None:
    assert not detect(window(listener(40000), namespaces=[namespace(ip_local_reserved_ports="39999-40001")]))


@pytest.mark.parametrize(
    ("port", "low", "who"),
    [(40000, 32768, "connect()"), (40001, 32768, "bind() to port 0"), (40001, 32769, "connect()")],
)
def test_the_parity_of_the_low_end_tells_who_takes_it_first(port: int, low: int, who: str) -> None:
    [finding] = detect(window(listener(port), namespaces=[namespace(ip_local_port_range=f"{low} 60999")]))
    assert finding.evidence["taken_first_by"] == who


def test_listeners_of_one_port_and_process_are_one_finding() -> None:
    rows = [listener(40000), listener(40000, "[::]"), listener(40002)]
    assert sorted(f.count for f in detect(window(*rows))) == [1, 2]


def test_clients_that_try_a_closed_port_are_a_warning_that_names_them() -> None:
    rows = [trying(i) for i in range(23)]
    [finding] = detect(window(*rows, holders={row["inode"]: [CLIENT] for row in rows}))
    assert (finding.name, finding.severity, finding.count) == ("port_theft_risk/target", Severity.WARNING, 23)
    assert (finding.subject.process, finding.subject.remote) == (CLIENT, TARGET)
    assert finding.summary.startswith("Clients on this host keep trying port 40001, where nothing listens")
    assert "ip_local_reserved_ports=40001" in finding.remedies[1]


def test_a_target_that_is_listened_on_is_no_target() -> None:
    assert [f.variant for f in detect(window(listener(40001), trying(0)))] == ["listener"]


@pytest.mark.parametrize("target", ["127.0.0.1:8080", "127.0.0.1:61000", "10.9.9.9:40001"])
def test_ports_outside_the_range_and_other_hosts_are_no_targets(target: str) -> None:
    assert not detect(window(trying(0, target)))


def test_a_reserved_target_is_safe() -> None:
    assert not detect(window(trying(0), namespaces=[namespace(ip_local_reserved_ports="40001")]))


def test_an_address_of_another_namespace_is_another_host() -> None:
    rows = [
        socket(State.SYN_SENT, "172.17.0.1:41000", "172.17.0.2:40001", retransmits=1),
        socket(State.ESTABLISHED, "172.17.0.2:22", "172.17.0.1:5", netns=1),
    ]
    assert not detect(window(*rows, namespaces=[namespace(), namespace("web")]))


def test_remains_of_connections_while_attempts_fail_are_a_guess() -> None:
    [finding] = detect(refused(*(left(i) for i in range(3))))
    assert (finding.variant, finding.severity) == ("target", Severity.INFO)
    assert finding.evidence == {"drawn_by": "bind() to port 0", "confidence": "low"}


@pytest.mark.parametrize(("then", "now"), [(5, 5), (None, 28), (5, None), (None, None)])
def test_remains_without_failed_attempts_are_silent(then: int | None, now: int | None) -> None:
    assert not detect(refused(*(left(i) for i in range(23)), then=then, now=now))


def test_two_remains_are_too_few_for_a_guess() -> None:
    assert not detect(refused(*(left(i) for i in range(2))))


def test_failed_attempts_without_clients_of_one_port_are_silent() -> None:
    assert not detect(refused(*(left(i, target=f"127.0.0.1:{42000 + i}") for i in range(23))))
    assert not detect(refused(left(0, target="10.0.0.9:40001")))


def test_connections_that_live_on_after_their_listener_closed_are_no_attempts() -> None:
    rows = [
        row
        for i in range(23)
        for row in (
            left(i, State.ESTABLISHED),
            socket(State.ESTABLISHED, TARGET, f"127.0.0.1:{41000 + i}", inode=500 + i),
        )
    ]
    assert not detect(refused(*rows))


def test_failed_attempts_of_another_namespace_do_not_count() -> None:
    def spaces(count: int) -> list[Namespace]:
        return [namespace(counters={FAILS: 5}), namespace("web", counters={FAILS: count})]

    rows = [left(i) for i in range(23)]
    first = snapshot(*rows, namespaces=spaces(5))
    second = later(snapshot(*rows, namespaces=spaces(28)), 10.0)
    assert not detect(Window(current=second, previous=first))


def test_ipv6_v4_mapped_and_namespaces() -> None:
    rows = [
        socket(State.SYN_SENT, "[::1]:41000", "[::1]:40001", retransmits=1),
        trying(1, family=10),
        trying(2, netns=1),
    ]
    found = detect(window(*rows, namespaces=[namespace(), namespace("web")]))
    assert {(f.subject.netns, f.subject.remote) for f in found} == {
        ("host", "[::1]:40001"),
        ("host", TARGET),
        ("web", TARGET),
    }


def test_many_listeners_of_two_namespaces_are_not_mixed() -> None:
    rows = [listener(40000 + i, netns=n, inode=i + 1) for n in (0, 1) for i in range(30)]
    found = detect(window(*rows, namespaces=[namespace(), namespace("web")]))
    assert all({row.netns for row in f.sockets} == {f.subject.netns} for f in found)
    assert sum(f.count for f in found) == 60


def test_an_unreadable_range_is_no_verdict() -> None:
    bare = namespace(ip_local_port_range="")
    assert not detect(window(listener(40000), trying(0), namespaces=[bare]))


def test_the_listeners_and_the_clients_are_suspects() -> None:
    seen = window(listener(40000), listener(80, inode=2), trying(0))
    assert sorted(DETECTOR.suspects(seen, DETECTOR.settings).inode.tolist()) == [1, 100]


def test_one_live_attempt_makes_the_remains_certain() -> None:
    [finding] = detect(refused(trying(0), *(left(i) for i in range(1, 4))))
    assert (finding.severity, finding.count) == (Severity.WARNING, 4)
    assert "confidence" not in finding.evidence


def test_an_attempt_that_is_only_under_way_may_reach_what_no_socket_shows() -> None:
    assert not detect(window(trying(0, retransmits=0)))
    assert not detect(refused(*(trying(i, retransmits=0) for i in range(23))))
    assert detect(window(trying(0, retransmits=1)))


def test_the_odds_are_told_for_a_port_that_connect_draws_and_with_two_looks_the_time() -> None:
    even = "127.0.0.1:40002"
    [one] = detect(window(trying(0, even)))
    assert one.evidence == {"drawn_by": "connect()", "tries_on_average": 14_116}
    assert one.cause.endswith("connect() draws ports of this parity first.")
    [two] = detect(refused(trying(0, even)))  # 23 failed in 10 s
    assert two.evidence["chance_within_an_hour"] == round(1 - (1 - 1 / 14_116) ** 8_280, 3)
    [odd] = detect(refused(trying(0)))
    assert odd.evidence == {"drawn_by": "bind() to port 0"}
    assert odd.cause.endswith("bind() to port 0 draws this one.")
