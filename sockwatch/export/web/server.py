"""The web server: listening sockets, their connections, and an end in time, all on the daemon's event loop."""

import asyncio
import errno
import logging
import resource
import socket
from asyncio.sslproto import SSLProtocol
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from prometheus_client.core import Metric
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from sockwatch.clock import Clock
from sockwatch.errors import ConfigError, UsageError
from sockwatch.export.web.connection import Connection
from sockwatch.export.web.counts import Counts
from sockwatch.export.web.gate import Gate
from sockwatch.export.web.hosts import Hosts
from sockwatch.export.web.limits import Limits
from sockwatch.export.web.listening import listen, shown
from sockwatch.export.web.protection import Protection
from sockwatch.export.web.web_config_file import WebConfigFile
from sockwatch.model.settings import WebSettings

_NONE = Protection()
SSLProtocol.max_size = 16 * 1024
"""A record of TLS. asyncio keeps a buffer of this size for each connection, and 256 KiB where nobody says otherwise."""
_log = logging.getLogger(__name__)
_ACCEPTS_AT_ONCE = 16
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE_SECONDS = 1.0
_TLS_GOODBYE_SECONDS = 1.0
_ABORTED_SECONDS = 1.0


class WebServer:
    """Serves a site. `start` and everything after it belong to the thread of the running event loop; `metrics` to any.

    `sockets` already listen, as the service manager hands them over; with them the settings' addresses are unused.
    `counts` go on from a server before this one.
    Raises UsageError where it cannot listen; ConfigError where the web config file is wrong.
    """

    def __init__(
        self,
        site: ASGIApp,
        settings: WebSettings,
        *,
        clock: Clock,
        sockets: Sequence[socket.socket] = (),
        counts: Counts | None = None,
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
    ) -> None:
        self._clock = clock
        self._limits = _limits(settings, limits)
        self._file = _file(settings, clock)
        self._counts = counts or Counts()
        self._gate = Gate(
            site,
            hosts=Hosts(settings.hosts),
            limits=self._limits,
            protection=self._protection,
            counts=self._counts,
            clock=clock,
        )
        self._listeners = list(sockets) or listen(settings.listen)
        for listener in self._listeners:
            _prepare(listener)
        # No lifespan, websockets, logging or environment: uvicorn brings the protocol and nothing else.
        self._config = Config(
            self._gate,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            workers=1,
            h11_max_incomplete_event_size=limits.header_bytes,
            timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type] # given to call_later
        )
        self._config.load()
        self._state = ServerState()
        self._open: set[Connection] = set()
        self._setups: set[asyncio.Task[None]] = set()
        self._all_closed = asyncio.Event()
        self._sweep: asyncio.TimerHandle | None = None
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """What it listens on, with the ports that the kernel chose."""
        return tuple(shown(listener) for listener in self._listeners)

    @property
    def open_connections(self) -> tuple[Connection, ...]:
        """Those that there are now."""
        return tuple(self._open)

    def start(self) -> None:
        """Accept connections."""
        self._loop = asyncio.get_running_loop()
        for listener in self._listeners:
            self._loop.add_reader(listener, self._accept, listener)

    async def stop(self, within: float) -> None:
        """Stop accepting, let answers that are under way end, and after so many seconds close all that is left."""
        while self._listeners:
            listener = self._listeners.pop()
            asyncio.get_running_loop().remove_reader(listener)  # it may never have been started
            listener.close()
        for pause in self._pauses.values():
            pause.cancel()
        for connection in list(self._open):
            connection.finish()
        await self._closed(within)
        for connection in list(self._open):
            connection.abort()
        await self._closed(_ABORTED_SECONDS)
        left = [*self._state.tasks, *self._setups]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def metrics(self) -> Iterator[Metric]:
        """What it says about itself."""
        self._counts.connections = len(self._open)
        yield from self._counts.metrics()
        if self._file is not None:
            yield from self._file.metrics()

    def _protection(self) -> Protection:
        return _NONE if self._file is None else self._file.current()

    async def _closed(self, within: float) -> None:
        self._all_closed.clear()
        if self._open:
            try:
                async with asyncio.timeout(within):
                    await self._all_closed.wait()
            except TimeoutError:
                pass

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(max(1, min(_ACCEPTS_AT_ONCE, self._limits.connections // _ACCEPTS_AT_ONCE))):
            try:
                client, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_FILES:
                    raise
                self._counts.closed["files"] += 1
                if not self._make_room():
                    self._pause(listener)
                return
            client.setblocking(False)  # noqa: FBT003 - the library's signature
            if len(self._open) >= self._limits.connections and not self._make_room():
                self._counts.closed["surplus"] += 1
                client.close()
                continue
            self._welcome(client)

    def _welcome(self, client: socket.socket) -> None:
        connection = Connection(
            self._config,
            self._state,
            limits=self._limits,
            protection=self._protection(),
            counts=self._counts,
            clock=self._clock,
            ended=self._forget,
        )
        self._open.add(connection)
        connection.setup = self._loop.create_task(self._set_up(connection, client))
        self._setups.add(connection.setup)
        connection.setup.add_done_callback(self._setups.discard)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._limits.sweep_seconds, self._close_overdue)

    async def _set_up(self, connection: Connection, client: socket.socket) -> None:
        tls = connection.protection.tls
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                client,
                ssl=tls,
                ssl_handshake_timeout=self._limits.header_seconds if tls else None,
                ssl_shutdown_timeout=_TLS_GOODBYE_SECONDS if tls else None,
            )
        except OSError:  # ssl.SSLError is one
            self._counts.closed["tls"] += 1
            self._forget(connection)
        except asyncio.CancelledError:
            self._forget(connection)
            raise

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for its client, if any waits."""
        waiting = [(since, id(c), c) for c in self._open if (since := c.waits_since) is not None]
        if not waiting:
            return False
        _, _, oldest = min(waiting)
        self._counts.closed["evicted"] += 1
        self._forget(oldest)
        oldest.abort()
        return True

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._all_closed.set()

    def _close_overdue(self) -> None:
        now = self._clock.monotonic()
        for connection in list(self._open):
            reason = connection.overdue(now)
            if reason is not None:
                self._counts.closed[reason] += 1
                self._forget(connection)
                connection.abort()
        self._sweep = self._loop.call_later(self._limits.sweep_seconds, self._close_overdue) if self._open else None

    def _pause(self, listener: socket.socket) -> None:
        """No file is left for a connection, and none to close: look again in a while."""
        self._loop.remove_reader(listener)
        self._pauses[listener] = self._loop.call_later(
            _PAUSE_SECONDS, self._loop.add_reader, listener, self._accept, listener
        )


def _file(settings: WebSettings, clock: Clock) -> WebConfigFile | None:
    if not settings.config_file:
        return None
    try:
        return WebConfigFile(Path(settings.config_file), clock=clock)
    except ConfigError:
        raise
    except UsageError as error:
        raise UsageError(f"web.config_file: {error}") from None


def _limits(settings: WebSettings, limits: Limits) -> Limits:
    """The settings, with no more connections than half the files that the process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = min(settings.max_connections, max(1, files // 2))
    if connections < settings.max_connections:
        _log.warning("[web] max_connections is %d: the limit of open files is %d", connections, files)
    return replace(limits, connections=connections, requests=settings.max_requests)


def _prepare(listener: socket.socket) -> None:
    """What accepted sockets inherit: a client that vanished is noticed, and its unread answer given up."""
    listener.setblocking(False)  # noqa: FBT003 - the library's signature
    if listener.family in {socket.AF_INET, socket.AF_INET6}:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
