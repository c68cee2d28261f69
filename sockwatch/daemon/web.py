"""The web server over its whole life: settings may change, and what still listens goes on listening."""

import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from prometheus_client.core import Metric

from sockwatch.clock import Clock
from sockwatch.export.history.reader import History
from sockwatch.export.web.counts import Counts
from sockwatch.export.web.listening import listen
from sockwatch.export.web.live import Live
from sockwatch.export.web.published import LastPublished, Published
from sockwatch.export.web.server import WebServer
from sockwatch.export.web.site import build_site
from sockwatch.export.web.socket_api import SocketLists
from sockwatch.model.settings import WebSettings

STOP_SECONDS = 3.0
"""How long answers that are under way may still take."""


class Web:
    """Serves the last poll and the history, where one is kept.

    `inherited` sockets listen instead of the settings' addresses. Raises UsageError where it cannot listen, ConfigError
    where the web config file is wrong.
    """

    def __init__(
        self,
        settings: WebSettings,
        *,
        published: LastPublished,
        clock: Clock,
        inherited: Sequence[socket.socket] = (),
        history: History | None = None,
    ) -> None:
        self._live = Live(published)
        self._lists = SocketLists()
        self._site = build_site(published, live=self._live, clock=clock, history=history, lists=self._lists)
        self._clock = clock
        self._inherited = tuple(inherited)
        self._settings = settings
        self._counts = Counts()
        self._sockets: dict[str, list[socket.socket]] = {}
        self._listen(settings.listen)
        self._server = self._serve(settings)

    @property
    def addresses(self) -> tuple[str, ...]:
        """What it listens on."""
        return self._server.addresses

    def start(self) -> None:
        """Accept connections; belongs, as all that follows, to the event loop's thread."""
        self._server.start()

    @asynccontextmanager
    async def change(self, settings: WebSettings) -> AsyncIterator[None]:
        """Use these settings if the block succeeds; after any error everything is as it was.

        Raises as the constructor does.
        """
        if settings == self._settings:
            yield
            return
        opened = self._listen(settings.listen)
        try:
            server = self._serve(settings)
            try:
                yield
            except BaseException:
                await server.stop(0)
                raise
        except BaseException:
            self._close(opened)
            raise
        old, self._server, self._settings = self._server, server, settings
        server.start()
        self._close([address for address in self._sockets if address not in settings.listen])
        await old.stop(STOP_SECONDS)

    async def stop(self) -> None:
        """No connection is left afterwards."""
        self._close([*self._sockets])
        await self._server.stop(STOP_SECONDS)

    def prepare(self, published: Published) -> None:
        """Find what is asked of each poll before this one is published. On the collector's thread."""
        self._lists.prepare(published.poll.snapshot)

    def tell(self) -> None:
        """There is another poll: whoever waits for it gets it."""
        self._lists.move_on()
        self._live.tell()

    def metrics(self) -> Iterator[Metric]:
        """What the server says about itself."""
        return self._server.metrics()

    def _listen(self, addresses: Sequence[str]) -> list[str]:
        """Listen on those that are new, and name them."""
        if self._inherited:
            return []
        new: list[str] = []
        try:
            for address in dict.fromkeys(addresses):
                if address not in self._sockets:
                    self._sockets[address] = listen([address])
                    new.append(address)
        except BaseException:
            self._close(new)
            raise
        return new

    def _close(self, addresses: Sequence[str]) -> None:
        for address in addresses:
            for listener in self._sockets.pop(address):
                listener.close()

    def _serve(self, settings: WebSettings) -> WebServer:
        """A server on copies of the sockets, because it closes its own when it stops."""
        every = self._inherited or [s for address in dict.fromkeys(settings.listen) for s in self._sockets[address]]
        copies = [listener.dup() for listener in every]
        try:
            return WebServer(self._site, settings, clock=self._clock, counts=self._counts, sockets=copies)
        except BaseException:
            for copy in copies:
                copy.close()
            raise
