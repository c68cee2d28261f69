from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from builders import later, process, snapshot, socket
from sockwatch.diagnose import remember as module
from sockwatch.diagnose.age import ages
from sockwatch.diagnose.remember import remember
from sockwatch.diagnose.role import Role, lasting_roles
from sockwatch.diagnose.window import Window
from sockwatch.model.history import MOST_LOOKS, History
from sockwatch.model.snapshot import Process, Snapshot
from sockwatch.model.state import State

HOLDER, OTHER = process(812, "orders-api"), process(900, "gateway")
A = "10.0.0.1:8080", "10.0.0.7:40000"


def after(*looks: Snapshot) -> History:
    """The history that these looks leave, with every socket a suspect."""
    history, previous = History(), None
    for look in looks:
        history = remember(Window(current=look, previous=previous, history=history), look.sockets)
        previous = look
    return history


def one(state: State, **columns: Any) -> dict[str, Any]:
    return socket(state, *A, **({"cookie": 7, "inode": 5} | columns))


def test_who_held_a_socket_is_known_after_it_has_lost_its_descriptor() -> None:
    live = snapshot(one(State.ESTABLISHED), holders={5: [HOLDER]})
    gone = later(snapshot(one(State.TIME_WAIT, inode=0)), 10.0)
    for history in (after(live), after(live, gone), after(live, gone, later(gone, 10.0))):
        assert history.holders(gone.sockets) == (HOLDER,)
        assert history.holders(snapshot(one(State.TIME_WAIT, cookie=8)).sockets) == ()


def test_a_socket_that_is_passed_on_is_its_last_holders() -> None:
    first = snapshot(one(State.ESTABLISHED), holders={5: [HOLDER]})
    second = later(snapshot(one(State.ESTABLISHED), holders={5: [OTHER]}), 10.0)
    history = after(first, second)
    assert history.holders(second.sockets) == (OTHER,)
    assert history.processes == (OTHER,)


def test_a_state_lasts_since_it_was_first_seen_without_a_break() -> None:
    stuck, open_ = one(State.CLOSE_WAIT), one(State.ESTABLISHED)
    looks = [snapshot(stuck), snapshot(open_), snapshot(stuck), snapshot(stuck)]
    looks = [replace(later(look, 10.0 * i), took=1.0) for i, look in enumerate(looks)]
    assert after(*looks).since.tolist() == [100_021.0]
    now = later(looks[3], 20.0)
    seen = Window(current=now, history=after(*looks))
    assert ages(seen, now.sockets).lower.tolist() == [29.0]


def test_a_role_that_was_told_once_stays() -> None:
    told: dict[str, Any] = {"bytes_acked": 9.0, "bytes_sent": 9.0, "bytes_retrans": 0.0, "notsent_bytes": 0.0}
    first = snapshot(one(State.ESTABLISHED, **told))
    hidden = later(snapshot(one(State.ESTABLISHED, **(told | {"bytes_acked": 5e3}))), 10.0)
    seen = Window(current=later(hidden, 10.0), previous=hidden, history=after(first, hidden))
    assert lasting_roles(seen, seen.sockets).tolist() == [Role.ACCEPTED]


def leak(number: int, seconds: float, holder: Process = HOLDER) -> Snapshot:
    rows = [socket(State.CLOSE_WAIT, *A, cookie=i, inode=i) for i in range(1, number + 1)]
    return later(snapshot(*rows, holders={i: [holder] for i in range(1, number + 1)}), seconds)


def test_the_slope_is_that_of_the_line_through_the_looks() -> None:
    assert after(leak(4, 0), leak(8, 1)).slope(HOLDER, State.CLOSE_WAIT) is None
    assert after(leak(4, 0), leak(8, 1), leak(12, 2)).slope(HOLDER, State.CLOSE_WAIT) == pytest.approx(4.0)
    burst = after(leak(10, 0), leak(10, 10), leak(40, 20), leak(10, 30), leak(10, 40))
    assert burst.slope(HOLDER, State.CLOSE_WAIT) == pytest.approx(0.0)
    assert burst.slope(OTHER, State.CLOSE_WAIT) is None


def test_open_files_grow_by_the_lesser_of_the_line_and_the_last_interval() -> None:
    def having(fds: int | None) -> Process:
        return replace(HOLDER, fds=fds)

    two = after(leak(1, 0, having(10)), leak(1, 10, having(30)))
    assert two.files_slope(having(60), 100_020.0) == pytest.approx(3.0)
    line = after(leak(1, 0, having(10)), leak(1, 10, having(20)), leak(1, 20, having(30)))
    assert line.files_slope(having(60), 100_030.0) == pytest.approx(1.0)
    assert line.files_slope(having(30), 100_030.0) == 0.0
    assert line.files_slope(having(60), 100_020.0) is None
    assert line.files_slope(replace(having(60), started=99.0), 100_030.0) is None
    unread = after(leak(1, 0, having(10)), leak(1, 10, having(None)))
    assert unread.files_slope(having(60), 100_020.0) is None


def test_a_process_of_the_same_number_is_another_one() -> None:
    history = after(leak(4, 0), leak(8, 1), leak(12, 2))
    assert history.slope(replace(HOLDER, started=99.0), State.CLOSE_WAIT) is None


def test_counts_go_back_so_many_looks_and_no_further() -> None:
    history = after(*(leak(5, float(i)) for i in range(MOST_LOOKS + 7)))
    assert len(history.counts[812, 812.0, State.CLOSE_WAIT].times) == MOST_LOOKS


def test_no_more_sockets_are_remembered_than_the_limit_and_first_those_that_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_SOCKETS", 5)
    rows = [socket(State.CLOSE_WAIT, *A, cookie=i) for i in range(1, 10)]
    history = after(snapshot(*rows[4:]), later(snapshot(*rows), 10.0))
    assert sorted(history.cookie.tolist()) == [5, 6, 7, 8, 9]


def test_what_nobody_suspects_is_not_remembered_and_costs_nothing() -> None:
    look = snapshot(one(State.ESTABLISHED), holders={5: [HOLDER]})
    assert len(remember(Window(current=look), look.sockets.in_state(State.CLOSE_WAIT))) == 0


LOOKS = st.lists(
    st.dictionaries(
        st.integers(1, 9),
        st.tuples(st.sampled_from((State.ESTABLISHED, State.CLOSE_WAIT, State.TIME_WAIT)), st.integers(0, 2)),
    ),
    min_size=1,
    max_size=6,
)


@given(LOOKS)
def test_the_history_is_that_of_a_diary(looks: Sequence[dict[int, tuple[State, int]]]) -> None:
    """Against a slow one: for each socket its state, since when, and its last known holder."""
    diary: dict[int, tuple[State, float, Process | None]] = {}
    taken = []
    for i, seen in enumerate(looks):
        now = 100_000.0 + i
        rows = [socket(state, *A, cookie=c, inode=c * 10 + who) for c, (state, who) in seen.items()]
        holders = {c * 10 + who: [(HOLDER, OTHER)[who - 1]] for c, (_, who) in seen.items() if who}
        taken.append(later(snapshot(*rows, holders=holders), float(i)))
        diary = {
            c: (
                state,
                diary[c][1] if c in diary and diary[c][0] == state else now,
                (HOLDER, OTHER)[who - 1] if who else diary[c][2] if c in diary else None,
            )
            for c, (state, who) in seen.items()
        }
    history = after(*taken)
    found = {
        int(cookie): (State(int(state)), since, None if owner < 0 else history.processes[owner])
        for cookie, state, since, owner in zip(history.cookie, history.state, history.since, history.owner, strict=True)
    }
    assert found == diary
    assert len(history.processes) <= 2
