"""The oldest goes first: samples after a day, rollups and findings that are over later; sooner if space is short."""

import sqlite3

from sockwatch.export.history.samples import Look
from sockwatch.export.history.schema import limit, transaction
from sockwatch.model.settings import HistorySettings

KEEP_SAMPLES = 86400.0
"""Seconds; charts of longer times than an hour or so read rollups."""
MOST_EVENTS = 10_000
_EVERY = 600.0
_CHUNK = 100
"""Looks that one transaction deletes, so that none is long."""
_CHUNKS = 30
"""In one go."""
_KEEP_AT_LEAST = 3600
"""Seconds of samples that go last, for want of space."""
_DELETE_SAMPLES = "DELETE FROM samples WHERE time IN (SELECT time FROM samples WHERE time < ? ORDER BY time LIMIT ?)"
_FULL = 0.9
"""Of what the file may take: from here on the oldest goes before its time."""
_STEADY = 3600.0
"""For so long the wall clock must have gone as fast as the other before anything goes by its age: a clock that was set
wrong for a moment must not cost the history."""
_JUMP = 60.0
_OLDEST_EPISODES = "SELECT id FROM episodes WHERE closed IS NOT NULL ORDER BY closed LIMIT ?"


class Bounds:
    """Keeps a store below its size and age. For one thread; raises sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._offset: float | None = None
        self._steady_since = 0.0
        self._aged_at: float | None = None

    def keep(self, settings: HistorySettings, look: Look, *, file_bytes: int, rolled_up: int) -> bool:
        """Delete what must go; whether series went with it."""
        self._watch_clock(look)
        removed = False
        if look.monotonic - self._steady_since >= _STEADY and (
            self._aged_at is None or look.monotonic - self._aged_at >= _EVERY
        ):
            self._aged_at = look.monotonic
            self._delete_samples(min(look.time - min(KEEP_SAMPLES, settings.max_age), rolled_up))
            removed = self._delete_before(look.time - settings.max_age)
        self._delete_most_events()
        for _ in range(_CHUNKS):
            if self._used() <= _FULL * file_bytes or not self._delete_oldest():
                break
        if self._number("page_count") * self._number("page_size") > file_bytes:
            # It gives one row a page, without columns; of execute() only the first step would be taken.
            self._connection.executescript("PRAGMA incremental_vacuum(2048)")
            limit(self._connection, file_bytes)
        return removed

    def _watch_clock(self, look: Look) -> None:
        offset = look.time - look.monotonic
        if self._offset is None or abs(offset - self._offset) > _JUMP:
            self._steady_since = look.monotonic
        self._offset = offset

    def _delete_samples(self, before: float) -> None:
        for _ in range(_CHUNKS):
            if self._connection.execute(_DELETE_SAMPLES, (before, _CHUNK)).rowcount < _CHUNK:
                return

    def _delete_before(self, time: float) -> bool:
        """Rollups, findings that are over, gaps; whether series went with them."""
        execute = self._connection.execute
        with transaction(self._connection):
            execute("DELETE FROM rollups WHERE time < ?", (int(time),))
            self._delete_episodes("SELECT id FROM episodes WHERE closed < ?", time)
            execute("DELETE FROM gaps WHERE ended < ?", (time,))
            return execute("DELETE FROM series WHERE used < ?", (int(time),)).rowcount > 0

    def _delete_most_events(self) -> None:
        (events,) = self._connection.execute("SELECT count(*) FROM events").fetchone()
        if events <= MOST_EVENTS:
            return
        with transaction(self._connection):
            self._delete_episodes(_OLDEST_EPISODES, MOST_EVENTS // 10)
            # Those that are open lose what happened first, but for their beginning.
            self._connection.execute(
                "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE kind = 'changed' ORDER BY time LIMIT ?)",
                (events - MOST_EVENTS,),
            )

    def _delete_oldest(self) -> bool:
        """Samples, but for those of the last hour; else some of the oldest of all the rest."""
        execute = self._connection.execute
        oldest, newest = execute("SELECT min(time), max(time) FROM samples").fetchone()
        if oldest is not None and newest - oldest > _KEEP_AT_LEAST:
            execute(_DELETE_SAMPLES, (newest - _KEEP_AT_LEAST, _CHUNK))
            return True
        (rolled_up,) = execute("SELECT min(time) FROM rollups").fetchone()
        (closed,) = execute("SELECT min(closed) FROM episodes").fetchone()
        if rolled_up is not None and (closed is None or rolled_up <= closed):
            execute("DELETE FROM rollups WHERE time < ?", (rolled_up + _KEEP_AT_LEAST,))
        elif closed is not None:
            with transaction(self._connection):
                self._delete_episodes(_OLDEST_EPISODES, _CHUNK)
        return rolled_up is not None or closed is not None

    def _delete_episodes(self, which: str, value: float) -> None:
        self._connection.execute(f"DELETE FROM events WHERE episode IN ({which})", (value,))  # noqa: S608 - constants
        self._connection.execute(f"DELETE FROM episodes WHERE id IN ({which})", (value,))  # noqa: S608 - constants

    def _used(self) -> int:
        return (self._number("page_count") - self._number("freelist_count")) * self._number("page_size")

    def _number(self, pragma: str) -> int:
        return int(self._connection.execute(f"PRAGMA {pragma}").fetchone()[0])
