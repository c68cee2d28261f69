from dataclasses import replace

import pytest

from builders import later, namespace, snapshot, socket, window
from sockwatch.diagnose.detector import NoDataError
from sockwatch.diagnose.detectors.orphan_pressure import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.snapshot import Namespace, Snapshot
from sockwatch.model.state import State, Timer

KILLED = "TcpExt.TCPAbortOnMemory"


def host(orphans: int, limit: str = "1000", killed: int = 0) -> Namespace:
    counters = {"sockstat.TCP.orphan": orphans, KILLED: killed}
    return namespace(counters=counters, tcp_max_orphans=limit)


def look(orphans: int, killed: int = 0) -> Snapshot:
    return snapshot(namespaces=[host(orphans, killed=killed)])


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_fires_with_the_numbers_of_the_host_and_the_sockets_of_this_namespace() -> None:
    rows = [
        *(socket(State.FIN_WAIT_1, "10.0.0.1:80", f"10.0.0.7:{5000 + i}", timer=Timer.RETRANSMIT) for i in range(23)),
        socket(State.LAST_ACK, "[2001:db8::1]:80", "[2001:db8::7]:5000", timer=Timer.RETRANSMIT),
        socket(State.FIN_WAIT_2, "10.0.0.1:80", "10.0.0.7:6000", timer=Timer.KEEPALIVE, family=10),
    ]
    [finding] = detect(window(*rows, namespaces=[host(612)]))
    assert (finding.name, finding.severity, finding.count) == ("orphan_pressure", Severity.WARNING, 25)
    assert (finding.subject.netns, finding.subject.local, finding.subject.process) == ("host", None, None)
    assert finding.evidence == {"orphans": 612, "limit": 1000, "in_this_namespace": 25}
    assert finding.summary == "612 orphaned sockets, 61% of tcp_max_orphans (1,000)"
    assert "Here: 23 in fin_wait_1, 1 in last_ack, 1 in fin_wait_2." in finding.cause


def test_what_is_held_or_is_left_as_a_minisocket_is_no_orphan() -> None:
    rows = [
        socket(State.FIN_WAIT_1, "10.0.0.1:80", "10.0.0.7:1", inode=5),
        socket(State.FIN_WAIT_2, "10.0.0.1:80", "10.0.0.7:2", timer=Timer.TIME_WAIT),
        socket(State.TIME_WAIT, "10.0.0.1:80", "10.0.0.7:3", timer=Timer.TIME_WAIT),
        socket(State.CLOSE_WAIT, "10.0.0.1:80", "10.0.0.7:4"),
    ]
    [finding] = detect(window(*rows, namespaces=[host(900)]))
    assert finding.count == 0
    assert "Those of this host are in other namespaces." in finding.cause


def test_the_limit_is_the_hosts_so_that_orphans_of_every_namespace_count() -> None:
    rows = [
        socket(State.LAST_ACK, "10.0.0.1:80", "10.0.0.7:5", netns=1),
        socket(State.FIN_WAIT_1, "10.0.0.1:80", "10.0.0.7:6"),
        socket(State.FIN_WAIT_1, "10.0.0.1:80", "10.0.0.7:7", netns=1),
    ]
    [finding] = detect(window(*rows, namespaces=[host(900), namespace("web")]))
    assert (finding.subject.netns, finding.count) == ("host", 3)
    assert finding.evidence == {"orphans": 900, "limit": 1000, "in_this_namespace": 1, "in_other_namespaces": 2}
    assert "In the namespaces that were looked at: 2 in fin_wait_1, 1 in last_ack." in finding.cause


def test_orphans_that_were_killed_in_another_namespace_count() -> None:
    before, now = (
        snapshot(namespaces=[host(300), replace(namespace("web"), counters={KILLED: killed}, inode=7)])
        for killed in (1, 3)
    )
    [finding] = detect(Window(current=later(now, 5), previous=before))
    assert finding.evidence["killed"] == 2


@pytest.mark.parametrize(("orphans", "found"), [(500, 0), (501, 1)])
def test_half_of_the_limit_is_the_edge(orphans: int, found: int) -> None:
    assert len(detect(window(namespaces=[host(orphans)]))) == found


@pytest.mark.parametrize(("orphans", "found"), [(250, 0), (251, 1)])
def test_killed_orphans_count_from_a_quarter_on_below_it_was_for_want_of_memory(orphans: int, found: int) -> None:
    findings = detect(Window(current=later(look(orphans, killed=101), 5), previous=look(orphans, killed=100)))
    assert [f.evidence["killed"] for f in findings] == [1] * found
    assert all(", 1 killed since the last look" in f.summary for f in findings)


def test_totals_since_boot_are_no_finding() -> None:
    assert not detect(window(namespaces=[host(300, killed=100_000)]))


def test_clears_when_the_orphans_have_drained() -> None:
    assert not detect(Window(current=later(look(3, killed=107), 5), previous=look(900, killed=107)))


def test_a_limit_of_zero_allows_none() -> None:
    assert not detect(window(namespaces=[host(0, limit="0")]))
    assert "more than all of tcp_max_orphans (0)" in detect(window(namespaces=[host(1, limit="0")]))[0].summary
    assert "100% of tcp_max_orphans (1)" in detect(window(namespaces=[host(1, limit="1")]))[0].summary


@pytest.mark.parametrize(
    "bare", [namespace(tcp_max_orphans="9"), namespace(counters={"sockstat.TCP.orphan": 5}, tcp_max_orphans="")]
)
def test_without_the_counter_or_the_limit_it_cannot_tell(bare: Namespace) -> None:
    with pytest.raises(NoDataError, match="tcp_max_orphans"):
        detect(window(namespaces=[bare]))


def test_the_count_of_the_host_is_not_held_against_another_namespace() -> None:
    other = namespace("web", counters={"sockstat.TCP.orphan": 10**6}, tcp_max_orphans="1000")
    assert not detect(window(namespaces=[other]))
