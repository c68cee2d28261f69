"""The state diagram and the numbers in it."""

import re

import pytest

import reports
from builders import process
from export.test_markup import Parts
from sockwatch.export.diagram import rate_text, state_diagram
from sockwatch.export.state_counts import StateCount, state_counts
from sockwatch.model.finding import Severity, Subject
from sockwatch.model.report import PeerCount
from sockwatch.model.state import State


def link(state: State) -> str:
    return f"/{state.label}"


def test_every_state_has_one_box_with_its_count() -> None:
    counts = {state: StateCount(count=100 + state) for state in State}
    text = str(state_diagram(counts, link=link))
    assert sorted(re.findall(r'id="state-(\w+)"', text)) == sorted(state.label for state in State)
    for state in State:
        assert f'aria-label="{state.label}: {100 + state}"' in text
        assert f'href="/{state.label}"' in text


def test_boxes_stand_where_the_figure_has_them_and_do_not_touch() -> None:
    boxes = [a for name, a in Parts(str(state_diagram({}))).elements if name == "rect" and a["class"] == "box"]
    places = [(float(b["x"] or 0), float(b["y"] or 0)) for b in boxes]
    width, height = float(boxes[0]["width"] or 0), float(boxes[0]["height"] or 0)
    assert len(places) == len(State)
    for i, (x, y) in enumerate(places):
        assert 0 <= x <= 540 - width
        assert 0 <= y <= 602 - height
        assert all(abs(x - u) > width or abs(y - v) > height for u, v in places[:i])


def test_edges_carry_the_rates_that_are_known() -> None:
    without = str(state_diagram({}))
    assert "/s<" not in without
    known = {"Tcp.ActiveOpens": 23.4, "Tcp.PassiveOpens": 0.0, "TcpExt.TW": 1234.0, "Tcp.EstabResets": 0.04}
    text = str(state_diagram({}, known))
    assert re.findall(r">([\w ]+ (?:&lt;)?[\d.,]+/s)<", text) == [
        "accepted 0/s",
        "closed here 1,234/s",
        "opened 23/s",
        "reset &lt;0.1/s",
    ]


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0, "0/s"), (0.01, "<0.1/s"), (0.1, "0.1/s"), (9.94, "9.9/s"), (10, "10/s"), (12345.6, "12,346/s")],
)
def test_rates_are_short(rate: float, text: str) -> None:
    assert rate_text(rate) == text


def test_what_cannot_be_told_is_a_question_mark_and_has_no_share() -> None:
    text = str(state_diagram({State.CLOSE: StateCount(count=None)}))
    assert text.count(">?</text>") == len(State)
    assert 'class="share"' not in text


def test_what_is_opened_a_second_stands_beside_connect() -> None:
    text = str(state_diagram({}, {"Tcp.ActiveOpens": 23.0, "TcpExt.TCPSynRetrans": 1.0}))
    at = {word: re.search(rf'<text x="(\d+)" y="(\d+)"[^>]*>{word}', text) for word in ("opened", r"connect\(\)")}
    (x, y), (connect_x, connect_y) = [map(int, found.groups()) for found in at.values() if found]
    assert y == connect_y
    assert connect_x < x
    assert "SYN again 1.0/s<title>SYNs and SYN,ACKs sent again</title>" in text


def test_a_finding_of_several_states_counts_in_each_what_it_has_there() -> None:
    counts = {State.ESTABLISHED: 60, State.TIME_WAIT: 300}
    told = state_counts(reports.report(reports.leak(count=360, by_state=counts), by_state=counts))
    assert {state: told[state].suspicious for state in counts} == counts
    assert {told[state].severity for state in counts} == {Severity.WARNING}
    assert told[State.CLOSE_WAIT] == StateCount(count=0)


def test_a_finding_that_does_not_tell_its_states_is_counted_only_where_it_can_be_in_one() -> None:
    both = (reports.row(state=State.ESTABLISHED), reports.row(state=State.TIME_WAIT))
    told = state_counts(reports.report(reports.leak(count=360, sockets=both), by_state={State.TIME_WAIT: 300}))
    assert told[State.TIME_WAIT] == StateCount(count=300, severity=Severity.WARNING)


def test_suspicious_sockets_are_those_of_warnings_in_their_state() -> None:
    report = reports.report(
        reports.leak(),
        reports.leak(count=7, severity=Severity.CRITICAL, subject=Subject(netns="host", process=process(9, "other"))),
        reports.leak(severity=Severity.INFO, sockets=(reports.row(state=State.TIME_WAIT),)),
        reports.leak(count=900, sockets=(reports.row(state=State.FIN_WAIT_2),)),
        by_state={State.CLOSE_WAIT: 46, State.TIME_WAIT: 5, State.FIN_WAIT_2: 23, State.LAST_ACK: None},
        peers=(
            PeerCount(netns="host", local="a", peer="b", state=State.CLOSE_WAIT, count=11),
            PeerCount(netns="host", local="a", peer="c", state=State.CLOSE_WAIT, count=2),
        ),
    )
    counts = state_counts(report)
    assert counts[State.CLOSE_WAIT] == StateCount(count=46, suspicious=30, aged=13, severity=Severity.CRITICAL)
    assert counts[State.CLOSE_WAIT].share == 30 / 46
    assert counts[State.TIME_WAIT] == StateCount(count=5)
    assert counts[State.FIN_WAIT_2] == StateCount(count=23, suspicious=23, severity=Severity.WARNING)
    assert counts[State.LAST_ACK] == StateCount(count=None)
    assert list(counts) == list(State)
