from typing import Any

import pytest

from builders import later, namespace, process, snapshot, socket, window
from sockwatch.diagnose.detectors.port_exhaustion import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
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
    assert finding.by_state == {State.ESTABLISHED: 60, State.TIME_WAIT: 23}
    assert finding.subject.process == CLIENT
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:*", REMOTE)
    assert finding.evidence == {
        "used": 83,
        "usable": 100,
        "used_ratio": 0.83,
        "time_wait": 23,
        "reusable": 0,
        "confidence": "medium",
        "process_holds": 60,
    }
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


def bound(count: int, destinations: int = 7, *, source: str = "10.0.0.1", **columns: Any) -> list[dict[str, Any]]:
    """Connections as bind() to port 0 leaves them: its ports are the odd ones first, each used once."""
    ports = [40001 + 2 * i for i in range(50)] + [40000 + 2 * i for i in range(50)]
    shape: dict[str, Any] = {"autobound": 1} | columns
    return [
        socket(
            State.ESTABLISHED,
            f"{source}:{port}",
            f"{source.replace('1]', '9]') if ':' in source else '10.0.0.9'}:{5000 + i % destinations}",
            **({"inode": 100 + i, "cookie": 1 + i} | shape),
        )
        for i, port in enumerate(ports[:count])
    ]


def test_who_binds_first_shares_one_budget_over_all_destinations() -> None:
    rows = bound(73)
    now = window(*rows, namespaces=[narrow()], holders={row["inode"]: [CLIENT] for row in rows}).current
    [finding] = detect(Window(current=later(now, 3600.0), previous=snapshot(*bound(10), namespaces=[narrow()])))
    assert (finding.name, finding.severity, finding.count) == ("port_exhaustion/bind_budget", Severity.WARNING, 73)
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:*", "10.0.0.9:*")
    assert finding.subject.process == CLIENT
    assert finding.evidence == {"used": 73, "usable": 100, "used_ratio": 0.73, "bound_first": 73} | {
        "seconds_left": pytest.approx(27 / 63 * 3600, abs=0.1)
    }
    assert finding.summary == (
        "73 of 100 source ports of 10.0.0.1 are used, 73 connections by gateway[812], which binds before it connects, "
        "the rest lasts 1,543 s at this churn"
    )


def left_after_a_peak() -> list[dict[str, Any]]:
    """What connect() to one service leaves of 100 connections when those of the first half end."""
    return [client(i, autobound=1, cookie=1 + i) for i in range(1, 100, 2)]


def to_another(count: int) -> list[dict[str, Any]]:
    """What connect() then takes to another service."""
    return [client(2 * i, remote="10.0.0.8:5432", autobound=1, cookie=500 + i) for i in range(count)]


def test_one_look_does_not_tell_bind_from_what_connect_left_after_a_peak() -> None:
    for rows in (bound(74), bound(100), [*left_after_a_peak(), *to_another(24)]):
        [finding] = detect(window(*rows, namespaces=[narrow()]))
        assert (finding.name, finding.severity) == ("port_exhaustion/bind_budget", Severity.INFO)
        assert finding.evidence["confidence"] == "low"
        assert "which binds" not in finding.summary
        assert "If these sockets called bind()" in finding.cause


@pytest.mark.parametrize(
    "before",
    [
        [*left_after_a_peak(), *to_another(10)],
        [*left_after_a_peak()[:40], *(client(i, autobound=1, cookie=1 + i) for i in range(0, 100, 2))],
    ],
    ids=["only first ports came", "the other half came at the peak"],
)
def test_a_second_look_in_which_connect_may_have_chosen_proves_nothing(before: list[dict[str, Any]]) -> None:
    now = later(snapshot(*left_after_a_peak(), *to_another(24), namespaces=[narrow()]), 3600.0)
    [finding] = detect(Window(current=now, previous=snapshot(*before, namespaces=[narrow()])))
    assert finding.severity is Severity.INFO


def test_a_port_that_was_given_back_and_taken_anew_by_bind_is_seen() -> None:
    rows = bound(90)
    before = [rows[0] | {"cookie": 999}, *rows[1:]]
    first = snapshot(*before, namespaces=[narrow()])
    [finding] = detect(Window(current=later(snapshot(*rows, namespaces=[narrow()]), 10.0), previous=first))
    assert (finding.severity, "confidence" in finding.evidence) == (Severity.WARNING, False)


@pytest.mark.parametrize(("used", "count"), [(69, 0), (70, 1)])
def test_the_budget_of_an_address_is_short_from_seven_tenths_on(used: int, count: int) -> None:
    assert len(detect(window(*bound(used), namespaces=[narrow()]))) == count


def test_it_is_critical_when_bind_fails_now_or_soon() -> None:
    first = snapshot(*bound(40), namespaces=[narrow()])
    full = later(snapshot(*bound(100), namespaces=[narrow()]), 10.0)
    [finding] = detect(Window(current=full, previous=first))
    assert (finding.severity, finding.count) == (Severity.CRITICAL, 100)
    assert finding.summary.endswith(": bind() fails now")
    second = later(snapshot(*bound(60), namespaces=[narrow()]), 10.0)
    [soon] = detect(Window(current=second, previous=first))
    assert (soon.severity, soon.evidence["seconds_left"]) == (Severity.CRITICAL, 20.0)


def test_a_budget_that_is_given_back_clears() -> None:
    first = snapshot(*bound(90), namespaces=[narrow()])
    assert not detect(Window(current=later(snapshot(*bound(69), namespaces=[narrow()]), 10.0), previous=first))


def test_time_wait_counts_as_bind_takes_over_no_port() -> None:
    rows = bound(1)
    rows += [row | {"state": State.TIME_WAIT, "autobound": 255, "inode": 0} for row in bound(70)[1:]]
    sysctls = {"tcp_tw_reuse": "1", "tcp_timestamps": "1"}
    [finding] = detect(window(*rows, namespaces=[narrow(**sysctls)]))
    assert (finding.name, finding.count) == ("port_exhaustion/bind_budget", 70)


def test_connect_that_shares_its_ports_over_destinations_is_no_budget_of_the_address() -> None:
    rows = [client(i, remote=f"10.0.0.9:{5000 + j}", autobound=1) for j in range(9) for i in range(0, 100, 2)]
    assert not detect(window(*rows, namespaces=[narrow()]))


def test_a_destination_that_used_more_than_its_first_half_and_gave_some_back_did_not_bind_first() -> None:
    rows = [client(i, autobound=1, cookie=1 + i) for i in range(100) if i % 2 or i > 30]
    [finding] = detect(window(*rows, namespaces=[narrow()]))
    assert finding.name == "port_exhaustion/connect_budget"


def test_ports_that_programs_may_have_named_themselves_are_no_verdict_but_suspect() -> None:
    seen = window(*bound(90, autobound=255), namespaces=[narrow()])
    assert not detect(seen)
    assert len(DETECTOR.suspects(seen, DETECTOR.settings)) == 90


@pytest.mark.parametrize(
    "columns",
    [
        {"sockopt": 1 << 8},  # IP_BIND_ADDRESS_NO_PORT
        {"autobound": 0},  # each port named by the program: it does not ask bind() for any
        {"bytes_acked": 9.0, "bytes_sent": 9.0, "bytes_retrans": 0.0, "notsent_bytes": 0.0},  # accepted
    ],
)
def test_ports_that_bind_was_not_asked_for_are_none_of_its_users(columns: dict[str, Any]) -> None:
    assert not detect(window(*bound(90, **columns), namespaces=[narrow()]))


def test_ports_bound_for_every_address_are_out_of_reach_and_those_of_another_address_are_not() -> None:
    anywhere = [socket(State.LISTEN, f"0.0.0.0:{40080 + i}", cookie=900 + i) for i in range(10)]
    elsewhere = [socket(State.LISTEN, f"10.0.0.2:{40090 + i}", cookie=950 + i) for i in range(10)]
    [finding] = detect(window(*bound(70), *anywhere, *elsewhere, namespaces=[narrow()]))
    assert (finding.evidence["usable"], finding.evidence["used"]) == (90, 65)  # 5 of the 70 have such a port


def test_one_shortage_is_one_finding_whoever_it_hits() -> None:
    one = detect(window(*bound(74, 1), namespaces=[narrow()]))
    many = detect(
        window(*bound(100, 23), client(0, remote="10.0.0.8:1", cookie=999, autobound=1), namespaces=[narrow()])
    )
    assert [f.name for f in (*one, *many)] == ["port_exhaustion/bind_budget"] * 2


def test_the_budgets_of_addresses_are_told_apart_in_both_families_and_namespaces() -> None:
    rows = [
        *bound(70, family=10),
        *bound(80, netns=1, cookie=0),
        *bound(90, source="[fd00::1]", cookie=0),
    ]
    other = namespace("web", ip_local_port_range="40000 40099")
    found = detect(window(*rows, namespaces=[narrow(), other]))
    assert [(f.subject.netns, f.subject.local, f.count) for f in found] == [
        ("host", "[fd00::1]:*", 90),
        ("web", "10.0.0.1:*", 80),
        ("host", "10.0.0.1:*", 70),
    ]


def test_it_asks_whose_ports_they_are_once_a_budget_is_half_used() -> None:
    for rows in (clients, bound):
        for count, asks in ((49, False), (50, True)):
            seen = window(*rows(count), namespaces=[narrow()])
            assert DETECTOR.asks_autobound(seen, DETECTOR.settings) == asks


def test_where_it_is_not_known_who_took_the_other_ports_the_number_is_an_upper_bound() -> None:
    others = [client(i, remote=f"10.0.0.8:{i}", cookie=500 + i) for i in range(90, 100)]
    [finding] = detect(window(*clients(70), *others, namespaces=[narrow()]))
    assert finding.summary.startswith("70 of at most 100 source ports towards")
    assert finding.evidence["usable_at_most"] == 100
    known = [row | {"autobound": 1} for row in (*clients(70), *others)]
    [exact] = detect(window(*known, namespaces=[narrow()]))
    assert exact.summary.startswith("70 of 95 source ports towards")  # five of ten have the parity of bind()
    assert "usable_at_most" not in exact.evidence


@pytest.mark.parametrize(("state", "effect"), [(State.ESTABLISHED, Effect.NONE), (State.TIME_WAIT, Effect.HELPS)])
def test_reuse_helps_only_where_time_wait_holds_ports(state: State, effect: Effect) -> None:
    [finding] = detect(window(*(client(i, state) for i in range(80)), namespaces=[narrow()]))
    (advice,) = (advice for advice in finding.sysctls if advice.name == "net.ipv4.tcp_tw_reuse")
    assert advice.effect is effect
