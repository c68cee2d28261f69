"""The thread that writes what must outlive the daemon, so that neither looks nor sinks wait for a disk."""

import threading
from collections.abc import Callable

from sockwatch.clock import Clock

TOGETHER = 0.25
"""Seconds in which what need not be on the disk at once is collected, so that many changes are one write."""


class StateWriter:
    """Calls `save`, then `saved`, whenever it is asked to; a hanging disk holds up nobody but this thread.

    `broke` gets the errors that nobody foresaw, and None once a write goes well after one. The thread begins when it
    is first needed. A daemon thread: one that hangs in the disk must not keep the program from ending.
    """

    def __init__(
        self,
        save: Callable[[], None],
        saved: Callable[[], None],
        clock: Clock,
        broke: Callable[[BaseException | None], None],
    ) -> None:
        self._save = save
        self._saved = saved
        self._clock = clock
        self._broke = broke
        self._broken = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._now = self._soon = self._stopping = False
        self._then: Callable[[], None] | None = None
        self._since: float | None = None

    def ask(self, then: Callable[[], None] | None = None) -> None:
        """Have it written now, and `then` called; of several that come while a write is under way the last one is."""
        with self._changed:
            self._now = True
            self._then = then or self._then
            self._begin()

    def ask_soon(self) -> None:
        """Have it written within a moment, together with what else comes."""
        with self._changed:
            self._soon = True
            self._begin()

    def stop(self, within: float) -> bool:
        """Write a last time and end, within so many seconds; whether that came about."""
        with self._changed:
            self._stopping = True
            thread = self._begin()
        thread.join(within)
        return not thread.is_alive()

    @property
    def hangs_for(self) -> float:
        """Seconds since the write began that is under way; 0 where none is."""
        since = self._since
        return 0.0 if since is None else self._clock.monotonic() - since

    def _begin(self) -> threading.Thread:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="state", daemon=True)
            self._thread.start()
        self._changed.notify()
        return self._thread

    def _run(self) -> None:
        last = False
        while not last:
            with self._changed:
                self._changed.wait_for(lambda: self._now or self._soon or self._stopping)
                self._changed.wait_for(lambda: self._now or self._stopping, TOGETHER)
                last, self._now, self._soon = self._stopping, False, False
                then, self._then = self._then, None
                self._since = self._clock.monotonic()
            self._write(then)
            self._since = None

    def _write(self, then: Callable[[], None] | None) -> None:
        try:
            self._save()
            self._saved()
            if then is not None:
                then()
        except Exception as error:  # noqa: BLE001 - one write that fails must not be the end of all; logged and counted
            self._broken = True
            self._broke(error)
            return
        if self._broken:
            self._broken = False
            self._broke(None)
