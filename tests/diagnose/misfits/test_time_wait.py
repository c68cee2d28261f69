from typing import Any

import pytest

from builders import later, namespace, snapshot, socket, window
from sockwatch.diagnose.detectors.sysctl_misfit import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.state import State

LISTENER = socket(State.LISTEN, "0.0.0.0:8080", inode=1)
RANGE = "40000 40099"
"""The narrow range is a misfit of its own; the tests are about the others."""
SOURCES = {"10.0.0.9": "10.0.0.1", "[2001:db8::9]": "[2001:db8::1]", "127.0.0.1": "127.0.0.1", "[::1]": "[::1]"}
"""The address from which each destination is reached."""


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def told(seen: Window, *, but: str = "net.ipv4.ip_local_port_range") -> dict[str, tuple[str, Effect]]:
    """Each sysctl of the finding, with its value and what changing it would do."""
    return {a.name: (a.value, a.effect) for f in detect(seen) for a in f.sysctls if a.name != but}


def accepted(count: int) -> list[dict[str, Any]]:
    return [socket(State.TIME_WAIT, "10.0.0.1:8080", f"10.0.0.7:{5000 + i}", expires_ms=30_000) for i in range(count)]


def client(count: int, state: State = State.TIME_WAIT, address: str = "10.0.0.9") -> list[dict[str, Any]]:
    source = SOURCES[address]
    return [socket(state, f"{source}:{40000 + i}", f"{address}:5432", expires_ms=30_000) for i in range(count)]


def host(*rows: dict[str, Any], **sysctls: str) -> Window:
    return window(LISTENER, *rows, namespaces=[namespace(counters=None, **{"ip_local_port_range": RANGE, **sysctls})])


def test_tw_reuse_does_nothing_for_a_server() -> None:
    [finding] = detect(host(*accepted(23), tcp_tw_reuse="1"))
    assert (finding.severity, finding.count) == (Severity.INFO, 23)
    assert finding.summary == "Sysctl tcp_tw_reuse=1 does nothing for 23 sockets in TIME_WAIT on listening ports"
    assert [(a.name, a.value, a.effect) for a in finding.sysctls] == [("net.ipv4.tcp_tw_reuse", "1", Effect.NONE)]


@pytest.mark.parametrize(("count", "found"), [(19, False), (20, True)])
def test_a_few_in_time_wait_are_no_reason_to_speak(count: int, found: int) -> None:
    assert bool(told(host(*accepted(count), tcp_tw_reuse="1"))) == found


def test_tw_reuse_is_of_use_where_one_client_port_waits() -> None:
    assert not told(host(*accepted(23), *client(1), tcp_tw_reuse="1"))


def test_tw_reuse_needs_timestamps() -> None:
    found = told(host(*client(23), tcp_tw_reuse="1", tcp_timestamps="0"))
    assert found == {"net.ipv4.tcp_tw_reuse": ("1", Effect.NONE), "net.ipv4.tcp_timestamps": ("0", Effect.NONE)}
    assert told(host(*client(20), *accepted(5), tcp_tw_reuse="1", tcp_timestamps="0"))
    assert not told(host(*client(19), *accepted(5), tcp_tw_reuse="1", tcp_timestamps="0"))
    assert not told(host(*client(23), tcp_tw_reuse="1", tcp_timestamps="1"))


@pytest.mark.parametrize("address", ["10.0.0.9", "[2001:db8::9]"])
def test_tw_reuse_off_keeps_the_ports_of_a_client(address: str) -> None:
    found = told(host(*client(50, address=address), tcp_tw_reuse="0"))
    assert found == {"net.ipv4.tcp_tw_reuse": ("0", Effect.HELPS)}


@pytest.mark.parametrize(("waiting", "found"), [(24, 0), (25, 1)])
def test_time_wait_must_hold_half_of_what_is_used(waiting: int, found: int) -> None:
    rows = client(50, State.ESTABLISHED)[waiting:] + client(waiting)
    assert bool(told(host(*rows, tcp_tw_reuse="0"))) == found


def test_tw_reuse_off_is_not_to_blame_for_live_connections_or_half_a_budget() -> None:
    assert not told(host(*client(50, State.ESTABLISHED), tcp_tw_reuse="0"))
    assert not told(host(*client(49), tcp_tw_reuse="0"))
    assert not told(host(*client(50), tcp_tw_reuse="2"))


def test_a_delay_without_timestamps_does_nothing() -> None:
    found = told(host(*client(50), tcp_tw_reuse="1", tcp_tw_reuse_delay="50000", tcp_timestamps="0"))
    assert found["net.ipv4.tcp_tw_reuse_delay"] == ("50000", Effect.NONE)
    assert told(host(*client(50), tcp_tw_reuse="1", tcp_tw_reuse_delay="50000", tcp_timestamps="1")) == {
        "net.ipv4.tcp_tw_reuse_delay": ("50000", Effect.HELPS)
    }


def test_a_long_delay_says_how_long() -> None:
    [finding] = detect(host(*client(60, address="127.0.0.1"), tcp_tw_reuse_delay="40500"))
    assert "tcp_tw_reuse_delay=40500 keeps 60 source ports in TIME_WAIT for 40.5 s" in finding.summary


def test_a_delay_without_reuse_does_nothing() -> None:
    found = told(host(*client(50), tcp_tw_reuse_delay="5000"))
    assert found == {"net.ipv4.tcp_tw_reuse_delay": ("5000", Effect.NONE)}
    assert not told(host(*client(50), tcp_tw_reuse_delay="1000"))
    assert not told(host(*client(5), tcp_tw_reuse_delay="5000"))


@pytest.mark.parametrize(("delay", "found"), [("40000", True), ("500", False)])
@pytest.mark.parametrize("rows", [client(60, address="127.0.0.1"), client(60, address="[::1]")], ids=["ipv4", "ipv6"])
def test_a_long_delay_keeps_ports_that_would_be_reused(rows: list[dict[str, Any]], delay: str, found: int) -> None:
    expected = {"net.ipv4.tcp_tw_reuse_delay": (delay, Effect.HELPS)} if found else {}
    assert told(host(*rows, tcp_tw_reuse_delay=delay)) == expected


@pytest.mark.parametrize(
    ("limit", "in_table", "found"),
    [("1000", 1000, True), ("1000", 999, False), ("131071", 131071, True), ("131072", 131072, False)],
)
def test_a_lowered_table_that_is_full(limit: str, in_table: int, found: int) -> None:
    counters = {"sockstat.TCP.tw": in_table}
    spaces = [namespace(counters=counters, tcp_max_tw_buckets=limit, tcp_ehash_entries="-262144")]
    expected = {"net.ipv4.tcp_max_tw_buckets": (limit, Effect.HELPS)} if found else {}
    assert told(window(LISTENER, namespaces=spaces)) == expected


def test_a_lowered_table_that_overflowed_since_the_last_look() -> None:
    looks = [
        snapshot(
            namespaces=[
                namespace(
                    counters={"TcpExt.TCPTimeWaitOverflow": overflow, "sockstat.TCP.tw": 9},
                    tcp_max_tw_buckets="1000",
                    tcp_ehash_entries="262144",
                )
            ]
        )
        for overflow in (7, 7, 8)
    ]
    assert not told(Window(current=later(looks[1], 5), previous=looks[0]))
    assert told(Window(current=later(looks[2], 5), previous=looks[1]))


def test_where_the_kernel_does_not_say_its_default_a_low_limit_may_be_it() -> None:
    spaces = [namespace(counters={"sockstat.TCP.tw": 1000}, tcp_max_tw_buckets="1000")]
    assert not told(window(LISTENER, namespaces=spaces))


def test_rfc1337_holds_ports_that_a_reset_would_free() -> None:
    assert told(host(*client(50), tcp_rfc1337="1")) == {"net.ipv4.tcp_rfc1337": ("1", Effect.LIMITS)}
    assert not told(host(*client(49), tcp_rfc1337="1"))
    assert not told(host(*accepted(50), tcp_rfc1337="1"))
    assert not told(host(*client(50), tcp_rfc1337="0"))
