"""What happened, for the status page, the command line and the report. Opens the store for reading only."""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from sockwatch.errors import HistoryError, NoHistoryError
from sockwatch.export.history.episodes import EventKind
from sockwatch.export.history.packing import join, summarize
from sockwatch.export.history.records import Chart, Interval, Line, PastEvent, PastFinding
from sockwatch.export.history.samples import Kind, Series
from sockwatch.export.history.schema import ROLLUP, ForeignError, open_reader
from sockwatch.model.alert import AlertIdentity
from sockwatch.model.finding import Severity

FILE = "history.db"
"""Its name in the state directory."""
MOST_POINTS = 2000
_SAMPLES_SPAN = 2 * 3600
"""Seconds; a chart of a longer time reads rollups only."""
_IDENTITY = tuple(field.name for field in fields(AlertIdentity))

_TABLES = {"samples": 1, "rollups": 2}
"""With how many values each series has in them."""


class History:
    """Every method opens the store anew, so it may be asked from any thread, also while a daemon writes.

    Times are seconds since 1970; `since` is in the answer and `until` is not. Every method raises HistoryError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def span(self) -> tuple[float, float] | None:
        """From the first to the last look that is kept; None where there is none."""
        with self._reading() as connection:
            (first,) = connection.execute("SELECT min(time) FROM samples").fetchone()
            (rolled_up,) = connection.execute("SELECT min(time) FROM rollups").fetchone()
            last = connection.execute("SELECT max(time) FROM samples").fetchone()[0]
        if rolled_up is not None and (first is None or rolled_up + ROLLUP <= first):  # else they are of the same looks
            first = rolled_up
        return None if first is None or last is None else (float(first), float(last))

    def counts(self, since: float, until: float, *, points: int = 288, netns: str = "") -> Chart:
        """Sockets in each state, of all namespaces together or of one; the name of each series is the state's label."""
        return self.chart(Kind.STATE, since, until, points=points, netns=netns)

    def budgets(self, since: float, until: float, *, points: int = 288) -> Chart:
        """The used share of each port budget, 0 to 1; the name of each series is `SOURCE DESTINATION`."""
        return self.chart(Kind.BUDGET, since, until, points=points)

    def chart(self, kind: Kind, since: float, until: float, *, points: int = 288, netns: str | None = None) -> Chart:
        """Every series of a kind, of one namespace if it is given, in about so many steps.

        Where the time is longer than two hours only rollups are read: then a step is at least five minutes, and the one
        that is under way is missing. A finding that is not there at a step that is known has 0 sockets.
        """
        points = min(max(points, 1), MOST_POINTS)
        span = max(until - since, 1.0)
        table = "samples" if span <= _SAMPLES_SPAN else "rollups"
        least = 1 if table == "samples" else ROLLUP
        step = -(-int(-(-span // points)) // least) * least
        start = int(since) // step * step
        with self._reading() as connection:
            found = _points(connection, table, kind, netns, (start, int(-(-until // 1)), step))
            known = {} if kind is not Kind.FINDING else _known(connection, table, (start, int(until) + 1, step))
        times = tuple(range(start, max(int(-(-until // 1)), start + 1), step))
        empty = dict.fromkeys(known, (0.0, 0.0))
        lines = tuple(_line(series, empty | points, times) for series, points in sorted(found.items()))
        return Chart(times=times, step=step, lines=lines)

    def findings(
        self, since: float, until: float, *, code: str | None = None, limit: int = 1000
    ) -> tuple[PastFinding, ...]:
        """What was open at any time in between, the newest first."""
        columns = ", ".join(_IDENTITY)
        query = (
            f"SELECT id, opened, seen, closed, severity, worst, count, most, summary, {columns} FROM episodes"  # noqa: S608 - constants
            " WHERE opened < ? AND (closed IS NULL OR closed >= ?) AND (? IS NULL OR code = ?)"
            " ORDER BY opened DESC, id DESC LIMIT ?"
        )
        with self._reading() as connection:
            rows = connection.execute(query, (until, since, code, code, limit)).fetchall()
        return tuple(_past_finding(row) for row in rows)

    def events(
        self, since: float, until: float, *, number: int | None = None, limit: int = 1000
    ) -> tuple[PastEvent, ...]:
        """What happened, the newest first; of one past finding if its number is given."""
        query = (
            "SELECT episode, time, kind, severity, count, finding FROM events"
            " WHERE time >= ? AND time < ? AND (? IS NULL OR episode = ?) ORDER BY time DESC, id DESC LIMIT ?"
        )
        with self._reading() as connection:
            rows = connection.execute(query, (since, until, number, number, limit)).fetchall()
        return tuple(_past_event(row) for row in rows)

    def finding(self, number: int, until: float) -> Mapping[str, Any] | None:
        """A past finding in full, as the last event before `until` told it (PastEvent.finding); None where none did."""
        query = (
            "SELECT finding FROM events WHERE episode = ? AND time < ? AND finding IS NOT NULL"
            " ORDER BY time DESC, id DESC LIMIT 1"
        )
        with self._reading() as connection:
            row = connection.execute(query, (number, until)).fetchone()
            told: Mapping[str, Any] | None = None if row is None else json.loads(row[0])
        return told

    def gaps(self, since: float, until: float) -> tuple[Interval, ...]:
        """When nothing could be seen or kept, the oldest first."""
        query = (
            "SELECT began, ended, why FROM gaps WHERE began < ? AND (ended IS NULL OR ended >= ?) ORDER BY began, id"
        )
        with self._reading() as connection:
            rows = connection.execute(query, (until, since)).fetchall()
        return tuple(Interval(began=began, ended=ended, why=why) for began, ended, why in rows)

    def _refuse_unreadable(self) -> None:
        """Asked beforehand, as SQLite says the same of every file that it cannot open.

        Not by opening it: a close() would drop the locks that a writer in this process has (fcntl(2)).
        """
        try:
            self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise NoHistoryError(f"{self._path}: there is no history; `sockwatch run` keeps one") from None
        except PermissionError:
            readable = False
        except OSError as error:
            raise HistoryError(f"{self._path}: {error.strerror}") from None
        else:
            readable = os.access(self._path, os.R_OK)
        if not readable:
            raise HistoryError(f"{self._path}: Permission denied; try as root")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        self._refuse_unreadable()
        try:
            with closing(open_reader(self._path)) as connection:
                yield connection
        except (sqlite3.Error, ForeignError, OSError, ValueError) as error:
            raise HistoryError(f"{self._path}: {error}") from error


def _points(
    connection: sqlite3.Connection, table: str, kind: Kind, netns: str | None, when: tuple[int, int, int]
) -> dict[Series, dict[int, tuple[float, float]]]:
    since, until, step = when
    named = connection.execute(
        "SELECT id, netns, name FROM series WHERE kind = ?1 AND (?2 IS NULL OR netns = ?2)", (kind.value, netns)
    )
    series = {number: Series(kind, namespace, name) for number, namespace, name in named}
    packed = connection.execute(
        f"SELECT time, packed FROM {table} WHERE time >= ? AND time < ?",  # noqa: S608 - one of _TABLES
        (since, until),
    )
    rows = join(packed, _TABLES[table])
    steps = summarize(rows.take(np.isin(rows.series, list(series))), step)
    found: dict[Series, dict[int, tuple[float, float]]] = {}
    for number, start, mean, high in zip(
        steps.series.tolist(), steps.times.tolist(), *steps.values.tolist(), strict=True
    ):
        found.setdefault(series[number], {})[start] = (mean, high)
    return found


def _known(connection: sqlite3.Connection, table: str, when: tuple[int, int, int]) -> Mapping[int, Any]:
    """The steps in which a look succeeded."""
    every = _points(connection, table, Kind.SEVERITY, "", when)
    return next(iter(every.values()), {})


def _line(series: Series, points: Mapping[int, tuple[float, float]], times: tuple[int, ...]) -> Line:
    values = [points.get(time) for time in times]
    return Line(
        series=series,
        mean=tuple(None if value is None else round(value[0], 4) for value in values),
        high=tuple(None if value is None else value[1] for value in values),
    )


def _past_finding(row: tuple[Any, ...]) -> PastFinding:
    number, opened, seen, closed, severity, worst, count, most, summary, *identity = row
    return PastFinding(
        number=number,
        identity=AlertIdentity(**dict(zip(_IDENTITY, identity, strict=True))),
        opened=opened,
        seen=seen,
        closed=closed,
        severity=Severity(severity),
        worst=Severity(worst),
        count=count,
        most=most,
        summary=summary,
    )


def _past_event(row: tuple[Any, ...]) -> PastEvent:
    number, time, kind, severity, count, finding = row
    return PastEvent(
        number=number,
        time=time,
        kind=EventKind(kind),
        severity=Severity(severity),
        count=count,
        finding=None if finding is None else json.loads(finding),
    )
