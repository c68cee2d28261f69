from typing import Any

import pytest

from builders import namespace, socket, window
from sockwatch.diagnose.detectors.sysctl_misfit import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding
from sockwatch.model.state import State


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def told(seen: Window) -> dict[str, tuple[str, Effect]]:
    return {a.name: (a.value, a.effect) for f in detect(seen) for a in f.sysctls}


def listener(queued: int, backlog: int, endpoint: str = "0.0.0.0:80") -> dict[str, Any]:
    return socket(State.LISTEN, endpoint, inode=1, recv_q=queued, send_q=backlog)


def half_open(count: int, local: str = "10.0.0.1:80") -> list[dict[str, Any]]:
    remote = "[2001:db8::7]" if "[" in local else "10.0.0.7"
    return [socket(State.SYN_RECV, local, f"{remote}:{1024 + i}", timer=1) for i in range(count)]


def host(*rows: dict[str, Any], **sysctls: str) -> Window:
    return window(*rows, namespaces=[namespace(counters=None, **sysctls)])


@pytest.mark.parametrize("endpoint", ["0.0.0.0:80", "[::]:80"])
def test_somaxconn_lowered_cuts_the_queue(endpoint: str) -> None:
    [finding] = detect(host(listener(23, 22, endpoint), somaxconn="22"))
    assert [(a.name, a.value, a.effect) for a in finding.sysctls] == [("net.core.somaxconn", "22", Effect.HELPS)]
    assert finding.summary == "Sysctl somaxconn=22 cuts the accept queue of 1 overflowing listener"
    assert finding.count == 1


def test_somaxconn_lowered_is_not_to_blame_for_another_limit_or_an_empty_queue() -> None:
    assert not told(host(listener(6, 5), somaxconn="22"))
    assert not told(host(listener(22, 22), somaxconn="22"))


@pytest.mark.parametrize("value", ["128", "4096"])
def test_a_default_of_any_kernel_was_not_lowered(value: str) -> None:
    assert not told(host(listener(int(value) + 1, int(value)), somaxconn=value))


def test_somaxconn_raised_does_nothing_for_a_small_backlog() -> None:
    [finding] = detect(host(listener(6, 5), listener(0, 511, "0.0.0.0:81"), somaxconn="65535"))
    assert [(a.value, a.effect) for a in finding.sysctls] == [("65535", Effect.NONE)]
    assert finding.summary == "Sysctl somaxconn=65535 does nothing for 1 overflowing listener with a backlog of 5"


def test_somaxconn_raised_and_filled_did_what_it_could() -> None:
    assert not told(host(listener(65536, 65535), somaxconn="65535"))
    assert not told(host(listener(5, 5), somaxconn="65535"))


def test_abort_on_overflow_hurts_while_a_queue_is_full() -> None:
    assert told(host(listener(6, 5), tcp_abort_on_overflow="1")) == {
        "net.ipv4.tcp_abort_on_overflow": ("1", Effect.HELPS)
    }
    assert not told(host(listener(5, 5), tcp_abort_on_overflow="1"))
    assert not told(host(listener(6, 5), tcp_abort_on_overflow="0"))


@pytest.mark.parametrize("local", ["10.0.0.1:80", "[2001:db8::1]:80"])
def test_a_raised_syn_backlog_does_nothing_with_syncookies(local: str) -> None:
    sysctls = {"tcp_max_syn_backlog": "65536", "tcp_ehash_entries": "262144", "tcp_syncookies": "1"}
    found = told(host(listener(0, 8), *half_open(9, local), **sysctls))
    assert found == {
        "net.ipv4.tcp_max_syn_backlog": ("65536", Effect.NONE),
        "net.ipv4.tcp_syncookies": ("1", Effect.NONE),
    }
    assert not told(host(listener(0, 8), *half_open(8, local), **sysctls))
    assert not told(host(listener(0, 8), *half_open(9, local), **sysctls | {"tcp_max_syn_backlog": "2048"}))


@pytest.mark.parametrize(("value", "found"), [("100", 0), ("128", 0), ("129", 1)])
def test_on_a_small_machine_128_is_the_default(value: str, found: int) -> None:
    sysctls = {"tcp_max_syn_backlog": value, "tcp_ehash_entries": "8192", "tcp_syncookies": "1"}
    assert bool(told(host(listener(0, 8), *half_open(9), **sysctls))) == found


@pytest.mark.parametrize(("count", "found"), [(6, False), (7, True)])
def test_a_lowered_syn_backlog_without_syncookies_counts_three_quarters(count: int, found: int) -> None:
    sysctls = {"tcp_max_syn_backlog": "8", "tcp_ehash_entries": "262144", "tcp_syncookies": "0"}
    names = told(host(listener(0, 511), *half_open(count), **sysctls))
    assert ("net.ipv4.tcp_max_syn_backlog" in names) == found


def test_the_default_syn_backlog_is_not_to_blame_for_missing_syncookies() -> None:
    sysctls = {"tcp_max_syn_backlog": "128", "tcp_ehash_entries": "8192", "tcp_syncookies": "0"}
    assert not told(host(listener(0, 511), *half_open(97), **sysctls))


def test_without_syncookies_a_full_queue_of_handshakes_turns_clients_away() -> None:
    found = told(host(listener(0, 8), *half_open(9), tcp_syncookies="0"))
    assert found == {"net.ipv4.tcp_syncookies": ("0", Effect.HELPS)}
    assert not told(host(listener(0, 8), *half_open(8), tcp_syncookies="0"))
    assert not told(host(listener(0, 8), *half_open(9), tcp_syncookies="1"))


def test_ends_that_open_at_the_same_time_are_no_requests() -> None:
    crossed = [row | {"inode": 9} for row in half_open(9)]
    assert not told(host(listener(0, 8), *crossed, tcp_syncookies="0"))


def test_a_raised_syn_backlog_says_nothing_where_syncookies_cannot_be_read() -> None:
    sysctls = {"tcp_max_syn_backlog": "65536", "tcp_ehash_entries": "262144"}
    assert not told(host(listener(0, 8), *half_open(9), **sysctls))
