from typing import Any

import pytest

from builders import namespace, socket, window
from sockwatch.diagnose.detectors.sysctl_misfit import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding
from sockwatch.model.state import State, Timer

TIME, INTERVAL, PROBES = (f"net.ipv4.tcp_keepalive_{part}" for part in ("time", "intvl", "probes"))


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def told(seen: Window) -> dict[str, tuple[str, Effect]]:
    return {a.name: (a.value, a.effect) for f in detect(seen) for a in f.sysctls}


def connections(count: int, state: State = State.ESTABLISHED, **columns: Any) -> list[dict[str, Any]]:
    rows = (("10.0.0.1:80", "10.0.0.7"), ("[2001:db8::1]:80", "[2001:db8::7]"))
    return [
        socket(state, rows[i % 2][0], f"{rows[i % 2][1]}:{1024 + i}", **({"inode": 7} | columns)) for i in range(count)
    ]


def repeating(count: int, state: State, **columns: Any) -> list[dict[str, Any]]:
    return connections(count, state, **({"timer": Timer.RETRANSMIT, "retransmits": 3} | columns))


def host(*rows: dict[str, Any], counters: dict[str, int] | None = None, **sysctls: str) -> Window:
    return window(*rows, namespaces=[namespace(counters=counters, **sysctls)])


def test_keepalive_sysctls_do_nothing_where_nobody_has_keepalive() -> None:
    [finding] = detect(host(*connections(23), tcp_keepalive_time="60", tcp_keepalive_intvl="10"))
    assert [(a.name, a.value, a.effect) for a in finding.sysctls] == [
        (TIME, "60", Effect.NONE),
        (INTERVAL, "10", Effect.NONE),
    ]
    expected = (
        "Sysctl tcp_keepalive_time=60, tcp_keepalive_intvl=10 does nothing for 23 idle connections without keepalive"
    )
    assert (finding.summary, finding.count) == (expected, 23)


@pytest.mark.parametrize("name", [TIME, INTERVAL, PROBES])
def test_each_of_them_is_noticed(name: str) -> None:
    assert told(host(*connections(20), counters=None, **{name.rpartition(".")[2]: "3"})) == {name: ("3", Effect.NONE)}


def test_they_are_of_use_to_one_connection_with_keepalive() -> None:
    assert not told(host(*connections(23), *connections(1, timer=Timer.KEEPALIVE), tcp_keepalive_time="60"))
    orphan = connections(1, State.FIN_WAIT_2, timer=Timer.KEEPALIVE, inode=0)
    assert told(host(*connections(23), *orphan, tcp_keepalive_time="60"))


def test_half_closed_and_unaccepted_connections_are_not_what_keepalive_is_for() -> None:
    assert not told(host(*connections(23, State.CLOSE_WAIT), tcp_keepalive_time="60"))
    assert not told(host(*connections(23, inode=0), tcp_keepalive_time="60"))
    assert told(host(*connections(20, inode=1), *connections(3, inode=0), tcp_keepalive_time="60"))


def test_few_connections_busy_ones_and_untouched_sysctls_are_silent() -> None:
    assert not told(host(*connections(19), tcp_keepalive_time="60"))
    assert not told(host(*connections(23, timer=Timer.RETRANSMIT), tcp_keepalive_time="60"))
    assert not told(host(*connections(23), tcp_keepalive_time="7200"))


@pytest.mark.parametrize(("retries", "found"), [("7", True), ("8", False), ("15", False)])
def test_few_retries_give_up_what_is_being_repeated(retries: str, found: int) -> None:
    seen = host(*repeating(20, State.ESTABLISHED), tcp_retries2=retries)
    assert told(seen) == ({"net.ipv4.tcp_retries2": (retries, Effect.HELPS)} if found else {})


def test_few_retries_hurt_nobody_who_repeats_nothing() -> None:
    assert not told(host(*repeating(19, State.ESTABLISHED), tcp_retries2="3"))
    assert not told(host(*repeating(23, State.ESTABLISHED, retransmits=0), tcp_retries2="3"))
    assert told(host(*repeating(20, State.ESTABLISHED, retransmits=1), tcp_retries2="3"))
    assert not told(host(*repeating(23, State.ESTABLISHED, timer=Timer.PROBE), tcp_retries2="3"))


def test_retries2_is_not_for_closed_sockets() -> None:
    closed = repeating(23, State.FIN_WAIT_1, inode=0)
    assert told(host(*closed, tcp_retries2="5")) == {"net.ipv4.tcp_retries2": ("5", Effect.NONE)}
    assert told(host(*closed[:20], tcp_retries2="5"))
    assert not told(host(*closed[:19], tcp_retries2="5"))
    assert not told(host(*closed, *repeating(1, State.ESTABLISHED), tcp_retries2="5"))


@pytest.mark.parametrize(("retransmits", "found"), [(15, False), (16, True)])
def test_more_retries_keep_what_the_default_had_given_up(retransmits: int, found: int) -> None:
    seen = host(*repeating(1, State.ESTABLISHED, retransmits=retransmits), tcp_retries2="20")
    assert told(seen) == ({"net.ipv4.tcp_retries2": ("20", Effect.HELPS)} if found else {})


@pytest.mark.parametrize("state", [State.FIN_WAIT_1, State.LAST_ACK, State.CLOSING])
def test_more_orphan_retries_keep_what_has_no_answer(state: State) -> None:
    closed = repeating(20, state, inode=0, send_q=1)
    assert told(host(*closed, tcp_orphan_retries="9")) == {"net.ipv4.tcp_orphan_retries": ("9", Effect.HELPS)}
    assert not told(host(*closed[:19], tcp_orphan_retries="9"))
    assert not told(host(*closed, tcp_orphan_retries="8"))
    assert not told(host(*closed, tcp_orphan_retries="0"))


def test_few_orphan_retries_lose_what_was_not_sent() -> None:
    found = told(host(*repeating(20, State.FIN_WAIT_1, inode=0, send_q=2), tcp_orphan_retries="1"))
    assert found == {"net.ipv4.tcp_orphan_retries": ("1", Effect.HELPS)}
    assert not told(host(*repeating(23, State.FIN_WAIT_1, inode=0, send_q=1), tcp_orphan_retries="1"))
    assert not told(host(*repeating(23, State.FIN_WAIT_1, inode=7, send_q=2), tcp_orphan_retries="1"))


@pytest.mark.parametrize(("orphans", "found"), [(500, False), (501, True)])
def test_a_lowered_limit_of_orphans_that_is_half_reached(orphans: int, found: int) -> None:
    sysctls = {"tcp_max_orphans": "1000", "tcp_ehash_entries": "262144"}
    rows = [*repeating(3, State.LAST_ACK, inode=0), *repeating(2, State.FIN_WAIT_1)]
    findings = detect(host(*rows, counters={"sockstat.TCP.orphan": orphans}, **sysctls))
    assert [(f.count, f.sysctls[0].effect) for f in findings] == [(3, Effect.HELPS)] * found


def test_the_limit_that_the_kernel_chose_was_not_lowered() -> None:
    many = {"sockstat.TCP.orphan": 130_000}
    assert not told(host(counters=many, tcp_max_orphans="131072", tcp_ehash_entries="262144"))
    assert told(host(counters=many, tcp_max_orphans="131071", tcp_ehash_entries="262144"))
    assert not told(host(counters=many, tcp_max_orphans="1000"))
    assert not told(host(tcp_max_orphans="1000", tcp_ehash_entries="262144"))
