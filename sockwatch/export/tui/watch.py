"""Asks a feed again and again on a thread of its own, so that the screen never waits for the kernel or the network."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from sockwatch.clock import Clock
from sockwatch.errors import SockwatchError
from sockwatch.export.tui.view import Feed, Found, Look
from sockwatch.export.web.socket_query import Query


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What came of asking: `look` is the newest that succeeded, and `failure` why there is none that is newer.

    `found` are the sockets that were asked for, None where nobody wants any; `refusal` says why there are none.
    """

    look: Look
    monotonic: float
    """When it was looked, in seconds since boot."""
    failure: str = ""
    found: Found | None = None
    refusal: str = ""


class Watch:
    """`tell` is called on the thread. A look that takes long is followed by a pause as long as it took, at least."""

    def __init__(self, feed: Feed, first: Look, clock: Clock, interval: float) -> None:
        self._feed = feed
        self._clock = clock
        self._news = News(look=first, monotonic=clock.monotonic())
        self._query: Query | None = None
        self._changed = threading.Event()
        self._ended = False
        self.interval = interval
        self.paused = False

    @property
    def news(self) -> News:
        """The last that was told."""
        return self._news

    def start(self, tell: Callable[[News], None]) -> None:
        """Begin; the first look is told at once."""
        threading.Thread(target=self._run, args=(tell,), name="top", daemon=True).start()

    def stop(self) -> None:
        """End soon; nothing is told any more."""
        self._ended = True
        self._changed.set()

    def want(self, query: Query | None) -> None:
        """From now on these sockets too, at once and after each look."""
        self._query = query
        self._changed.set()

    def pause(self, *, paused: bool) -> None:
        """Look no more, or again."""
        self.paused = paused
        self._changed.set()

    def _run(self, tell: Callable[[News], None]) -> None:
        look, failure, looked = self._news.look, "", self._news.monotonic
        due = looked + self.interval
        while not self._ended:
            self._changed.clear()
            if not self.paused and self._clock.monotonic() >= due:
                began = self._clock.monotonic()
                try:
                    look, failure, looked = self._feed.look(), "", began
                except SockwatchError as error:
                    failure = str(error)
                ended = self._clock.monotonic()
                due = max(began + self.interval, 2 * ended - began)
            query, found, refusal = self._query, None, ""
            if query is not None:
                try:
                    found = self._feed.find(query)
                except SockwatchError as error:
                    refusal = str(error)
            if self._ended:
                return
            self._news = News(look=look, monotonic=looked, failure=failure, found=found, refusal=refusal)
            tell(self._news)
            self._changed.wait(None if self.paused else max(due - self._clock.monotonic(), 0.0))
