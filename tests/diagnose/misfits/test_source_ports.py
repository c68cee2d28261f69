from typing import Any

import pytest

from builders import namespace, socket, window
from sockwatch.diagnose.detectors.sysctl_misfit import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding
from sockwatch.model.state import State

RANGE = "net.ipv4.ip_local_port_range"
RESERVED = "net.ipv4.ip_local_reserved_ports"


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def clients(count: int, first: int = 40000) -> list[dict[str, Any]]:
    return [socket(State.ESTABLISHED, f"10.0.0.1:{first + i}", "10.0.0.9:5432") for i in range(count)]


def listeners(*endpoints: str) -> list[dict[str, Any]]:
    return [socket(State.LISTEN, endpoint, inode=1 + i) for i, endpoint in enumerate(endpoints)]


def host(*rows: dict[str, Any], **sysctls: str) -> Window:
    return window(*rows, namespaces=[namespace(counters=None, **sysctls)])


def told(seen: Window) -> list[tuple[str, Effect, int]]:
    return [(a.name, a.effect, f.count) for f in detect(seen) for a in f.sysctls]


@pytest.mark.parametrize(("high", "found"), [("61000", 1), ("61001", 0)])
def test_an_odd_number_of_ports_where_they_are_needed(high: str, found: int) -> None:
    seen = host(*clients(14_200, 32768), ip_local_port_range=f"32768 {high}")
    assert told(seen) == [(RANGE, Effect.HELPS, 14_200)] * found


def test_an_odd_number_of_ports_says_how_to_make_it_even() -> None:
    [finding] = detect(host(*clients(14_200, 32768), ip_local_port_range="32768 61000"))
    assert finding.remedies == ("Move one end by one: sysctl -w net.ipv4.ip_local_port_range='32768 60999'.",)


@pytest.mark.parametrize("low", [32769, 32770])
def test_a_range_a_little_narrower_than_the_default_is_narrow_odd_or_not(low: int) -> None:
    [finding] = detect(host(*clients(14_200, 33_000), ip_local_port_range=f"{low} 60999"))
    assert f"ip_local_port_range has {60999 - low + 1:,} ports" in finding.summary
    assert "28,232 ports" in finding.cause


def test_a_range_that_was_only_moved_is_not_narrow() -> None:
    assert not told(host(*clients(14_200, 30_000), ip_local_port_range="30000 58231"))


def test_an_odd_number_of_ports_that_nobody_needs_is_silent() -> None:
    assert not told(host(*clients(7_000, 32768), ip_local_port_range="32768 61000"))


@pytest.mark.parametrize("endpoint", ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080"])
def test_a_range_that_was_widened_over_a_service(endpoint: str) -> None:
    [finding] = detect(host(*listeners(endpoint, "0.0.0.0:443"), ip_local_port_range="1024 65535"))
    assert [(a.name, a.effect) for a in finding.sysctls] == [(RANGE, Effect.HELPS)]
    assert finding.count == 1
    assert finding.summary == "Sysctl ip_local_port_range was widened over port 8080, where services listen"
    assert finding.remedies[0].endswith("sysctl -w net.ipv4.ip_local_reserved_ports=8080.")


def test_many_ports_are_not_all_named() -> None:
    rows = listeners(*(f"0.0.0.0:{port}" for port in range(8001, 8008)))
    [finding] = detect(host(*rows, ip_local_port_range="1024 65535"))
    assert "over ports 8001, 8002, 8003, 8004, 8005 and 2 more, where" in finding.summary
    assert finding.count == 7


@pytest.mark.parametrize(("port", "found"), [(32767, 1), (32768, 0), (60999, 0), (61000, 1)])
def test_what_was_in_the_default_range_was_covered_before(port: int, found: int) -> None:
    assert len(told(host(*listeners(f"0.0.0.0:{port}"), ip_local_port_range="1024 65535"))) == found


def test_five_ports_are_all_named() -> None:
    rows = listeners(*(f"0.0.0.0:{port}" for port in range(8001, 8006)))
    [finding] = detect(host(*rows, ip_local_port_range="1024 65535"))
    assert "over ports 8001, 8002, 8003, 8004, 8005, where services listen" in finding.summary


def test_what_listens_in_the_default_range_or_is_reserved_is_not_the_fault_of_widening_it() -> None:
    assert not told(host(*listeners("0.0.0.0:40000"), ip_local_port_range="1024 65535"))
    reserved = {"ip_local_port_range": "1024 65535", "ip_local_reserved_ports": "8080"}
    assert not told(host(*listeners("0.0.0.0:8080"), **reserved))
    assert not told(host(*listeners("0.0.0.0:40000", "0.0.0.0:8080")))


def test_reserving_ports_outside_the_range_protects_nobody() -> None:
    [finding] = detect(host(*listeners("0.0.0.0:8080", "[::]:40000"), ip_local_reserved_ports="8080,9000-9010"))
    assert [(a.name, a.value, a.effect) for a in finding.sysctls] == [(RESERVED, "8080,9000-9010", Effect.NONE)]
    assert finding.count == 1
    assert "the kernel chooses from 32768 to 60999 only" in finding.cause
    assert finding.remedies[0].endswith("net.ipv4.ip_local_reserved_ports=8080,9000-9010,40000.")


@pytest.mark.parametrize(("port", "found"), [(32767, 0), (32768, 1), (60999, 1), (61000, 0)])
def test_both_ends_of_the_range_are_exposed(port: int, found: int) -> None:
    assert len(told(host(*listeners(f"0.0.0.0:{port}"), ip_local_reserved_ports="9000"))) == found


@pytest.mark.parametrize(("reserved", "found"), [("32767", 1), ("32768", 0), ("60999", 0), ("61000", 1)])
def test_a_port_reserved_at_either_end_of_the_range_is_inside(reserved: str, found: int) -> None:
    assert len(told(host(*listeners("0.0.0.0:40000"), ip_local_reserved_ports=reserved))) == found


def test_reserving_more_than_is_needed_is_a_choice() -> None:
    assert not told(host(*listeners("0.0.0.0:8080"), ip_local_reserved_ports="8080"))
    assert not told(host(*listeners("0.0.0.0:40000"), ip_local_reserved_ports="8080,40000"))


@pytest.mark.parametrize(("reserved", "found"), [("40090-40099", 1), ("40091-40099", 0)])
def test_a_tenth_of_the_range_is_much_to_reserve_where_ports_are_short(reserved: str, found: int) -> None:
    seen = host(*clients(60), ip_local_port_range="40000 40099", ip_local_reserved_ports=reserved)
    assert [entry[:2] for entry in told(seen) if entry[0] == RESERVED] == [(RESERVED, Effect.LIMITS)] * found


def test_reserving_much_says_how_much() -> None:
    seen = host(*clients(60), ip_local_port_range="40000 40099", ip_local_reserved_ports="40080-40099")
    assert "ip_local_reserved_ports takes 20 of the 100 ports of ip_local_port_range" in detect(seen)[0].summary


def test_reserving_much_is_harmless_where_ports_are_not_short() -> None:
    assert not told(host(*clients(6), ip_local_reserved_ports="50000-59999"))


@pytest.mark.parametrize("value", ["", "none", "1", "70000 80000"])
def test_what_is_no_range_is_no_misfit(value: str) -> None:
    assert not told(host(*listeners("0.0.0.0:8080"), ip_local_port_range=value, ip_local_reserved_ports="9000"))
