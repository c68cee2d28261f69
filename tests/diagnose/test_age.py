from dataclasses import replace
from math import isnan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from builders import later, namespace, snapshot, socket, table
from sockwatch.diagnose.age import Ages, ages, fin_timeouts, orphan_life
from sockwatch.diagnose.window import Window
from sockwatch.model.snapshot import Namespace, Snapshot
from sockwatch.model.state import State, Timer

SERVER, CLIENT = "127.0.0.1:8080", "127.0.0.1:40000"
DETAILS = ("last_ack_recv", "last_data_recv", "last_data_sent")


def aged(*rows: dict[str, Any], previous: Snapshot | None = None, elapsed: float = 10.0, **fields: Any) -> Ages:
    """The ages of a look, `elapsed` seconds after `previous`."""
    now = snapshot(*rows, **fields)
    if previous is not None:
        now = replace(now, monotonic=previous.monotonic + elapsed)
    return ages(Window(current=now, previous=previous), now.sockets)


def bounds(found: Ages) -> list[tuple[float | None, float | None]]:
    pairs = zip(found.lower.tolist(), found.upper.tolist(), strict=True)
    return [(None if isnan(low) else low, None if isnan(high) else high) for low, high in pairs]


def closing(**columns: Any) -> dict[str, Any]:
    return socket(State.CLOSE_WAIT, SERVER, CLIENT, **({"inode": 1} | columns))


def waiting(**columns: Any) -> dict[str, Any]:
    return socket(State.FIN_WAIT_2, CLIENT, SERVER, **({"inode": 2} | columns))


def orphan(expires: float, timer: Timer = Timer.TIME_WAIT, **columns: Any) -> dict[str, Any]:
    return socket(State.FIN_WAIT_2, CLIENT, SERVER, expires_ms=int(expires * 1e3), timer=timer, **columns)


def timeout(seconds: int | str) -> list[Namespace]:
    return [namespace(tcp_fin_timeout=str(seconds))]


def test_close_wait_began_between_the_last_ack_and_the_last_data() -> None:
    assert bounds(aged(closing(last_ack_recv=5e3, last_data_recv=9e3, last_data_sent=1e3))) == [(5.0, 9.0)]


def test_what_was_never_accepted_is_no_older_than_its_handshake() -> None:
    assert bounds(aged(closing(inode=0, last_ack_recv=5e3, last_data_recv=9e6, last_data_sent=6e3))) == [(5.0, 6.0)]


def test_fin_wait_2_with_a_descriptor_began_between_the_last_ack_and_the_last_data_sent() -> None:
    assert bounds(aged(waiting(last_ack_recv=5e3, last_data_recv=1e3, last_data_sent=9e3))) == [(5.0, 9.0)]


def test_time_wait_counts_down_from_60_s_whatever_the_sysctls_say() -> None:
    row = socket(State.TIME_WAIT, CLIENT, SERVER, timer=Timer.TIME_WAIT, expires_ms=47_500)
    assert bounds(aged(row, namespaces=timeout(5))) == [(12.5, 12.5)]


def test_time_wait_that_has_just_begun_is_not_negative() -> None:
    assert bounds(aged(socket(State.TIME_WAIT, CLIENT, SERVER, expires_ms=60_004))) == [(0.0, 0.0)]


@pytest.mark.parametrize(
    ("fin_timeout", "timer", "expires", "age"),
    [
        (60, Timer.TIME_WAIT, 45.0, 15.0),
        (60, Timer.TIME_WAIT, 60.0, 0.0),
        (30, Timer.TIME_WAIT, 10.0, 20.0),
        (66, Timer.KEEPALIVE, 4.0, 2.0),  # the full socket, in the first 6 s
        (66, Timer.TIME_WAIT, 4.0, 8.0),  # its minisocket, in the second
        (120, Timer.TIME_WAIT, 60.0, 60.0),
    ],
)
def test_an_orphan_is_as_old_as_its_life_minus_the_rest(
    fin_timeout: int, timer: Timer, expires: float, age: float
) -> None:
    assert bounds(aged(orphan(expires, timer), namespaces=timeout(fin_timeout))) == [(age, age)]


def test_an_orphan_with_more_left_than_a_whole_life_has_an_unknown_age() -> None:
    assert bounds(aged(orphan(50.0), namespaces=timeout(30))) == [(0.0, None)]


@pytest.mark.parametrize(("seconds", "life"), [(1, 1), (60, 60), (61, 2), (66, 12), (90, 60), (120, 120)])
def test_an_orphan_lives_as_long_as_kernel_measurements_say(seconds: int, life: int) -> None:
    assert orphan_life(np.array([float(seconds)])).tolist() == [life]


def test_each_namespace_has_its_own_fin_timeout_and_60_where_it_cannot_be_read() -> None:
    unreadable = replace(namespace("db"), sysctls={})
    seen = snapshot(orphan(1), orphan(1, netns=1), namespaces=[namespace(tcp_fin_timeout="30"), unreadable])
    assert fin_timeouts(seen, seen.sockets).tolist() == [30.0, 60.0]


@pytest.mark.parametrize("state", [State.ESTABLISHED, State.LAST_ACK, State.LISTEN, State.CLOSING, State.FIN_WAIT_1])
def test_other_states_have_no_age(state: State) -> None:
    row = socket(state, SERVER, CLIENT, inode=1, **dict.fromkeys(DETAILS, 5e3))
    found = aged(row, previous=snapshot(row))
    assert bounds(found) == [(None, None)]
    assert (found.oldest, found.oldest_max) == (None, None)


def test_without_details_nothing_is_known_and_nothing_is_old() -> None:
    found = aged(closing(), waiting())
    assert bounds(found) == [(None, None), (None, None)]
    assert not found.surely(0.0).any()
    assert not found.possibly(0.0).any()


def test_surely_takes_the_lower_bound_and_possibly_the_upper_one() -> None:
    found = aged(closing(last_ack_recv=5e3, last_data_recv=9e3))
    assert [bool(found.surely(s)[0]) for s in (5.0, 5.001)] == [True, False]
    assert [bool(found.possibly(s)[0]) for s in (9.0, 9.001)] == [True, False]


def test_close_wait_is_as_old_as_the_held_fin_wait_2_at_the_other_end() -> None:
    here = closing(last_ack_recv=2e3, last_data_recv=90e3)
    there = waiting(last_ack_recv=50e3, last_data_sent=60e3)
    assert bounds(aged(here, there)) == [(50.0, 60.0), (50.0, 60.0)]


def test_a_held_fin_wait_2_is_as_old_as_the_close_wait_at_the_other_end() -> None:
    here = waiting(last_ack_recv=2e3, last_data_sent=90e3)
    there = closing(last_ack_recv=50e3, last_data_recv=60e3)
    assert bounds(aged(here, there))[0] == (50.0, 60.0)


def test_an_orphan_gives_close_wait_a_lower_bound_only_as_it_may_have_been_held_before() -> None:
    here = closing(last_ack_recv=2e3, last_data_recv=90e3)
    assert bounds(aged(here, orphan(20.0))) == [(40.0, 90.0), (40.0, 40.0)]


def test_an_orphan_of_unknown_age_does_not_take_that_of_the_other_end() -> None:
    here = closing(last_ack_recv=50e3, last_data_recv=90e3)
    assert bounds(aged(orphan(50.0), here, namespaces=timeout(30)))[0] == (0.0, None)


@pytest.mark.parametrize("state", [State.ESTABLISHED, State.TIME_WAIT, State.FIN_WAIT_1])
def test_only_close_wait_and_fin_wait_2_date_each_other(state: State) -> None:
    there = socket(state, CLIENT, SERVER, expires_ms=30_000, last_ack_recv=50e3, last_data_sent=60e3)
    assert bounds(aged(closing(last_ack_recv=2e3, last_data_recv=90e3), there))[0] == (2.0, 90.0)
    there |= {"sport": 8080, "dport": 40000}
    assert bounds(aged(waiting(last_ack_recv=2e3, last_data_sent=90e3), there))[0] == (2.0, 90.0)


def test_an_end_that_contradicts_does_not_count() -> None:
    here = closing(last_ack_recv=2e3, last_data_recv=3e3)
    there = waiting(last_ack_recv=50e3, last_data_sent=60e3)
    assert bounds(aged(here, there))[0] == (2.0, 3.0)


def test_the_same_cookie_in_the_same_state_has_been_in_it_all_the_while() -> None:
    before = snapshot(closing(cookie=7, last_ack_recv=5e3, last_data_recv=9e6))
    now = closing(cookie=7, last_ack_recv=1e3, last_data_recv=9e6 + 10e3)
    assert bounds(aged(now, previous=before)) == [(15.0, 9010.0)]


def test_the_same_cookie_without_details_is_at_least_as_old_as_the_time_between_the_looks() -> None:
    assert bounds(aged(closing(cookie=7), previous=snapshot(closing(cookie=7)))) == [(10.0, None)]


def test_a_cookie_in_another_state_entered_this_one_since() -> None:
    before = snapshot(socket(State.ESTABLISHED, SERVER, CLIENT, cookie=7))
    now = closing(cookie=7, last_ack_recv=1e3, last_data_recv=9e6)
    assert bounds(aged(now, previous=before)) == [(1.0, 10.0)]


def test_what_the_reading_took_may_be_missing_between_two_looks_at_a_socket_or_come_on_top() -> None:
    slow = replace(snapshot(closing(cookie=7)), took=3.0)
    assert bounds(aged(closing(cookie=7), previous=slow)) == [(7.0, None)]
    assert bounds(aged(closing(cookie=7), previous=replace(slow, took=99.0))) == [(0.0, None)]
    before = snapshot(socket(State.ESTABLISHED, SERVER, CLIENT, cookie=7))
    now = replace(snapshot(closing(cookie=7, last_ack_recv=99e3, last_data_recv=9e6)), took=2.0)
    seen = Window(current=replace(now, monotonic=before.monotonic + 10.0), previous=before)
    assert bounds(ages(seen, seen.sockets)) == [(12.0, 12.0)]


def test_a_tuple_that_is_used_again_is_another_socket() -> None:
    before = snapshot(closing(cookie=7, last_ack_recv=5e3, last_data_recv=9e6))
    now = closing(cookie=8, last_ack_recv=1e3, last_data_recv=9e6)
    assert bounds(aged(now, previous=before)) == [(1.0, 10.0)]


def test_a_new_socket_without_details_is_not_made_old_by_the_second_look() -> None:
    before = snapshot(socket(State.LISTEN, SERVER, cookie=1))
    found = aged(closing(cookie=7), previous=before)
    assert bounds(found) == [(None, 10.0)]
    assert not found.surely(0.0).any()


def test_what_the_previous_look_did_not_look_at_is_not_new() -> None:
    before = snapshot(socket(State.LISTEN, SERVER, cookie=1))
    now = closing(cookie=7, netns=1, last_ack_recv=70e3, last_data_recv=80e3)
    found = aged(now, previous=before, namespaces=[namespace(), namespace("web")])
    assert bounds(found) == [(70.0, 80.0)]


def test_a_held_socket_that_was_closed_since_keeps_its_age() -> None:
    before = snapshot(waiting(cookie=7, last_ack_recv=30e3, last_data_sent=40e3))
    assert bounds(aged(orphan(55.0, cookie=7), previous=before)) == [(40.0, 40.0)]


SECONDS = st.floats(0, 1e6)
KNOWN_STATES = st.sampled_from((State.CLOSE_WAIT, State.FIN_WAIT_2, State.TIME_WAIT, State.ESTABLISHED))


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    swapped = draw(st.booleans())
    local, remote = (CLIENT, SERVER) if swapped else (SERVER, CLIENT)
    details = {name: draw(SECONDS) for name in draw(st.sets(st.sampled_from(DETAILS)))}
    return socket(
        draw(KNOWN_STATES),
        local,
        remote,
        cookie=draw(st.integers(1, 4)),
        inode=draw(st.integers(0, 1)),
        timer=draw(st.sampled_from((Timer.OFF, Timer.KEEPALIVE, Timer.TIME_WAIT))),
        expires_ms=draw(st.integers(0, 130_000)),
        **details,
    )


LOOKS = st.lists(rows(), max_size=6, unique_by=lambda row: row["cookie"])
TIMEOUTS = st.sampled_from((1, 30, 60, 61, 66, 120, 300, "", "garbage"))


@given(LOOKS, LOOKS, TIMEOUTS, st.floats(0.001, 1e4))
def test_bounds_are_ordered_and_never_negative(
    first: list[dict[str, Any]], second: list[dict[str, Any]], fin_timeout: int | str, elapsed: float
) -> None:
    before = snapshot(*first, namespaces=timeout(fin_timeout))
    for found in (
        aged(*second, namespaces=timeout(fin_timeout)),
        aged(*second, previous=before, elapsed=elapsed, namespaces=timeout(fin_timeout)),
    ):
        known = ~np.isnan(found.lower)
        assert (found.lower[known] >= 0).all()
        assert not (found.upper < found.lower).any()


@given(LOOKS, TIMEOUTS, st.floats(0.001, 1e4))
def test_a_second_look_at_the_same_sockets_makes_none_younger(
    seen: list[dict[str, Any]], fin_timeout: int | str, elapsed: float
) -> None:
    first = snapshot(*seen, namespaces=timeout(fin_timeout))
    second = later(first, elapsed)
    alone = ages(Window(current=first), first.sockets)
    both = ages(Window(current=second, previous=first), second.sockets)
    known = ~np.isnan(alone.lower)
    assert (both.lower[known] >= alone.lower[known] + elapsed - 1e-6).all()
    dated = first.sockets.is_in_state(State.CLOSE_WAIT, State.FIN_WAIT_2, State.TIME_WAIT)
    assert both.surely(elapsed - 1e-6)[dated].all()


def test_no_sockets_have_no_ages() -> None:
    seen = snapshot()
    assert not len(ages(Window(current=seen, previous=seen), table([])).lower)
