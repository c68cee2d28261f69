import numpy as np
import pytest
from hypothesis import given, strategies as st

from builders import later, namespace, process, snapshot, socket, table, window
from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.remember import remember
from sockwatch.diagnose.verdict import (
    MOST_GROUPS,
    MOST_ROWS,
    Advice,
    Telling,
    advise,
    age_evidence,
    plural,
    service_end,
    settle,
    shown,
    split,
    subject,
    tell,
)
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.state import State

TELLING = Telling(summary="{who} has {how_many}", cause="{who}", remedies=("restart {who}",))


def ages(*pairs: tuple[float, float]) -> Ages:
    return Ages(lower=np.array([low for low, _ in pairs]), upper=np.array([high for _, high in pairs]))


def told(telling: Telling = TELLING, *, known: bool = True, inodes: tuple[int, ...] = (1, 2)) -> Finding:
    rows = [socket(State.CLOSE_WAIT, "10.0.0.1:80", f"10.0.0.2:{i}", inode=i) for i in inodes]
    young, old = process(9, "worker"), process(5, "Main")
    seen = window(*rows, holders={1: [young], 2: [old, young]} if known else {})
    return tell(
        seen,
        seen.sockets,
        telling,
        code="x",
        variant=None,
        severity=Severity.INFO,
        subject=subject(seen, seen.sockets),
    )


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 60), st.integers(0, 1)), max_size=200))
def test_split_gives_every_row_to_one_group_and_never_mixes_what_is_apart(rows: list[tuple[int, int, int]]) -> None:
    apart, key, other = np.array(rows, np.int32).reshape(-1, 3).T
    groups = [rows for rows, _ in split(key, other, apart=(apart,))]
    assert sorted(np.concatenate([*groups, np.empty(0, np.intp)]).tolist()) == list(range(len(rows)))
    assert all(len(group) and len(set(apart[group])) == 1 for group in groups)
    exact = {(a, k, o): rows.count((a, k, o)) for a, k, o in rows}
    largest = sorted(exact.values(), reverse=True)[:MOST_GROUPS]
    assert [len(group) for group in groups[:MOST_GROUPS]] == largest
    assert all(len({rows[i] for i in group}) == 1 for group in groups[:MOST_GROUPS])
    assert len(groups) <= MOST_GROUPS + 2


def test_split_leaves_the_smallest_together_for_each_value_of_what_is_apart() -> None:
    sizes = [*range(30, 10, -1), 3, 2, 2, 1]
    key = np.repeat(np.arange(len(sizes)), sizes)
    groups = split(key, apart=(key == 22,))
    assert [len(rows) for rows, _ in groups] == [*range(30, 10, -1), 6, 2]
    assert set(key[groups[20].rows].tolist()) == {20, 21, 23}
    assert [folded for _, folded in groups] == [*[False] * 20, True, False]  # the last one is a group of its own


def test_split_keeps_the_rows_of_a_group_in_their_order() -> None:
    groups = split(np.array([5, 6, 5, 6, 5]), apart=(np.zeros(5, np.int8),))
    assert [rows.tolist() for rows, _ in groups] == [[0, 2, 4], [1, 3]]


def test_who_holds_most_is_the_process_and_all_are_holders() -> None:
    finding = told()
    assert finding.subject.process == process(9, "worker"), "it has both, the older one has one"
    assert finding.holders == (process(9, "worker"), process(5, "Main"))
    assert finding.count == 2
    assert finding.summary == "worker[9] and 1 more has 2 connections"
    assert finding.remedies == ("restart worker[9] and 1 more",)


def test_who_held_what_is_in_time_wait_is_told_from_an_earlier_look_and_said_to_be() -> None:
    live = snapshot(
        socket(State.ESTABLISHED, "10.0.0.1:80", "10.0.0.2:1", cookie=7, inode=1), holders={1: [process(5)]}
    )
    history = remember(Window(current=live), live.sockets)
    for inode, named in ((0, process(5)), (3, None)):  # what has a descriptor has a holder, and here nobody sees it
        row = socket(State.TIME_WAIT, "10.0.0.1:80", "10.0.0.2:1", cookie=7, inode=inode)
        seen = Window(current=later(snapshot(row), 10.0), history=history)
        finding = tell(
            seen,
            seen.sockets,
            TELLING,
            code="x",
            variant=None,
            severity=Severity.INFO,
            subject=subject(seen, seen.sockets),
        )
        assert finding.subject.process == named
        assert finding.evidence == ({"confidence": "medium", "process_from": "an earlier look"} if named else {})


def test_one_holder_is_no_list() -> None:
    finding = told(inodes=(1,))
    assert finding.subject.process == process(9, "worker")
    assert finding.holders == ()


def test_a_process_that_cannot_be_seen_is_said_to_be_and_not_guessed() -> None:
    finding = told(known=False)
    assert finding.subject.process is None
    assert finding.summary == "A process that could not be seen has 2 connections"


def test_a_sentence_begins_with_a_capital_but_a_process_keeps_its_name() -> None:
    assert told(inodes=(1,)).summary.startswith("worker[9]")
    other = Telling(summary="clients of {who}", cause="", remedies=())
    assert told(other).summary == "Clients of worker[9] and 1 more"


def test_braces_in_the_name_of_a_process_are_only_text() -> None:
    seen = window(socket(State.CLOSE_WAIT, "10.0.0.1:80", "10.0.0.2:1", inode=1), holders={1: [process(7, "{0}{x}")]})
    finding = tell(
        seen,
        seen.sockets,
        TELLING,
        code="x",
        variant=None,
        severity=Severity.INFO,
        subject=subject(seen, seen.sockets),
    )
    assert finding.summary == "{0}{x}[7] has 1 connection"


def test_advice_has_the_value_of_now_and_leaves_out_what_the_namespace_lacks() -> None:
    advice = (
        Advice(name="net.ipv4.tcp_fin_timeout", effect=Effect.NONE, why="a"),
        Advice(name="net.ipv4.no_such", effect=Effect.HELPS, why="b"),
    )
    assert [(a.name, a.value) for a in advise(namespace(tcp_fin_timeout="30"), advice)] == [
        ("net.ipv4.tcp_fin_timeout", "30")
    ]


def test_what_differs_in_a_group_is_a_star() -> None:
    rows = [
        socket(State.ESTABLISHED, "10.0.0.1:80", "10.0.0.2:1"),
        socket(State.ESTABLISHED, "10.0.0.1:81", "[fd00::2]:1"),
    ]
    seen = window(*rows)
    where = subject(seen, seen.sockets)
    assert (where.local, where.remote) == ("10.0.0.1:*", "*:1")
    assert subject(seen, seen.sockets, local=False, remote=False).local is None


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ("[fd00::1]:80", "[fd01::1]:80", "*:80"),
        ("[fd00::1]:80", "[fd00::2]:80", "*:80"),
        ("[fd00::1]:80", "[fd00::1]:81", "[fd00::1]:*"),
        ("[fd00::1]:80", "[fd00::1]:80", "[fd00::1]:80"),
    ],
)
def test_an_address_is_common_when_all_of_it_is(one: str, other: str, common: str) -> None:
    seen = window(*(socket(State.ESTABLISHED, local, "[fd02::1]:5") for local in (one, other)))
    assert subject(seen, seen.sockets).local == common


def test_a_service_end_is_the_local_port_of_a_server_and_the_remote_end_of_a_client() -> None:
    rows = [
        socket(State.ESTABLISHED, "10.0.0.1:80", "10.0.0.2:1"),
        socket(State.ESTABLISHED, "10.0.0.3:80", "10.0.0.4:2"),
        socket(State.ESTABLISHED, "10.0.0.1:5000", "10.0.0.9:443"),
        socket(State.ESTABLISHED, "10.0.0.1:5001", "10.0.0.9:443"),
        socket(State.ESTABLISHED, "10.0.0.1:5002", "10.0.0.8:443"),
    ]
    sockets = table(rows)
    serving = np.array([True, True, False, False, False])
    keys = list(zip(*(column.tolist() for column in service_end(sockets, serving)), strict=True))
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert len(set(keys)) == 3


def test_at_most_ten_rows_are_shown_and_they_are_the_oldest() -> None:
    rows = [socket(State.CLOSE_WAIT, "10.0.0.1:80", f"10.0.0.2:{i + 1}", inode=i + 1) for i in range(23)]
    seen = window(*rows, holders={23: [process(4)]})
    found = shown(seen, seen.sockets, ages(*((float(i), float(i)) for i in range(23))))
    assert len(found) == MOST_ROWS
    assert [row.age_seconds for row in found] == [float(i) for i in range(22, 12, -1)]
    assert [row.pid for row in found[:2]] == [4, None]
    assert found[0].remote == "10.0.0.2:23"


def test_an_unknown_age_is_none_in_a_row_and_comes_last() -> None:
    rows = [socket(State.CLOSE_WAIT, "10.0.0.1:80", f"10.0.0.2:{i + 1}") for i in range(2)]
    seen = window(*rows)
    found = shown(seen, seen.sockets, ages((float("nan"), float("nan")), (0.0, 1.0)))
    assert [row.age_seconds for row in found] == [0.0, None]
    assert [row.age_seconds for row in shown(seen, seen.sockets)] == [None, None]


def test_what_is_sure_wins_over_guesses() -> None:
    counted, certain = settle(ages((59.0, 90.0), (60.0, 60.0)), 60.0)
    assert (counted.tolist(), certain) == ([False, True], True)
    counted, certain = settle(ages((59.0, 90.0), (1.0, 59.0)), 60.0)
    assert (counted.tolist(), certain) == ([True, False], False)


def test_a_guess_has_low_confidence_in_its_evidence() -> None:
    assert age_evidence(ages((1.0, 70.0)), certain=False) == {"oldest_seconds_max": 70.0, "confidence": "low"}
    assert age_evidence(ages((1.0, float("nan"))), certain=True) == {}


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 sockets"), (1, "1 socket"), (23, "23 sockets"), (1234, "1,234 sockets")]
)
def test_plurals(count: int, text: str) -> None:
    assert plural(count) == text
