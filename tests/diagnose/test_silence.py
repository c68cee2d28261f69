from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from builders import namespace, snapshot, socket, table, window
from sockwatch.diagnose import silence
from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.silence import SilenceSettings, silences
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Severity
from sockwatch.model.state import State, Timer

HERE, THERE = "10.0.0.1:8080", "10.0.0.7:50000"


def silent(state: State, **columns: object) -> Ages:
    return silences(table([socket(state, HERE, THERE, **columns)]))


def bounds(ages: Ages) -> tuple[float, float]:
    return float(ages.lower[0]), float(ages.upper[0])


def row(rto: float, backoff: int, since_last: float, **columns: object) -> dict[str, object]:
    """The columns of a socket whose timer was armed for `rto` seconds so long ago."""
    return {
        "rto": rto * 1e6,
        "backoff": float(backoff),
        "expires_ms": round((rto - since_last) * 1e3),
        "last_data_sent": since_last * 1e3,
    } | columns


def schedule(rto: float, linear: int, count: int) -> Sequence[float]:
    """The intervals before each of `count` retransmissions and the one that runs after them (tcp_retransmit_timer)."""
    intervals = [rto]
    for number in range(1, count + 1):
        if number > linear:
            rto = min(rto * 2, 120.0)
        intervals.append(rto)
    return intervals


@given(
    rto=st.floats(0.2, 3.0),
    linear=st.integers(0, 4),
    count=st.integers(1, 12),
    progress=st.floats(0, 0.99),
)
@settings(deadline=None)
def test_the_first_transmission_is_dated_from_the_interval_and_the_count(
    rto: float, linear: int, count: int, progress: float
) -> None:
    intervals = schedule(rto, linear, count)
    since_last = intervals[-1] * progress
    true = sum(intervals[:-1]) + since_last
    backoff = max(count - linear, 0)
    columns = row(intervals[-1], backoff, since_last, timer=Timer.RETRANSMIT, retransmits=count)
    lower, _ = bounds(silent(State.ESTABLISHED, **columns, last_ack_recv=true * 1e3 + 5))
    assert lower <= true + 0.01
    if rto * 2**backoff <= 120:
        assert lower == pytest.approx(true, abs=0.01)


@given(rto=st.floats(0.2, 3.0), backoff=st.integers(0, 15), progress=st.floats(0, 0.99), sent=st.floats(0, 1.0))
@settings(deadline=None)
def test_a_closed_window_is_dated_from_the_probes(rto: float, backoff: int, progress: float, sent: float) -> None:
    intervals = [min(rto * 2**i, 120.0) for i in range(backoff + 1)]
    since_last = intervals[-1] * progress
    true = sum(intervals[:-1]) + since_last
    columns = row(rto, backoff, 0) | {
        "timer": Timer.PROBE,
        "expires_ms": round((intervals[-1] - since_last) * 1e3),
        "last_data_sent": (true + sent) * 1e3,
    }
    lower, upper = bounds(silent(State.ESTABLISHED, **columns))
    assert lower <= true + 0.01 <= upper + 0.02
    if rto * 2**backoff <= 120:
        assert lower == pytest.approx(true, abs=0.01)


@pytest.mark.parametrize(
    ("columns", "seconds"),
    [
        ({"rto": 4e6, "backoff": 2.0, "retransmits": 6, "expires_ms": 656, "last_data_sent": 3_909_520.0}, 10.344),
        ({"rto": 3.264e6, "backoff": 4.0, "retransmits": 4, "expires_ms": 2684, "last_data_sent": 580.0}, 3.64),
        ({"rto": 1.632e6, "backoff": 3.0, "retransmits": 3, "expires_ms": 1288, "last_data_sent": 2_172.0}, 1.772),
    ],
)
def test_what_linux_6_18_showed(columns: dict[str, object], seconds: float) -> None:
    """A SYN, data and a FIN; `total_rto_time` plus the first interval said 10.459, 3.693 and 1.817 s."""
    assert bounds(silent(State.SYN_SENT, timer=Timer.RETRANSMIT, **columns))[0] == pytest.approx(seconds, abs=0.001)


def test_a_user_timeout_that_cuts_the_interval_short_makes_nothing_older() -> None:
    columns = row(8.0, 3, 0.5, timer=Timer.RETRANSMIT, retransmits=3, expires_ms=100)
    assert bounds(silent(State.ESTABLISHED, **columns))[0] == 7.5


def test_a_backoff_from_an_earlier_loss_is_not_counted() -> None:
    columns = row(8.0, 3, 0.5, timer=Timer.RETRANSMIT, retransmits=1)
    assert bounds(silent(State.ESTABLISHED, **columns))[0] == 4.5


def test_the_last_acknowledgement_is_the_upper_bound_unless_it_came_later() -> None:
    columns = row(8.0, 3, 0.5, timer=Timer.RETRANSMIT, retransmits=3)
    assert bounds(silent(State.ESTABLISHED, **columns, last_ack_recv=9_000.0)) == (7.5, 9.0)
    assert np.isnan(bounds(silent(State.ESTABLISHED, **columns, last_ack_recv=1_000.0))[1])


def test_a_connecting_socket_has_no_last_acknowledgement() -> None:
    columns = row(8.0, 3, 0.5, timer=Timer.RETRANSMIT, retransmits=3)
    assert bounds(silent(State.SYN_SENT, **columns, last_ack_recv=9e9)) == (7.5, 7.5)


def test_with_keepalive_the_probes_are_the_least_and_the_silence_of_the_peer_the_most() -> None:
    columns = {"timer": Timer.KEEPALIVE, "retransmits": 2, "expires_ms": 700}
    heard = {"last_ack_recv": 90_000.0, "last_data_recv": 95_000.0}
    assert bounds(silent(State.ESTABLISHED, **columns, **heard)) == (0.7, 90.0)


def test_without_details_the_timer_alone_gives_a_lower_bound() -> None:
    retransmitting = {"timer": Timer.RETRANSMIT, "retransmits": 3, "expires_ms": 8_000}
    assert bounds(silent(State.ESTABLISHED, **retransmitting))[0] == 7.0
    probing = {"timer": Timer.KEEPALIVE, "retransmits": 3, "expires_ms": 30_000}
    assert bounds(silent(State.ESTABLISHED, **probing))[0] == 60.0
    assert np.isnan(bounds(silent(State.ESTABLISHED, timer=Timer.PROBE, expires_ms=8_000))[0])


@pytest.mark.parametrize("missing", sorted(silence.DETAILS))
@pytest.mark.parametrize("timer", [Timer.RETRANSMIT, Timer.PROBE, Timer.KEEPALIVE])
def test_a_detail_that_is_missing_makes_nothing_older(timer: Timer, missing: str) -> None:
    details = {"rto": 8e6, "backoff": 3.0, "last_data_sent": 400.0, "last_data_recv": 9e6, "last_ack_recv": 8e5}
    columns = {"timer": timer, "retransmits": 3, "expires_ms": 7_000}
    whole = silent(State.ESTABLISHED, **columns, **details).lower[0]
    part = silent(State.ESTABLISHED, **columns, **(details | {missing: np.nan})).lower[0]
    assert np.isnan(part) or part <= whole


@pytest.mark.parametrize("timer", [Timer.OFF, Timer.TIME_WAIT, Timer.KEEPALIVE])
def test_what_waits_for_nothing_is_not_silent(timer: Timer) -> None:
    columns = row(8.0, 3, 0.5, timer=timer, last_ack_recv=9_000.0, last_data_recv=9_000.0)
    assert np.isnan(silent(State.ESTABLISHED, **columns).lower).all()


def limits(**sysctls: Any) -> Window:
    return window(namespaces=[namespace(**sysctls)])


def test_the_lives_are_those_that_the_kernel_takes() -> None:
    """Observed: 6.8 s for 3 retransmissions, 106.9 s for 8, 938.4 s for 15; these are the limits it reckons with."""
    for retries, seconds in (("3", 3.0), ("8", 102.2), ("15", 924.6), ("-1", 0.2)):
        assert silence.lives(limits(tcp_retries2=retries), "net.ipv4.tcp_retries2")[0] == pytest.approx(seconds)
    orphans = limits(tcp_orphan_retries="0")
    assert silence.lives(orphans, "net.ipv4.tcp_orphan_retries", zero_means=8)[0] == pytest.approx(102.2)
    assert silence.lives(limits(), "net.ipv4.no_such")[0] == np.inf


def test_connect_gives_up_after_131_seconds_and_after_127_on_old_kernels() -> None:
    assert silence.connect_lives(limits(tcp_syn_retries="6", tcp_syn_linear_timeouts="4"))[0] == 131
    assert silence.connect_lives(limits(tcp_syn_retries="6", tcp_syn_linear_timeouts=""))[0] == 127
    assert silence.connect_lives(limits(tcp_syn_retries=""))[0] == np.inf


def test_old_is_min_age_or_half_of_a_shorter_life() -> None:
    assert silence.min_ages(SilenceSettings(), np.array([102.2, 924.6, np.inf])).tolist() == [51.1, 60.0, 60.0]


def test_the_share_is_of_the_service_in_the_same_namespace() -> None:
    mine = [socket(State.ESTABLISHED, HERE, f"10.0.0.7:{50_000 + i}") for i in range(10)]
    others = [
        socket(State.ESTABLISHED, "10.0.0.1:8081", THERE),
        socket(State.ESTABLISHED, HERE, THERE, netns=1),
        socket(State.TIME_WAIT, HERE, "10.0.0.8:1"),
    ]
    seen = Window(current=snapshot(*mine, *others, namespaces=[namespace(), namespace("web")]))
    dead = seen.sockets.take(np.arange(2))
    serving = np.ones(2, np.bool_)
    assert silence.share(seen, dead, serving, State.ESTABLISHED) == 0.2
    assert silence.share(seen, dead, serving, State.TIME_WAIT) == 2 / 3


def test_the_share_of_a_client_is_of_its_destination() -> None:
    rows = [socket(State.ESTABLISHED, f"10.0.0.1:{40_000 + i}", f"10.0.0.{7 + i % 2}:5432") for i in range(10)]
    seen = window(*rows, socket(State.ESTABLISHED, "10.0.0.1:5432", "10.0.0.9:1"))
    dead = seen.sockets.take(np.array([0]))
    assert silence.share(seen, dead, np.zeros(1, np.bool_), State.ESTABLISHED) == 0.2


@pytest.mark.parametrize(
    ("count", "share", "serving", "expected"),
    [
        (9, 1.0, True, Severity.INFO),
        (10, 1.0, True, Severity.WARNING),
        (1, 1.0, False, Severity.WARNING),
        (1000, 0.099, True, Severity.INFO),
        (1000, 0.1, True, Severity.WARNING),
        (1000, 0.099, False, Severity.INFO),
    ],
)
def test_clients_vanish_at_any_time_and_servers_do_not(
    count: int, share: float, *, serving: bool, expected: Severity
) -> None:
    assert silence.severity(SilenceSettings(), share=share, count=count, serving=serving) is expected
