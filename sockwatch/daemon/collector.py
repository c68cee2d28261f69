"""The one thread that looks; everything else in the daemon only reads what it left behind."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread, get_native_id

from sockwatch.clock import Clock
from sockwatch.daemon.health import Health
from sockwatch.daemon.poller import Poller, Setup
from sockwatch.daemon.schedule import Schedule
from sockwatch.export.web.published import Published

LONGEST_WAIT = 5.0
"""After so many seconds of waiting at most, the thread shows that it lives."""


class Collector(Thread):
    """Polls on schedule until it is stopped; `publish` is called on this thread after each poll.

    `ended` is called when the thread ends, for whatever reason.

    `beats` changes as long as the thread moves: while it waits at least every `longest_wait` seconds, and after each
    poll. A daemon thread, because a dump that hangs must not hold up the end.
    """

    def __init__(
        self,
        poller: Poller,
        *,
        interval: float,
        clock: Clock,
        health: Health,
        publish: Callable[[Published], None],
        ended: Callable[[], None],
        longest_wait: float = LONGEST_WAIT,
    ) -> None:
        super().__init__(name="collector", daemon=True)
        self.beats = 0
        self._poller = poller
        self._clock = clock
        self._health = health
        self._publish = publish
        self._ended = ended
        self._longest_wait = longest_wait
        self._schedule = Schedule(interval, clock.monotonic())
        self._wake = Event()
        self._stopping = False
        self._lock = Lock()
        self._asked: list[tuple[Setup, Future[None]]] = []

    def stop(self) -> None:
        """End after the poll that is under way; join() waits for that."""
        self._stopping = True
        self._wake.set()

    def go_on_with(self, setup: Setup) -> "Future[None]":
        """Use these settings from the next poll on; the result comes when they are in use, or what they failed of."""
        done: Future[None] = Future()
        with self._lock:
            self._asked.append((setup, done))
        self._wake.set()
        return done

    def run(self) -> None:
        """Wait, poll, publish."""
        with suppress(OSError):  # for `top -H`; Python does it from 3.14 on
            Path(f"/proc/self/task/{get_native_id()}/comm").write_text(self.name, encoding="ascii")
        try:
            self._watch()
        finally:
            self._ended()

    def _watch(self) -> None:
        while not self._stopping:
            self.beats += 1
            self._apply()
            left = self._schedule.due - self._clock.monotonic()
            if left > 0:
                self._wake.wait(min(left, self._longest_wait))
                self._wake.clear()
                continue
            published = self._poller.poll()
            self._publish(published)
            self._schedule.interval = published.poll.interval  # longer than asked for where looks cost too much
            self._schedule.move_on(self._clock.monotonic())
            self._health.skipped = self._schedule.skipped

    def _apply(self) -> None:
        with self._lock:
            asked, self._asked = self._asked, []
        for setup, done in asked:
            try:
                self._poller.go_on_with(setup)
            except Exception as error:  # noqa: BLE001 - whoever asked gets it, and looks go on
                done.set_exception(error)
                continue
            self._schedule.change(setup.settings.poll.interval, self._clock.monotonic())
            done.set_result(None)
