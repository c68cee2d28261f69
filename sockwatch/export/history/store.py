"""The history of the daemon: polls go in on the collector's thread, and a thread of its own writes them."""

import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sockwatch.export.history.database import NOT_KEPT, NOT_RUNNING, Database
from sockwatch.export.history.samples import Look, look_of
from sockwatch.export.history.schema import ForeignError, set_aside
from sockwatch.model.poll import Poll
from sockwatch.model.settings import HistorySettings

_LOG = logging.getLogger(__name__)
_MOST_WAITING = 30
"""Looks that wait for a slow disk; further ones are dropped and counted."""
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Store:
    """Keeps polls; `take` never waits for the disk.

    A disk that refuses stops the history alone, is said once, and is tried again at every look. A damaged file is set
    aside, and the history starts anew. `broke` gets the errors that nobody foresaw, and None for the first look that
    is kept after one.
    """

    def __init__(
        self, path: Path, settings: HistorySettings, broke: Callable[[BaseException | None], None] = lambda _: None
    ) -> None:
        self.path = path
        self._broke = broke
        self._settings = settings
        self._looks: queue.Queue[Look | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="history", daemon=True)
        self._database: Database | None = None
        self._configured = settings
        self._failure = ""
        self._broken = False
        """Whether the last look ended in an error that nobody foresaw."""
        self._dropped = 0
        self._set_aside = 0
        self._bytes = 0

    def start(self) -> None:
        """Begin to write what is taken."""
        self._thread.start()

    def stop(self, within: float) -> bool:
        """Write what waits and end, within so many seconds; whether that came about."""
        while True:
            try:
                self._looks.put_nowait(None)
            except queue.Full:
                self._leave_out_one()
            else:
                break
        self._thread.join(within)
        return not self._thread.is_alive()

    def configure(self, settings: HistorySettings) -> None:
        """From the next look on these bounds; without `enabled` nothing is kept."""
        self._settings = settings

    def take(self, poll: Poll) -> None:
        """Keep this poll."""
        if not self._settings.enabled:
            return
        try:
            self._looks.put_nowait(look_of(poll))
        except queue.Full:
            self._dropped += 1

    def metrics(self) -> Iterator[Metric]:
        """Whether the history is kept, and what it takes."""
        yield GaugeMetricFamily(
            "sockwatch_history_success",
            "Whether the last look that was to be kept could be written.",
            value=not self._failure and not self._broken,
        )
        yield GaugeMetricFamily("sockwatch_history_bytes", "What the history takes on the disk.", value=self._bytes)
        yield CounterMetricFamily(
            "sockwatch_history_dropped", "Looks that are missing in the history.", value=self._dropped
        )
        yield CounterMetricFamily(
            "sockwatch_history_set_aside", "Damaged histories that were renamed.", value=self._set_aside
        )

    def _leave_out_one(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._looks.get_nowait()
            self._dropped += 1

    def _work(self) -> None:
        while (look := self._looks.get()) is not None:
            try:
                self._try(look)
            except Exception as error:  # noqa: BLE001 - one look that cannot be kept must not be the end of the history
                self._broken = True
                self._dropped += 1
                self._broke(error)
                self._close()
            else:
                if self._broken:
                    self._broken = False
                    self._broke(None)
        self._close()

    def _try(self, look: Look) -> None:
        try:
            self._write(look)
        except ForeignError as error:
            self._begin_anew(str(error))
        except sqlite3.Error as error:
            self._close()
            if isinstance(error, sqlite3.DatabaseError) and _code(error) in _DAMAGED:
                self._begin_anew(str(error))
            else:
                self._fail(str(error))
        except OSError as error:
            self._close()
            self._fail(error.strerror or str(error))

    def _write(self, look: Look) -> None:
        if self._database is None:
            self._database = Database(self.path, self._settings, away=NOT_KEPT if self._failure else NOT_RUNNING)
            self._configured = self._settings
            self._database.tidy(look)  # if it is full, there is room after this
        if self._settings is not self._configured:
            self._database.configure(self._settings)
            self._configured = self._settings
        self._database.write(look)
        if self._failure:
            _LOG.info("the history goes on: %s", self.path)
            self._failure = ""
        self._database.tidy(look)
        self._bytes = self._database.bytes_used()

    def _begin_anew(self, why: str) -> None:
        self._close()
        try:
            aside = set_aside(self.path)
        except OSError as error:
            self._fail(f"{why}; it cannot be renamed: {error.strerror}")
            return
        self._dropped += 1
        self._set_aside += 1
        _LOG.warning("the history starts anew: %s: %s; it is now %s", self.path, why, aside.name)

    def _fail(self, why: str) -> None:
        self._dropped += 1
        if not self._failure:
            _LOG.error("no history is kept until this is over: %s: %s", self.path, why)
        self._failure = why

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            try:
                database.close()
            except sqlite3.Error as error:
                _LOG.warning("%s: %s", self.path, error)


def _code(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; the rest of the number is detail."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
