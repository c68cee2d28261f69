"""The oldest goes first: samples after a day, rollups and findings that are over later; sooner if space is short."""

import sqlite3

from sockwatch.export.history.samples import Look
from sockwatch.export.history.schema import ROLLUP
from sockwatch.model.settings import HistorySettings

KEEP_SAMPLES = 86400.0
"""Seconds; charts of longer times than an hour or so read rollups."""
MOST_EVENTS = 10_000
_EVERY = 600.0
_CHUNK = 3600
"""Seconds of samples that one transaction deletes, so that none is long."""
_CHUNKS = 6
"""In one go."""
_FULL = 0.9
"""Of what the file may take: from here on the oldest goes before its time."""
_STEADY = 3600.0
"""For so long the wall clock must have gone as fast as the other before anything goes by its age: a clock that was set
wrong for a moment must not cost the history."""
_JUMP = 60.0


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
            removed = self._delete_before(look.time - settings.max_age, rolled_up)
        self._delete_most_events()
        for _ in range(_CHUNKS):
            if self._used() <= _FULL * file_bytes or not self._delete_oldest(rolled_up):
                break
            removed = True
        if self._number("page_count") * self._number("page_size") > file_bytes:
            self._connection.execute("PRAGMA incremental_vacuum(2048)").fetchall()
        return removed

    def _watch_clock(self, look: Look) -> None:
        offset = look.time - look.monotonic
        if self._offset is None or abs(offset - self._offset) > _JUMP:
            self._steady_since = look.monotonic
        self._offset = offset

    def _delete_samples(self, before: float) -> None:
        for _ in range(_CHUNKS):
            (oldest,) = self._connection.execute("SELECT min(time) FROM samples").fetchone()
            if oldest is None or oldest >= before:
                return
            self._connection.execute("DELETE FROM samples WHERE time < ?", (min(oldest + _CHUNK, int(before)),))

    def _delete_before(self, time: float, rolled_up: int) -> bool:
        """Rollups, findings that are over, gaps; whether series went with them."""
        execute = self._connection.execute
        for (number,) in execute("SELECT id FROM series").fetchall():
            execute("DELETE FROM rollups WHERE series = ? AND time < ?", (number, int(time)))
        execute("DELETE FROM events WHERE episode IN (SELECT id FROM episodes WHERE closed < ?)", (time,))
        execute("DELETE FROM episodes WHERE closed < ?", (time,))
        execute("DELETE FROM gaps WHERE ended < ?", (time,))
        unused = execute(
            "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM rollups WHERE series = id)"
            " AND id NOT IN (SELECT series FROM samples WHERE time >= ?)",
            (rolled_up - ROLLUP,),
        )
        return unused.rowcount > 0

    def _delete_most_events(self) -> None:
        (events,) = self._connection.execute("SELECT count(*) FROM events").fetchone()
        if events <= MOST_EVENTS:
            return
        self._delete_episodes("SELECT id FROM episodes WHERE closed IS NOT NULL ORDER BY closed LIMIT 1000")
        # Those that are open lose what happened first, but for their beginning.
        self._connection.execute(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE kind = 'changed' ORDER BY time LIMIT ?)",
            (max(events - MOST_EVENTS, 0),),
        )

    def _delete_oldest(self, rolled_up: int) -> bool:
        """An hour of samples, if there is more than one; else the oldest quarter of all the rest."""
        execute = self._connection.execute
        oldest, newest = execute("SELECT min(time), max(time) FROM samples").fetchone()
        if oldest is not None and newest - oldest > _CHUNK:
            execute("DELETE FROM samples WHERE time < ?", (oldest + _CHUNK,))
            return True
        oldest, newest = execute("SELECT min(time), max(time) FROM rollups").fetchone()
        if oldest is not None and newest > oldest:
            self._delete_before(oldest + max((newest - oldest) / 4, ROLLUP), rolled_up)
            return True
        closed = execute("SELECT count(*) FROM episodes WHERE closed IS NOT NULL").fetchone()[0]
        self._delete_episodes(
            f"SELECT id FROM episodes WHERE closed IS NOT NULL ORDER BY closed LIMIT {closed // 4 + 1}"  # noqa: S608 - a number
        )
        return bool(closed)

    def _delete_episodes(self, which: str) -> None:
        self._connection.execute(f"DELETE FROM events WHERE episode IN ({which})")  # noqa: S608 - constants of this module
        self._connection.execute(f"DELETE FROM episodes WHERE id IN ({which})")  # noqa: S608 - constants of this module

    def _used(self) -> int:
        return (self._number("page_count") - self._number("freelist_count")) * self._number("page_size")

    def _number(self, pragma: str) -> int:
        return int(self._connection.execute(f"PRAGMA {pragma}").fetchone()[0])
