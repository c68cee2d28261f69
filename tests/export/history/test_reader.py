"""Charts and past findings, also while the daemon writes."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from export.history.past import START, Looks, in_namespaces
from reports import leak, overflow
from sockwatch.errors import HistoryError
from sockwatch.export.history.database import Database
from sockwatch.export.history.reader import MOST_POINTS, History
from sockwatch.export.history.samples import Kind
from sockwatch.model.settings import HistorySettings
from sockwatch.model.state import State


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a history?#%41" / "history.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    path.parent.mkdir()
    with closing(Database(path, HistorySettings())) as database:
        yield database


def test_reads_while_another_writes(path: Path, database: Database) -> None:
    looks, history = Looks(), History(path)
    for number in range(50):
        database.write(looks.see(leak(count=number)))
        assert history.span() == (START, looks.time)


def test_the_first_look_is_one_and_not_the_beginning_of_its_five_minutes(path: Path, database: Database) -> None:
    looks = Looks(time=START + 217)
    for _ in range(60):
        look = looks.see(leak())
        database.write(look)
        database.tidy(look)
    assert History(path).counts(START, START + 86400).lines  # of rollups
    assert History(path).span() == (START + 227, looks.time)


def test_steps_of_a_short_time_come_from_samples(path: Path, database: Database) -> None:
    looks = Looks()
    for number in range(360):
        database.write(looks.see(by_state={State.CLOSE_WAIT: number}))
    chart = History(path).counts(START, START + 3600, points=60)
    (line,) = chart.lines
    assert (chart.step, len(chart.times)) == (60, 60)
    assert line.mean[:2] == (2.5, 8.5)
    assert line.high[:2] == (5, 11)


def test_a_finding_is_told_in_full_as_it_was_last(path: Path, database: Database) -> None:
    looks = Looks()
    for number in range(20):
        database.write(looks.see(leak(count=23 if number < 10 else 99), overflow()))
    history = History(path)
    numbers = {past.identity.code: past.number for past in history.findings(START, looks.time)}

    def told(until: float) -> object:
        found = history.finding(numbers["close_wait_leak"], until)
        return None if found is None else (found["code"], found["count"])

    assert told(looks.time + 1) == ("close_wait_leak", 99)
    assert told(START + 50) == ("close_wait_leak", 23)
    assert told(START) is None


def test_what_is_not_known_is_none(path: Path, database: Database) -> None:
    looks = Looks()
    for _ in range(6):
        database.write(looks.see(by_state={State.CLOSE_WAIT: 7}))
    for _ in range(6):
        database.write(looks.fail())
    database.write(looks.see(by_state={State.CLOSE_WAIT: 8}))
    (line,) = History(path).counts(START, START + 180, points=3).lines
    assert line.mean == (7, None, 8)


def test_a_finding_that_was_not_there_had_no_sockets(path: Path, database: Database) -> None:
    looks = Looks()
    for findings in ((), (leak(),), (leak(), overflow()), None, ()):
        for _ in range(6):
            database.write(looks.fail() if findings is None else looks.see(*findings))
    chart = History(path).chart(Kind.FINDING, START, START + 300, points=5)
    lines = {line.series.name: line.mean for line in chart.lines}
    assert lines == {
        "close_wait_leak/not_closed": (0, 23, 23, None, 0),
        "accept_queue_overflow/somaxconn": (0, 0, 129, None, 0),
    }


def test_namespaces_have_lines_of_their_own(path: Path, database: Database) -> None:
    counts = {"host": {State.LISTEN: 3}, "box": {State.LISTEN: 4}}
    database.write(Looks().see(**in_namespaces(counts)))
    history = History(path)

    def listening(netns: str | None) -> list[float | None]:
        lines = history.chart(Kind.STATE, START, START + 10, points=1, netns=netns).lines
        return [line.mean[0] for line in lines if line.series.name == "listen"]

    assert listening("") == [7]
    assert listening("box") == [4]
    assert sorted(value or 0 for value in listening(None)) == [3, 4, 7]


@pytest.mark.parametrize("span", [0, 0.1, 1, 59.9, 7199, 7201, 86400, 1e9, -5])
@pytest.mark.parametrize("points", [-1, 0, 1, 288, 10**9])
def test_any_time_and_any_number_of_points_make_a_chart(
    path: Path, database: Database, span: float, points: int
) -> None:
    database.write(Looks().see())
    chart = History(path).counts(START, START + span, points=points)
    assert 1 <= len(chart.times) <= MOST_POINTS + 2
    assert all(len(line.mean) == len(line.high) == len(chart.times) for line in chart.lines)


def test_only_some_of_the_findings(path: Path, database: Database) -> None:
    looks = Looks()
    for findings in ([leak()], [leak(), overflow()], *[[leak()]] * 7):
        database.write(looks.see(*findings))
    history = History(path)
    assert [past.identity.code for past in history.findings(START, START + 10)] == ["close_wait_leak"]
    assert [past.identity.code for past in history.findings(START + 10, START + 20)] == [
        "accept_queue_overflow",
        "close_wait_leak",
    ]
    assert [past.identity.code for past in history.findings(START + 21, START + 100)] == ["close_wait_leak"]
    assert len(history.findings(START, START + 100, limit=1)) == 1
    (overflowed,) = history.findings(START, START + 100, code="accept_queue_overflow")
    events = history.events(START, START + 100, number=overflowed.number)
    assert [event.kind for event in events] == ["closed", "opened"]
    assert len(history.events(START, START + 100, limit=2)) == 2


def test_an_empty_history_is_empty(path: Path, database: Database) -> None:
    del database
    history = History(path)
    assert history.span() is None
    assert history.counts(0, 100).lines == ()
    assert history.findings(0, 100) == ()
    assert history.events(0, 100) == ()
    assert history.gaps(0, 100) == ()


def test_never_writes(path: Path, database: Database) -> None:
    database.write(Looks().see())
    with History(path)._reading() as connection, pytest.raises(sqlite3.OperationalError):  # noqa: SLF001 - no way to ask
        connection.execute("DELETE FROM samples")


def test_reads_a_history_that_it_may_not_write_beside(path: Path, database: Database) -> None:
    database.write(Looks().see())
    database.close()
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        assert History(path).span() == (START, START)
    finally:
        path.parent.chmod(0o700)


@pytest.mark.parametrize("content", [None, b"hello" * 1000, b"SQLite format 3\0" + os.urandom(5000), b""])
def test_one_line_where_there_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "history.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HistoryError, match=r"history\.db: ") as raised:
        History(path).span()
    assert "\n" not in str(raised.value)


def test_a_damaged_look_is_missing_and_takes_no_other_with_it(path: Path, database: Database) -> None:
    looks = Looks()
    for number in range(3):
        database.write(looks.see(by_state={State.LISTEN: number}))
    database._connection.execute("UPDATE samples SET packed = x'ff' WHERE time = ?", (START + 10,))  # noqa: SLF001 - damage
    (line,) = History(path).counts(START, START + 30, points=3).lines
    assert line.mean == (0, None, 2)
