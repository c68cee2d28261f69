"""Lines and bars over time."""

import re
from datetime import UTC, datetime

import pytest

from sockwatch.export.history.records import Chart, Interval, Line
from sockwatch.export.history.samples import Kind, Series
from sockwatch.export.html_report.chart import MOST_LINES, state_chart


def chart(*values: float | None, name: str = "close_wait") -> Chart:
    line = Line(series=Series(Kind.STATE, "", name), mean=values, high=values)
    return Chart(times=tuple(range(0, 10 * len(values), 10)), step=10, lines=(line,))


def strokes(drawn: object) -> list[str]:
    path = re.search(r'<path d="([^"]*)" class="line s0">', str(drawn))
    assert path is not None
    return re.findall("[ML][^ML]*", path[1])


def test_steps_between_two_looks_are_bridged_and_blind_times_are_not() -> None:
    values = chart(5, None, 7, None, None, 9)
    assert [stroke[0] for stroke in strokes(state_chart(values, []))] == ["M", "L", "L"]
    blind = [Interval(began=35.0, ended=45.0, why="away")]
    assert [stroke[0] for stroke in strokes(state_chart(values, blind))] == ["M", "L", "M"]


def test_the_highest_value_is_at_the_top_and_none_at_the_bottom() -> None:
    first, second = strokes(state_chart(chart(0, 23), []))
    assert float(first.split()[1].partition("H")[0]) > float(second.split()[1].partition("H")[0])


def test_nothing_known_is_no_picture_and_there_are_few_lines() -> None:
    assert state_chart(chart(None, None), []) is None
    every = chart(5)
    lines = tuple(
        Line(series=Series(Kind.STATE, "", str(number)), mean=(number,), high=(number,)) for number in range(1, 20)
    )
    drawn = str(state_chart(Chart(times=every.times, step=10, lines=lines), []))
    assert drawn.count('class="line ') == MOST_LINES
    assert "up to 19" in drawn
    assert "up to 13" not in drawn


@pytest.mark.parametrize(
    ("seconds", "times"),
    [
        (15 * 60, ["15:40", "15:45", "15:50"]),
        (40, ["15:38:10", "15:38:20", "15:38:30", "15:38:40"]),
        (24 * 3600, ["16:00", "20:00", "00:00", "04:00", "08:00", "12:00"]),
        (7 * 86400, ["2030-06-02", "2030-06-03", "2030-06-04", "2030-06-05", "2030-06-06", "2030-06-07", "2030-06-08"]),
    ],
)
def test_marks_of_the_time_are_round_and_stand_where_they_say(seconds: int, times: list[str]) -> None:
    since = int(datetime(2030, 6, 1, 15, 38, 4, tzinfo=UTC).timestamp())
    line = Line(series=Series(Kind.STATE, "", "close_wait"), mean=(5, 5), high=(5, 5))
    drawn = str(state_chart(Chart(times=(since, since + seconds // 2), step=seconds // 2, lines=(line,)), []))
    marks = re.findall(r'<text x="([0-9.]+)" y="254" text-anchor="middle">([^<]+)<', drawn)
    assert [text for _, text in marks] == times
    if seconds == 15 * 60:
        places = [70 + 880 * (minute * 60 - 4) / seconds for minute in (2, 7, 12)]
        assert [float(x) for x, _ in marks] == pytest.approx(places, abs=0.1)


def test_marks_of_many_years_are_few() -> None:
    line = Line(series=Series(Kind.STATE, "", "close_wait"), mean=(5, 5), high=(5, 5))
    drawn = str(state_chart(Chart(times=(0, 10**9), step=10**9, lines=(line,)), []))
    assert 3 <= drawn.count('text-anchor="middle"') <= 8
