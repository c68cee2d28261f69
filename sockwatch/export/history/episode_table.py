"""Episodes and their events in the store."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import fields

from sockwatch.export.history.episodes import Episode, Event, EventKind
from sockwatch.export.json_report import kept_finding_object
from sockwatch.model.alert import AlertIdentity
from sockwatch.model.finding import Severity

SEEN_EVERY = 60.0
"""Seconds between two updates of an episode that only lasts."""
_IDENTITY = tuple(field.name for field in fields(AlertIdentity))
_COLUMNS = ("opened", "seen", "closed", "severity", "worst", "count", "most", "summary")
_SELECT = f"SELECT id, {', '.join(_IDENTITY + _COLUMNS)} FROM episodes WHERE closed IS NULL"  # noqa: S608 - constants
_INSERT = (
    f"INSERT INTO episodes ({', '.join(_COLUMNS + _IDENTITY)})"  # noqa: S608 - constants
    f" VALUES ({', '.join('?' * len(_COLUMNS + _IDENTITY))})"
)
_UPDATE = f"UPDATE episodes SET {', '.join(f'{name} = ?' for name in _COLUMNS)} WHERE id = ?"  # noqa: S608 - constants


class EpisodeTable:
    """`open` are the episodes that are not over, those of the daemon before this one included."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.open: dict[AlertIdentity, Episode] = {}
        self._numbers: dict[AlertIdentity, int] = {}
        self._written: dict[AlertIdentity, float] = {}
        for number, *values in connection.execute(_SELECT):
            row = dict(zip(_IDENTITY + _COLUMNS, values, strict=True))
            identity = AlertIdentity(**{name: row.pop(name) for name in _IDENTITY})
            del row["closed"]
            severity, worst = Severity(row.pop("severity")), Severity(row.pop("worst"))
            self._numbers[identity], self._written[identity] = number, row["seen"]
            self.open[identity] = Episode(
                identity=identity,
                severity=severity,
                worst=worst,
                noted_severity=severity,
                noted_count=row["count"],
                **row,
            )

    def write(self, episodes: Mapping[AlertIdentity, Episode], events: Iterable[Event], time: float) -> None:
        """Inside a transaction: what happened, and when those that only last were seen last."""
        for event in events:
            self._write_event(event, time)
        for identity, episode in episodes.items():
            if abs(time - self._written[identity]) >= SEEN_EVERY:
                self._update(episode, None, time)
        self.open = dict(episodes)

    def _write_event(self, event: Event, time: float) -> None:
        episode = event.episode
        if event.kind is EventKind.OPENED:
            values = (*_values(episode, None), *(getattr(episode.identity, name) for name in _IDENTITY))
            self._numbers[episode.identity] = int(self._connection.execute(_INSERT, values).lastrowid or 0)
            self._written[episode.identity] = time
        else:
            self._update(episode, event.time if event.kind is EventKind.CLOSED else None, time)
        finding = None if episode.finding is None else json.dumps(kept_finding_object(episode.finding), allow_nan=False)
        self._connection.execute(
            "INSERT INTO events (episode, time, kind, severity, count, finding) VALUES (?, ?, ?, ?, ?, ?)",
            (
                self._numbers[episode.identity],
                event.time,
                event.kind.value,
                episode.severity.value,
                episode.count,
                finding,
            ),
        )
        if event.kind is EventKind.CLOSED:
            del self._numbers[episode.identity], self._written[episode.identity]

    def _update(self, episode: Episode, closed: float | None, time: float) -> None:
        self._connection.execute(_UPDATE, (*_values(episode, closed), self._numbers[episode.identity]))
        self._written[episode.identity] = time


def _values(episode: Episode, closed: float | None) -> tuple[float | int | str | None, ...]:
    """In the order of _COLUMNS."""
    return (
        episode.opened,
        episode.seen,
        closed,
        episode.severity.value,
        episode.worst.value,
        episode.count,
        episode.most,
        episode.summary,
    )
