from dataclasses import replace

import pytest

from builders import later, namespace, process, snapshot, socket, window
from sockwatch.diagnose.detector import NoDataError
from sockwatch.diagnose.detectors.memory_pressure import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.snapshot import Namespace, Snapshot
from sockwatch.model.state import State

READER = process(812, "ingest")
WRITER = process(900, "feeds")


def host(pages: int, pressures: int = 0, limits: str = "1000\t2000\t3000") -> Namespace:
    return namespace(counters={"sockstat.TCP.mem": pages, "TcpExt.TCPMemoryPressures": pressures}, tcp_mem=limits)


def look(pages: int, pressures: int = 0) -> Snapshot:
    return snapshot(namespaces=[host(pages, pressures)])


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def two(before: tuple[int, int], now: tuple[int, int], seconds: float = 10.0) -> list[Finding]:
    return detect(Window(current=later(look(*now), seconds), previous=look(*before)))


def test_fires_and_names_who_holds_most_of_what_waits() -> None:
    rows = [
        socket(State.ESTABLISHED, "10.0.0.1:80", "10.0.0.7:1", inode=1, recv_q=7_000),
        socket(State.CLOSE_WAIT, "[2001:db8::1]:80", "[2001:db8::7]:2", inode=2, recv_q=4_000),
        socket(State.ESTABLISHED, "10.0.0.1:9", "10.0.0.8:3", inode=3, send_q=9_000, family=10),
        socket(State.ESTABLISHED, "10.0.0.1:9", "10.0.0.8:4", inode=3),
        socket(State.LISTEN, "0.0.0.0:80", inode=4, recv_q=128, send_q=4096),
    ]
    [finding] = detect(window(*rows, namespaces=[host(2001)], holders={1: [READER], 2: [READER], 3: [WRITER]}))
    assert (finding.name, finding.severity, finding.count) == ("memory_pressure", Severity.WARNING, 3)
    assert (finding.subject.netns, finding.subject.local, finding.subject.process) == ("host", None, None)
    assert [row.recv_q + row.send_q for row in finding.sockets] == [9_000, 7_000, 4_000]
    assert finding.evidence == {
        "pages": 2001,
        "pressure_pages": 2000,
        "max_pages": 3000,
        "recv_q_bytes": 11_000,
        "send_q_bytes": 9_000,
        "most_queued_by": "ingest[812]",
    }
    expected = "TCP uses 2,001 pages of memory: above the pressure value of tcp_mem (2,000), the end is 3,000"
    assert finding.summary == expected
    assert "net.ipv4.tcp_mem is 1000 2000 3000" in finding.cause


@pytest.mark.parametrize(
    ("pages", "severity", "how"),
    [
        (2001, Severity.WARNING, "above the pressure value of tcp_mem (2,000), the end is 3,000"),
        (3000, Severity.WARNING, "above the pressure value of tcp_mem (2,000), the end is 3,000"),
        (3001, Severity.CRITICAL, "more than tcp_mem allows at all (3,000); no socket gets more"),
    ],
)
def test_the_edges_are_the_second_and_the_third_value(pages: int, severity: Severity, how: str) -> None:
    assert not detect(window(namespaces=[host(2000)]))
    [finding] = detect(window(namespaces=[host(pages)]))
    assert finding.severity is severity
    assert finding.summary == f"TCP uses {pages:,} pages of memory: {how}"


@pytest.mark.parametrize(("pages", "found"), [(1000, 0), (1001, 1), (2000, 1)])
def test_pressure_lasts_until_use_falls_below_the_first_value(pages: int, found: int) -> None:
    findings = two((pages, 6), (pages, 7))
    assert len(findings) == found
    assert all("went above the pressure value of tcp_mem (2,000) since the last look" in f.summary for f in findings)
    assert all(f.summary.endswith("the end is 3,000") for f in findings)


def test_pressure_long_ago_is_no_finding() -> None:
    assert not two((1_900, 7), (1_900, 7))
    assert not detect(window(namespaces=[host(1_900, pressures=7)]))


@pytest.mark.parametrize(
    ("before", "seconds", "severity"),
    [(2699, 3000.0, Severity.WARNING), (2690, 300.0, Severity.WARNING), (2689, 272.7, Severity.CRITICAL)],
)
def test_reaching_the_end_within_five_minutes_is_critical(before: int, seconds: float, severity: Severity) -> None:
    [finding] = two((before, 1), (2700, 1))
    assert (finding.severity, finding.evidence["seconds_left"]) == (severity, seconds)
    assert f"which is reached in {seconds:,.0f} s at this growth" in finding.summary


def test_beyond_the_end_nothing_is_left() -> None:
    assert two((2990, 1), (3010, 1))[0].evidence["seconds_left"] == 0


@pytest.mark.parametrize("before", [2500, 2900])
def test_standing_still_or_shrinking_is_no_forecast(before: int) -> None:
    assert "seconds_left" not in two((before, 1), (2500, 1))[0].evidence


def test_one_byte_counts_and_so_do_the_queues_of_another_namespace_since_the_limit_is_the_hosts() -> None:
    rows = [
        socket(State.ESTABLISHED, "10.0.0.1:80", "10.0.0.7:1", send_q=1),
        socket(State.ESTABLISHED, "10.0.0.1:80", "10.0.0.7:2", send_q=500, netns=1),
    ]
    [finding] = detect(window(*rows, namespaces=[host(2001), namespace("web")]))
    assert (finding.subject.netns, finding.count, finding.evidence["send_q_bytes"]) == ("host", 2, 501)
    assert [row.netns for row in finding.sockets] == ["web", "host"]
    assert "most_queued_by" not in finding.evidence


def test_pressure_that_another_namespace_counted_is_pressure() -> None:
    entered = [replace(namespace("web"), counters={"TcpExt.TCPMemoryPressures": count}, inode=7) for count in (5, 6)]
    before, now = (snapshot(namespaces=[host(1500), web]) for web in entered)
    assert len(detect(Window(current=later(now, 5), previous=before))) == 1
    assert not detect(Window(current=later(before, 5), previous=before))


def test_clears() -> None:
    assert not two((2900, 1), (800, 1))


@pytest.mark.parametrize(
    "bare",
    [
        host(5_000, limits=""),
        host(5_000, limits="1 2"),
        host(5_000, limits="1 2 " + 5000 * "3"),
        namespace(tcp_mem="1 2 3"),
    ],
)
def test_without_the_counter_or_the_limits_it_cannot_tell(bare: Namespace) -> None:
    with pytest.raises(NoDataError, match="tcp_mem"):
        detect(window(namespaces=[bare]))


def test_the_use_of_the_host_is_not_held_against_another_namespace() -> None:
    assert not detect(window(namespaces=[replace(host(5_000), name="web", initial=False)]))


def test_holders_are_looked_up_under_pressure_only() -> None:
    rows = [socket(State.ESTABLISHED, "10.0.0.1:80", f"10.0.0.7:{1 + i}", inode=1 + i, send_q=i) for i in range(1100)]
    assert not len(DETECTOR.suspects(window(*rows, namespaces=[host(2000)]), DETECTOR.settings))
    suspects = DETECTOR.suspects(window(*rows, namespaces=[host(2001)]), DETECTOR.settings)
    assert (len(suspects), int(suspects.send_q.min())) == (1000, 100)


def test_where_not_all_sockets_were_read_nobody_is_named_and_no_queue_summed() -> None:
    waiting = socket(State.CLOSE_WAIT, "10.0.0.1:80", "10.0.0.7:1", inode=1, recv_q=7_000)
    part = replace(host(2001), counted={State.ESTABLISHED: 5000})
    seen = window(waiting, namespaces=[part], holders={1: [READER]})
    [finding] = detect(seen)
    assert finding.evidence == {"pages": 2001, "pressure_pages": 2000, "max_pages": 3000}
    assert "ingest" not in finding.summary + finding.cause
    assert DETECTOR.misses(seen)
