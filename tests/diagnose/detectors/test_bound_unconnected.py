from dataclasses import replace
from typing import Any

import pytest

from builders import later, namespace, process, snapshot, socket, window
from sockwatch.diagnose.detector import NoDataError
from sockwatch.diagnose.detectors.bound_unconnected import DETECTOR
from sockwatch.diagnose.remember import remember
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.history import History
from sockwatch.model.snapshot import Process
from sockwatch.model.state import State

CLIENT = process(812, "poller")
OTHER = process(900, "proxy")


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def bound(count: int, first: int = 9200, *, netns: int = 0, new: bool = False) -> list[dict[str, Any]]:
    return [
        socket(State.BOUND, f"10.0.0.1:{first + i}", inode=first + i, cookie=first + i + 10_000 * new, netns=netns)
        for i in range(count)
    ]


def held_by(rows: list[dict[str, Any]]) -> dict[int, list[Process]]:
    return {row["inode"]: [CLIENT] for row in rows}


def test_a_few_are_info_with_process_address_and_ports() -> None:
    rows = bound(23)
    [finding] = detect(window(*rows, holders=held_by(rows)))
    assert (finding.name, finding.severity, finding.count) == ("bound_unconnected", Severity.INFO, 23)
    assert (finding.subject.process, finding.subject.local, finding.subject.remote) == (CLIENT, "10.0.0.1:*", None)
    assert finding.evidence == {"ports": 23, "percent_of_port_range": 0.0}
    assert finding.oldest_seconds is None
    assert finding.summary == "poller[812] holds 23 ports on 23 sockets that neither listen nor are connected"


@pytest.mark.parametrize(("count", "severity"), [(22, Severity.INFO), (23, Severity.WARNING)])
def test_a_twentieth_of_the_port_range_in_one_process_is_a_warning(count: int, severity: Severity) -> None:
    rows = bound(count, first=40_000)
    small = namespace(ip_local_port_range="40000\t40459")
    [finding] = detect(window(*rows, holders=held_by(rows), namespaces=[small]))
    assert (finding.severity, finding.evidence["percent_of_port_range"]) == (severity, 100 * count / 460)


def test_both_ends_of_the_range_belong_to_it() -> None:
    rows = [*bound(2, first=39_999), *bound(2, first=40_009)]
    small = namespace(ip_local_port_range="40000\t40009")
    [finding] = detect(window(*rows, holders=held_by(rows), namespaces=[small]))
    assert finding.evidence["percent_of_port_range"] == 20.0


def test_ports_outside_the_range_take_no_share_of_it() -> None:
    rows = bound(23, first=30_000)
    [finding] = detect(window(*rows, holders=held_by(rows), namespaces=[namespace(ip_local_port_range="40000\t40009")]))
    assert finding.severity is Severity.INFO


def test_a_twentieth_held_by_several_processes_or_by_unknown_ones_is_info() -> None:
    rows = bound(24, first=40_000)
    small = namespace(ip_local_port_range="40000\t40459")
    halves = {row["inode"]: [CLIENT if i % 2 else OTHER] for i, row in enumerate(rows)}
    assert {(f.severity, f.count) for f in detect(window(*rows, holders=halves, namespaces=[small]))} == {
        (Severity.INFO, 12)
    }
    assert [f.severity for f in detect(window(*rows, namespaces=[small]))] == [Severity.INFO]


@pytest.mark.parametrize(
    ("count", "seconds", "severity"),
    [(64, 60.0, Severity.WARNING), (63, 60.0, Severity.INFO), (64, 59.0, Severity.INFO)],
)
def test_many_that_a_second_look_finds_old_are_a_warning(count: int, seconds: float, severity: Severity) -> None:
    rows = bound(count)
    first = snapshot(*rows, holders=held_by(rows))
    [finding] = detect(Window(current=later(first, seconds), previous=first))
    assert (finding.severity, finding.oldest_seconds) == (severity, seconds)


def test_many_looks_find_old_what_two_do_not() -> None:
    rows = bound(200)
    first = replace(snapshot(*rows, holders=held_by(rows)), took=1.0)
    history = History()
    for look in (looks := [later(first, 15.0 * i) for i in range(20)])[:-1]:
        history = remember(Window(current=look, history=history), look.sockets)
    [finding] = detect(Window(current=looks[-1], previous=looks[-2], history=history))
    assert (finding.severity, finding.oldest_seconds) == (Severity.WARNING, 284.0)
    assert finding.evidence["older_than_min_age"] == 200


def test_the_time_that_the_look_before_took_is_not_counted() -> None:
    first = replace(snapshot(*bound(1)), took=2.0)
    [finding] = detect(Window(current=later(first, 15.0), previous=first))
    assert finding.oldest_seconds == 13.0


def test_new_sockets_are_not_as_old_as_those_they_replace() -> None:
    first = snapshot(*bound(64))
    rows = bound(64, new=True)
    [finding] = detect(window(*rows, holders=held_by(rows), previous=first, monotonic=first.monotonic + 600))
    assert (finding.severity, finding.oldest_seconds) == (Severity.INFO, None)


def test_a_failed_connection_is_told_with_its_remote_end_and_counts_for_its_process() -> None:
    failed = socket(State.CLOSE, "10.0.0.1:40000", "10.0.0.9:443", inode=5)
    rows = bound(22, first=40_001)
    small = namespace(ip_local_port_range="40000\t40459")
    found = detect(window(failed, *rows, holders=held_by([failed, *rows]), namespaces=[small]))
    assert {(f.subject.local, f.subject.remote, f.count, f.severity) for f in found} == {
        ("10.0.0.1:40000", "10.0.0.9:443", 1, Severity.WARNING),
        ("10.0.0.1:*", None, 22, Severity.WARNING),
    }


def test_a_port_that_is_listened_on_was_taken_anyway() -> None:
    listener = socket(State.LISTEN, "0.0.0.0:9200", inode=1)
    [finding] = detect(window(listener, *bound(2)))
    assert finding.subject.local == "10.0.0.1:9201"


def test_a_listener_in_another_namespace_is_no_excuse() -> None:
    listener = socket(State.LISTEN, "0.0.0.0:9200", inode=1, netns=1)
    [finding] = detect(window(listener, *bound(1), namespaces=[namespace(), namespace("web")]))
    assert finding.subject.netns == "host"


def test_namespaces_and_processes_are_told_apart() -> None:
    rows = [*bound(2), *bound(1, first=9300, netns=1)]
    holders = {9200: [CLIENT], 9201: [OTHER], 9300: [CLIENT]}
    found = detect(window(*rows, holders=holders, namespaces=[namespace(), namespace("web")]))
    assert {(f.subject.netns, f.subject.process) for f in found} == {
        ("host", CLIENT),
        ("host", OTHER),
        ("web", CLIENT),
    }


def test_ipv4_ipv6_and_v4_mapped_sockets_of_a_process_are_one_finding() -> None:
    rows = [
        socket(State.BOUND, "10.0.0.1:9200", inode=1),
        socket(State.BOUND, "10.0.0.1:9201", inode=2, family=10),
        socket(State.BOUND, "[::1]:9202", "[::]:0", inode=3),
    ]
    [finding] = detect(window(*rows, holders={1: [CLIENT], 2: [CLIENT], 3: [CLIENT]}))
    assert (finding.count, finding.subject.local) == (3, "*:*")
    assert [row.local for row in finding.sockets] == ["10.0.0.1:9200", "10.0.0.1:9201", "[::1]:9202"]


def test_a_range_that_could_not_be_read_gives_no_share() -> None:
    rows = bound(23)
    [finding] = detect(window(*rows, holders=held_by(rows), namespaces=[namespace(ip_local_port_range="")]))
    assert (finding.severity, "percent_of_port_range" in finding.evidence) == (Severity.INFO, False)


def test_a_kernel_that_does_not_list_them_is_no_data() -> None:
    with pytest.raises(NoDataError, match=r"6\.8"):
        detect(window(namespaces=[replace(namespace(), lists_bound=False)]))


def test_connected_and_listening_sockets_are_none_of_its_business() -> None:
    rows = [
        socket(state, "10.0.0.1:9200", "10.0.0.9:443") for state in State if state not in {State.BOUND, State.CLOSE}
    ]
    assert not detect(window(*rows))
