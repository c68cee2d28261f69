from typing import Any

import pytest

from builders import later, namespace, process, snapshot, socket, window
from sockwatch.diagnose.detectors.port_exhaustion import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.snapshot import Namespace
from sockwatch.model.state import State

CLIENT = process(812, "gateway")
REMOTE = "10.0.0.9:5432"
USABLE = 100


def narrow(**sysctls: Any) -> Namespace:
    return namespace(ip_local_port_range="40000\t40099", **sysctls)


def client(number: int, state: State = State.ESTABLISHED, remote: str = REMOTE, **columns: Any) -> dict[str, Any]:
    inode = 0 if state == State.TIME_WAIT else 100 + number
    row: dict[str, Any] = {"inode": inode, "cookie": 1 + number} | columns
    return socket(state, f"10.0.0.1:{40000 + number}", remote, **row)


def clients(count: int, **columns: Any) -> list[dict[str, Any]]:
    return [client(i, **columns) for i in range(count)]


def looks(before: int, now: int, seconds: float) -> Window:
    first = snapshot(*clients(before), namespaces=[narrow()])
    return Window(current=later(snapshot(*clients(now), namespaces=[narrow()]), seconds), previous=first)


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_fires_with_the_users_the_destination_and_the_numbers() -> None:
    rows = [*clients(60), *(client(i, State.TIME_WAIT, expires_ms=30_000) for i in range(60, 83))]
    [finding] = detect(window(*rows, namespaces=[narrow()], holders={100 + i: [CLIENT] for i in range(60)}))
    assert (finding.name, finding.severity, finding.count) == ("port_exhaustion/connect_budget", Severity.WARNING, 83)
    assert finding.subject.process == CLIENT
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:*", REMOTE)
    assert finding.evidence == {"used": 83, "usable": 100, "used_ratio": 0.83, "time_wait": 23, "reusable": 0}
    assert finding.summary == "83 of 100 source ports towards 10.0.0.9:5432 are used"
    assert "from 10.0.0.1 to 10.0.0.9:5432" in finding.cause
    assert "(now 40000 40099)" in finding.remedies[2]


@pytest.mark.parametrize(("used", "count"), [(69, 0), (70, 1)])
def test_a_budget_is_short_from_seven_tenths_on(used: int, count: int) -> None:
    assert len(detect(window(*clients(used), namespaces=[narrow()]))) == count


@pytest.mark.parametrize(("used", "severity"), [(USABLE - 1, Severity.WARNING), (USABLE, Severity.CRITICAL)])
def test_it_is_critical_when_connect_fails_now(used: int, severity: Severity) -> None:
    [finding] = detect(window(*clients(used), namespaces=[narrow()]))
    assert finding.severity is severity
    assert ("connect() fails now" in finding.summary) == (severity is Severity.CRITICAL)


def test_it_is_critical_when_the_rest_lasts_less_than_five_minutes() -> None:
    [finding] = detect(looks(50, 60, 10.0))  # 40 left, 1 a second
    assert (finding.severity, finding.evidence["seconds_left"]) == (Severity.CRITICAL, 40.0)
    assert finding.summary.endswith("are used, the rest lasts 40 s at this churn")


@pytest.mark.parametrize(("seconds", "count"), [(74.0, 1), (75.0, 0)])
def test_the_forecast_counts_up_to_five_minutes(seconds: float, count: int) -> None:
    assert len(detect(looks(50, 60, seconds))) == count  # 40 left at 10 in `seconds`: 4 x `seconds`


def test_the_forecast_does_not_count_below_half_as_a_burst_would_alarm() -> None:
    assert not detect(looks(0, 49, 1.0))
    assert detect(looks(0, 50, 1.0))


def test_a_burst_that_drains_clears() -> None:
    assert not detect(looks(90, 69, 10.0))


def test_many_sockets_over_many_destinations_use_no_budget_up() -> None:
    rows = [socket(State.ESTABLISHED, f"10.0.0.1:{40000 + i}", f"10.0.{j}.9:443") for j in range(30) for i in range(60)]
    assert not detect(window(*rows, namespaces=[narrow()]))


def test_thousands_of_time_wait_on_a_listening_port_use_no_budget() -> None:
    listener = socket(State.LISTEN, "0.0.0.0:40050")
    rows = [socket(State.TIME_WAIT, "10.0.0.1:40050", f"10.0.0.9:{5000 + i}", expires_ms=30_000) for i in range(2_000)]
    assert not detect(window(listener, *rows, namespaces=[narrow()]))


def test_churn_on_loopback_is_absorbed_by_tcp_tw_reuse_2() -> None:
    rows = [socket(State.TIME_WAIT, f"127.0.0.1:{40000 + i}", "127.0.0.1:80", expires_ms=58_000) for i in range(USABLE)]
    assert not detect(window(*rows, namespaces=[narrow(tcp_tw_reuse="2")]))
    assert detect(window(*rows, namespaces=[narrow(tcp_tw_reuse="0")]))


def test_a_proxy_under_load_with_a_pool_to_each_backend_is_healthy() -> None:
    front = [socket(State.ESTABLISHED, "10.0.0.1:443", f"10.7.0.1:{1024 + i}") for i in range(5_000)]
    back = [
        socket(State.ESTABLISHED, f"10.0.0.1:{40000 + i}", f"10.0.0.{20 + j}:80") for j in range(8) for i in range(60)
    ]
    assert not detect(window(socket(State.LISTEN, "0.0.0.0:443"), *front, *back, namespaces=[narrow()]))


def test_both_families_and_two_namespaces_have_their_own_budgets() -> None:
    rows = [
        *clients(70, family=10),
        *clients(80, netns=1),
        *(socket(State.ESTABLISHED, f"[fd00::1]:{40000 + i}", "[fd00::2]:5432") for i in range(90)),
    ]
    other = namespace("web", ip_local_port_range="40000 40099")
    found = detect(window(*rows, namespaces=[narrow(), other]))
    assert [(f.subject.netns, f.subject.local, f.count) for f in found] == [
        ("host", "[fd00::1]:*", 90),
        ("web", "10.0.0.1:*", 80),
        ("host", "10.0.0.1:*", 70),
    ]


def test_a_range_that_cannot_be_read_is_no_verdict() -> None:
    assert not detect(window(*clients(USABLE), namespaces=[namespace(ip_local_port_range="")]))


def test_only_the_users_of_a_short_budget_are_suspects() -> None:
    others = [client(i, remote="10.0.0.8:80", inode=900 + i) for i in range(5)]
    seen = window(*clients(70), *others, namespaces=[narrow()])
    assert sorted(DETECTOR.suspects(seen, DETECTOR.settings).inode.tolist()) == list(range(100, 170))
