from typing import Any

import pytest

from builders import namespace, socket, window
from sockwatch.diagnose.detectors.sysctl_misfit import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Namespace
from sockwatch.model.state import State

LISTENER = socket(State.LISTEN, "0.0.0.0:8080", inode=1)
REMOTE = "10.0.0.9:5432"


def timeout(seconds: int, **sysctls: Any) -> list[Namespace]:
    return [namespace(tcp_fin_timeout=str(seconds), **sysctls)]


def orphans(count: int, **columns: Any) -> list[dict[str, Any]]:
    return [socket(State.FIN_WAIT_2, "10.0.0.1:8080", f"10.0.0.7:{5000 + i}", **columns) for i in range(count)]


def waiting(count: int, **columns: Any) -> list[dict[str, Any]]:
    return [
        socket(State.TIME_WAIT, "10.0.0.1:8080", f"10.0.0.7:{5000 + i}", expires_ms=30_000, **columns)
        for i in range(count)
    ]


def clients(count: int, state: State = State.ESTABLISHED, **columns: Any) -> list[dict[str, Any]]:
    return [socket(state, f"10.0.0.1:{40000 + i}", REMOTE, **columns) for i in range(count)]


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


@pytest.mark.parametrize(("seconds", "life"), [(61, 2), (90, 60), (120, 120), (600, 1080)])
def test_above_60_the_orphans_live_another_time_than_it_says(seconds: int, life: int) -> None:
    [finding] = detect(window(LISTENER, *orphans(23), namespaces=timeout(seconds)))
    assert (finding.name, finding.severity, finding.count) == ("sysctl_misfit", Severity.INFO, 23)
    assert (finding.subject.local, finding.subject.remote, finding.subject.process) == (None, None, None)
    expected = f"Sysctl tcp_fin_timeout={seconds} keeps 23 closed sockets in FIN_WAIT_2 for {life} s"
    assert finding.summary == expected
    [advice] = finding.sysctls
    assert (advice.name, advice.value, advice.effect) == ("net.ipv4.tcp_fin_timeout", str(seconds), Effect.HELPS)


@pytest.mark.parametrize("seconds", [5, 60])
def test_up_to_60_orphans_live_as_long_as_it_says(seconds: int) -> None:
    assert not detect(window(LISTENER, *orphans(23), namespaces=timeout(seconds)))


def test_a_half_closed_socket_with_a_descriptor_is_not_its_business() -> None:
    assert not detect(window(LISTENER, *orphans(23, inode=7), namespaces=timeout(120)))


@pytest.mark.parametrize(("seconds", "count", "found"), [(59, 20, 1), (59, 19, 0), (60, 20, 0), (120, 20, 0)])
def test_lowered_for_time_wait_it_does_nothing(seconds: int, count: int, found: int) -> None:
    findings = detect(window(LISTENER, *waiting(count), namespaces=timeout(seconds)))
    assert [(f.count, f.sysctls[0].effect) for f in findings] == [(count, Effect.NONE)] * found


@pytest.mark.parametrize(("others", "found"), [(59, 1), (60, 0)])
def test_time_wait_below_a_quarter_of_the_sockets_is_not_what_it_was_lowered_for(others: int, found: int) -> None:
    live = [socket(State.ESTABLISHED, "10.0.0.1:8080", f"10.1.0.1:{1024 + i}") for i in range(others)]
    assert len(detect(window(LISTENER, *waiting(20), *live, namespaces=timeout(15)))) == found


@pytest.mark.parametrize(("used", "found"), [(49, 0), (50, 1)])
def test_a_narrow_range_whose_budget_is_half_used(used: int, found: int) -> None:
    findings = detect(window(*clients(used), namespaces=[namespace(ip_local_port_range="40000 40099")]))
    assert [(f.count, f.sysctls[0].name) for f in findings] == [(50, "net.ipv4.ip_local_port_range")] * found


def test_a_narrow_range_says_how_narrow() -> None:
    [finding] = detect(window(*clients(50), namespaces=[namespace(ip_local_port_range="40000\t40099")]))
    assert finding.summary == "Sysctl ip_local_port_range has 100 ports and one destination uses 50 of them"
    assert (finding.sysctls[0].value, finding.sysctls[0].effect) == ("40000 40099", Effect.HELPS)


def test_a_narrow_range_that_nobody_uses_up_is_a_choice() -> None:
    assert not detect(window(*clients(5), namespaces=[namespace(ip_local_port_range="40000 40099")]))


@pytest.mark.parametrize(("high", "found"), [(60998, 1), (60999, 0)])
def test_a_range_as_wide_as_the_default_is_not_narrow(high: int, found: int) -> None:
    rows = clients(14_200)
    assert len(detect(window(*rows, namespaces=[namespace(ip_local_port_range=f"32768 {high}")]))) == found


def test_both_settings_of_a_namespace_are_one_finding_and_a_socket_counts_once() -> None:
    spaces = timeout(15, ip_local_port_range="40000 40099")
    [finding] = detect(window(*clients(60, State.TIME_WAIT), namespaces=spaces))
    assert [a.name for a in finding.sysctls] == ["net.ipv4.tcp_fin_timeout", "net.ipv4.ip_local_port_range"]
    assert finding.count == 60
    assert len(finding.remedies) == 2


def test_namespaces_are_judged_by_their_own_settings_and_sockets() -> None:
    spaces = [namespace(), namespace("web", tcp_fin_timeout="120")]
    found = detect(window(*orphans(3), *orphans(2, netns=1), namespaces=spaces))
    assert [(f.subject.netns, f.count) for f in found] == [("web", 2)]


def test_ipv6_counts_as_ipv4_does() -> None:
    rows = [socket(State.FIN_WAIT_2, "[::1]:80", f"[::1]:{5000 + i}") for i in range(3)]
    assert [f.count for f in detect(window(*rows, *orphans(2, family=10), namespaces=timeout(120)))] == [5]


def test_settings_that_cannot_be_read_do_not_misfit() -> None:
    bare = namespace(tcp_fin_timeout="", ip_local_port_range="")
    assert not detect(window(*orphans(23), *waiting(23), *clients(100), namespaces=[bare]))


def test_a_default_host_is_silent_whatever_it_does() -> None:
    assert not detect(window(LISTENER, *orphans(23), *waiting(2_000), *clients(20_000)))
