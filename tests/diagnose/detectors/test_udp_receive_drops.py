from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from builders import later, namespace, process, snapshot, socket, table
from sockwatch.diagnose.detectors.udp_receive_drops import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Process, Snapshot
from sockwatch.model.state import State

RESOLVER = process(53, "resolver")
LOGGER = process(514, "logger")
AF_INET6 = 10


def udp(local: str = "10.0.0.1:53", remote: str = "0.0.0.0:0", **columns: Any) -> dict[str, Any]:
    """A socket with an empty buffer of 8192 bytes that never dropped anything."""
    state = State.CLOSE if remote.endswith(":0") else State.ESTABLISHED
    memory = {"skmem_rmem_alloc": 0.0, "skmem_rcvbuf": 8192.0, "skmem_drops": 0.0}
    return socket(state, local, remote, **(memory | columns))


def full(local: str = "10.0.0.1:53", remote: str = "0.0.0.0:0", **columns: Any) -> dict[str, Any]:
    return udp(local, remote, **({"skmem_rmem_alloc": 7488.0, "skmem_drops": 14.0} | columns))


def look(
    *rows: dict[str, Any], errors: int | None = None, holders: Mapping[int, Sequence[Process]] | None = None
) -> Snapshot:
    counters = {} if errors is None else {"Udp.RcvbufErrors": errors}
    return replace(snapshot(namespaces=[namespace(counters=counters)], holders=holders), udp=table(rows))


def detect(now: Snapshot, before: Snapshot | None = None) -> list[Finding]:
    seen = Window(current=now) if before is None else Window(current=later(now, 10), previous=before)
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def dropping(count: float, **columns: Any) -> tuple[Snapshot, Snapshot]:
    """Now and before: so many datagrams dropped in between, and the buffer empty again."""
    return look(udp(cookie=7, skmem_drops=1000 + count, **columns)), look(udp(cookie=7, skmem_drops=1000.0, **columns))


def test_a_full_buffer_that_drops_names_the_process() -> None:
    [finding] = detect(look(full(inode=9), holders={9: [RESOLVER]}))
    assert (finding.name, finding.severity, finding.count) == ("udp_receive_drops", Severity.WARNING, 1)
    assert (finding.subject.process, finding.subject.local, finding.subject.remote) == (RESOLVER, "10.0.0.1:53", None)
    assert finding.evidence == {"buffer_used_bytes": 7488, "buffer_bytes": 8192, "dropped_since_opened": 14}
    assert finding.summary == "resolver[53] loses datagrams on 10.0.0.1:53: its receive buffer is full"
    assert [row.state for row in finding.sockets] == [State.CLOSE]


def test_the_advice_has_the_sysctls_of_the_namespace() -> None:
    now = look(full())
    host = replace(now.namespaces[0], sysctls={"net.core.rmem_max": "212992", "net.ipv4.udp_mem": "1 2 3"})
    [finding] = detect(replace(now, namespaces=(host,)))
    effects = {a.name: a.effect for a in finding.sysctls}
    assert effects == {"net.core.rmem_max": Effect.HELPS, "net.ipv4.udp_mem": Effect.NONE}


@pytest.mark.parametrize(("used", "found"), [(5888.0, 0), (5889.0, 1), (8192.0, 1), (9000.0, 1)])
def test_full_is_where_no_further_packet_fits(used: float, found: int) -> None:
    assert len(detect(look(full(skmem_rmem_alloc=used)))) == found


def test_a_full_buffer_that_never_dropped_is_a_queue() -> None:
    assert not detect(look(full(skmem_drops=0.0)))


def test_drops_since_boot_are_no_finding() -> None:
    assert not detect(look(udp(skmem_drops=1e9)))


def test_an_empty_buffer_is_not_full_however_small_it_is() -> None:
    assert not detect(look(full(skmem_rmem_alloc=0.0, skmem_rcvbuf=2304.0)))


@pytest.mark.parametrize(("count", "found"), [(9, 0), (10, 1)])
def test_two_looks_give_the_drops_of_each_socket(count: int, found: int) -> None:
    findings = detect(*dropping(count))
    assert [f.evidence["dropped"] for f in findings] == [10] * found
    assert all(f.summary.endswith("on 10.0.0.1:53: 10 dropped since the last look") for f in findings)


def test_a_full_buffer_tells_a_single_drop_as_well() -> None:
    before, now = look(full(cookie=7)), look(full(cookie=7, skmem_drops=15.0))
    assert detect(now, before)[0].summary.endswith("its receive buffer is full, 1 dropped since the last look")


def test_clears_when_the_process_reads_again() -> None:
    before = look(full(cookie=7))
    assert detect(before)
    assert not detect(look(udp(cookie=7, skmem_drops=14.0)), before)


def test_another_socket_on_the_port_is_not_compared_with_the_old_one() -> None:
    assert not detect(look(udp(cookie=8, skmem_drops=500.0)), look(udp(cookie=7, skmem_drops=0.0)))


@pytest.mark.parametrize(("family", "found"), [(2, 0), (AF_INET6, 1)])
def test_drops_of_ipv4_for_another_reason_than_a_full_buffer_do_not_count(family: int, found: int) -> None:
    now, before = dropping(23, family=family)
    still = namespace(counters={"Udp.RcvbufErrors": 5})
    assert len(detect(replace(now, namespaces=(still,)), replace(before, namespaces=(still,)))) == found
    grown = namespace(counters={"Udp.RcvbufErrors": 28})
    assert len(detect(replace(now, namespaces=(grown,)), replace(before, namespaces=(still,)))) == 1


@pytest.mark.parametrize("missing", ["skmem_drops", "skmem_rmem_alloc", "skmem_rcvbuf"])
def test_what_the_kernel_does_not_say_is_no_verdict(missing: str) -> None:
    assert not detect(look(full() | {missing: float("nan")}))


def test_sockets_on_one_address_and_port_are_one_finding_with_every_holder() -> None:
    rows = [full(inode=1), full(inode=2), full("10.0.0.1:514", inode=3)]
    found = detect(look(*rows, holders={1: [RESOLVER], 2: [LOGGER], 3: [LOGGER]}))
    assert [(f.subject.local, f.count, f.subject.process) for f in found] == [
        ("10.0.0.1:53", 2, RESOLVER),
        ("10.0.0.1:514", 1, LOGGER),
    ]
    assert found[0].holders == (RESOLVER, LOGGER)
    assert found[0].summary.endswith("2 receive buffers are full")


def test_connected_sockets_are_grouped_by_process_and_remote_end() -> None:
    rows = [full(f"10.0.0.1:{40000 + i}", "10.0.0.9:53", inode=1 + i) for i in range(3)]
    found = detect(look(*rows, holders={1: [RESOLVER], 2: [RESOLVER], 3: [LOGGER]}))
    assert [(f.subject.local, f.subject.remote, f.count, f.subject.process) for f in found] == [
        ("10.0.0.1:*", "10.0.0.9:53", 2, RESOLVER),
        ("10.0.0.1:40002", "10.0.0.9:53", 1, LOGGER),
    ]
    assert "loses datagrams from 10.0.0.9:53" in found[0].summary


def test_ipv6_and_v4_mapped() -> None:
    rows = [full("[2001:db8::1]:53"), full("10.0.0.1:54", family=AF_INET6)]
    assert {f.subject.local for f in detect(look(*rows))} == {"[2001:db8::1]:53", "10.0.0.1:54"}


def test_only_those_that_lose_are_suspects() -> None:
    seen = Window(current=look(full(inode=1), udp("10.0.0.1:54", inode=2)))
    assert DETECTOR.suspects(seen, DETECTOR.settings).inode.tolist() == [1]


def test_without_udp_sockets_there_is_nothing_to_find() -> None:
    assert not detect(look())
