"""The writer's side of the store: one look after the other, each whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sockwatch.export.history.bounds import Bounds
from sockwatch.export.history.episode_table import EpisodeTable
from sockwatch.export.history.episodes import follow
from sockwatch.export.history.packing import join, pack, summarize
from sockwatch.export.history.samples import Kind, Look, Series, samples
from sockwatch.export.history.schema import ROLLUP, limit, open_writer, transaction
from sockwatch.model.printable import printable
from sockwatch.model.settings import HistorySettings

NOT_RUNNING = "the daemon was not running"
NOT_KEPT = "no looks could be kept"
_LATE = 2.5
"""Intervals without a look that make a gap."""
_CATCH_UP = 3600
"""Seconds of samples that are rolled up in one go."""
_DIGITS = 4


class Database:
    """For one thread. What raises sqlite3.Error has not happened; after that, close() is all that may be called.

    `away` is why there are no looks since the last one that was kept.
    """

    def __init__(self, path: Path, settings: HistorySettings, *, away: str = NOT_RUNNING) -> None:
        """Raises ForeignError and OSError too."""
        self._path = path
        self._settings = settings
        self._away = away
        self._connection = open_writer(path, most_bytes=_file_bytes(settings))
        try:
            self._bounds = Bounds(self._connection)
            self._episodes = EpisodeTable(self._connection)
            self._series = self._read_series()
            state: dict[str, float] = dict(self._connection.execute("SELECT key, value FROM state").fetchall())
        except BaseException:
            self._connection.close()
            raise
        self._looked, self._interval = state.get("looked"), state.get("interval", 0.0)
        self._rolled_up = int(state.get("rolled_up", 0))
        self._previous: Look | None = None

    def close(self) -> None:
        """Everything is in the one file after this."""
        self._connection.close()

    def configure(self, settings: HistorySettings) -> None:
        """From now on these bounds."""
        self._settings = settings
        limit(self._connection, _file_bytes(settings))

    def write(self, look: Look) -> None:
        """Keep one look."""
        before = self._previous
        passed = max(look.monotonic - before.monotonic, 0.0) if before is not None and before.success else 0.0
        episodes, events = follow(self._episodes.open, look, passed)
        with transaction(self._connection):
            self._mark_gap(look)
            if look.success:
                self._write_samples(int(look.time), samples(look, before))
            self._episodes.write(episodes, events, look.time)
            self._set(looked=look.time, interval=look.interval)
        self._previous, self._looked, self._interval = look, look.time, look.interval

    def tidy(self, look: Look) -> None:
        """Keep the bounds, and roll up what is complete."""
        room = _file_bytes(self._settings)
        if self._bounds.keep(self._settings, look, file_bytes=room, rolled_up=self._rolled_up):
            self._series = self._read_series()
        self._roll_up(int(look.time) // ROLLUP * ROLLUP)

    def bytes_used(self) -> int:
        """What the file takes on the disk, with what SQLite has beside it."""
        files = (self._path.with_name(self._path.name + end) for end in ("", "-wal", "-shm"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _read_series(self) -> dict[Series, int]:
        rows = self._connection.execute("SELECT id, kind, netns, name FROM series")
        return {Series(Kind(kind), netns, name): number for number, kind, netns, name in rows}

    def _set(self, **values: float) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", values.items())

    def _mark_gap(self, look: Look) -> None:
        """A time without looks: since the last one that was kept, or since looks fail."""
        execute = self._connection.execute
        failing: tuple[int] | None = execute("SELECT id FROM gaps WHERE ended IS NULL").fetchone()
        if failing is None and self._looked is not None:
            before = self._previous
            passed = look.time - self._looked if before is None else look.monotonic - before.monotonic
            if passed > _LATE * self._interval:
                why = self._away if before is None else NOT_KEPT
                ended = max(look.time, self._looked)
                execute("INSERT INTO gaps (began, ended, why) VALUES (?, ?, ?)", (self._looked, ended, why))
        if look.success and failing is not None:
            execute("UPDATE gaps SET ended = max(began, ?) WHERE id = ?", (look.time, *failing))
        elif not look.success and failing is None:
            why = next((gap.why for gap in look.report.gaps if gap.fatal), "the look failed")
            execute("INSERT INTO gaps (began, why) VALUES (?, ?)", (look.time, printable(why)))

    def _write_samples(self, time: int, values: Mapping[Series, float]) -> None:
        for series in values.keys() - self._series.keys():
            cursor = self._connection.execute(
                "INSERT INTO series (kind, netns, name, used) VALUES (?, ?, ?, ?)", (*series, time)
            )
            self._series[series] = int(cursor.lastrowid or 0)
        packed = pack((self._series[series] for series in values), values.values())
        self._connection.execute("INSERT OR REPLACE INTO samples VALUES (?, ?)", (time, packed))

    def _roll_up(self, until: int) -> None:
        """One row a series for each complete ROLLUP; at most _CATCH_UP seconds in one go."""
        begun = min(self._rolled_up, until)  # less where the wall clock was set back
        (first,) = self._connection.execute("SELECT min(time) FROM samples WHERE time >= ?", (begun,)).fetchone()
        begin = until if first is None else min(first // ROLLUP * ROLLUP, until)
        end = min(begin + _CATCH_UP, until)
        if end == self._rolled_up:
            return
        looks = self._connection.execute("SELECT time, packed FROM samples WHERE time >= ? AND time < ?", (begin, end))
        rows = summarize(join(looks, 1), ROLLUP)
        with transaction(self._connection):
            for start in np.unique(rows.times).tolist():
                step = rows.take(rows.times == start)
                packed = pack(step.series, step.values[0].round(_DIGITS), step.values[1])
                self._connection.execute("INSERT OR REPLACE INTO rollups VALUES (?, ?)", (start, packed))
            used = [(int(end), number) for number in np.unique(rows.series).tolist()]
            self._connection.executemany("UPDATE series SET used = ? WHERE id = ?", used)
            self._set(rolled_up=end)
        self._rolled_up = end


def _file_bytes(settings: HistorySettings) -> int:
    """What the database itself may take, so that there is room for what SQLite has beside it."""
    return settings.max_bytes * 8 // 10
