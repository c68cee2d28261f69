"""A real web server in a thread, and clients that say what no library would."""

import asyncio
import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, TypeVar

from prometheus_client.core import GaugeMetricFamily
from starlette.routing import BaseRoute

import reports
from sockwatch.clock import SystemClock
from sockwatch.export.metrics.exposition import expose
from sockwatch.export.web.limits import Limits
from sockwatch.export.web.live import Live
from sockwatch.export.web.published import Published
from sockwatch.export.web.server import WebServer
from sockwatch.export.web.site import build_site
from sockwatch.export.web.socket_api import SocketLists
from sockwatch.model.poll import Poll
from sockwatch.model.report import Report
from sockwatch.model.settings import WebSettings

T = TypeVar("T")
PATIENCE = 20.0
"""How long something may take that has to happen; nothing waits that long unless it is broken."""
QUICK = Limits(sweep_seconds=0.01)


class HandClock(SystemClock):
    """A clock that also goes on when told so."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class ErrorLines(logging.Handler):
    """Keeps what is logged as an error: a web server has nothing of that kind to say about its clients."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def published(report: Report | None = None, *, series: int = 23, number: int = 1) -> Published:
    """A poll with a page of so many series."""
    family = GaugeMetricFamily("sockwatch_sockets", "TCP sockets.", labels=["port"])
    for port in range(series):
        family.add_metric([str(port)], number)
    poll = Poll(
        number=number,
        time=reports.TIME,
        monotonic=100.0,
        ended=100.5,
        interval=10.0,
        report=report or reports.sick(),
        snapshot=None,
    )
    return Published(poll=poll, exposition=expose([family]))


class Served:
    """A context manager. `last` is what the site answers from; `routes` go before the site's own."""

    def __init__(
        self,
        *,
        routes: Sequence[BaseRoute] = (),
        limits: Limits = QUICK,
        sockets: Sequence[socket.socket] = (),
        **settings: Any,
    ) -> None:
        self.clock = HandClock()
        self.last: Published | None = published()
        self.lists = SocketLists()
        self.live = Live(lambda: self.last)
        site = build_site(lambda: self.last, lists=self.lists, live=self.live, clock=self.clock)
        site.router.routes[:0] = routes
        self.server = WebServer(
            site,
            WebSettings(**({"listen": ("127.0.0.1:0",)} | settings)),
            clock=self.clock,
            limits=limits,
            sockets=sockets,
        )
        port = self.server.addresses[0].rpartition(":")[2]
        self.address = ("127.0.0.1", int(port) if port.isdecimal() else 0)
        self.port = self.address[1]
        self._errors = ErrorLines()
        self._ready = threading.Event()
        self._done = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.server.start()
        self._ready.set()
        await self._done.wait()
        await self.server.stop(1.0)

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self._errors)
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._done.set)
        self._thread.join(PATIENCE)
        logging.getLogger().removeHandler(self._errors)
        assert not self._thread.is_alive()
        assert self._errors.lines == []

    def forget_errors(self) -> list[str]:
        """What was logged as an error, for a test that is about that."""
        lines, self._errors.lines = self._errors.lines, []
        return lines

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await something on the server's loop."""

        async def awaited() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(PATIENCE)

    def tell(self) -> None:
        """Wake those who follow: `last` is another one."""

        async def told() -> None:
            self.live.tell()

        self.run(told)

    def get(
        self,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        tls: ssl.SSLContext | None = None,
    ) -> "Answer":
        """One request on a connection of its own."""
        connection = (
            http.client.HTTPConnection(*self.address, timeout=PATIENCE)
            if tls is None
            else http.client.HTTPSConnection("localhost", self.port, timeout=PATIENCE, context=tls)
        )
        try:
            connection.request(method, path, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """A connection that has said nothing."""
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(PATIENCE)
        try:
            client.connect(self.address)
        except OSError:
            client.close()
            raise
        return client

    def say(self, data: bytes) -> bytes:
        """Everything that comes back until the server closes. The sender closes its side only then."""
        with self.connect() as client:
            client.sendall(data)
            return rest(client)

    def counts(self, family: str) -> dict[str, float]:
        """A family of its metrics, by the value of the only label."""
        for metric in self.server.metrics():
            if metric.name == family:
                return {next(iter(sample.labels.values()), ""): sample.value for sample in metric.samples}
        raise KeyError(family)

    def closed(self, reason: str) -> float:
        """How many connections were closed for this reason."""
        return self.counts("sockwatch_http_connections_closed")[reason]

    @property
    def connections(self) -> int:
        """How many are open."""
        return int(self.counts("sockwatch_http_connections")[""])


class Answer:
    """An HTTP response, read to its end."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = HTTPStatus(status)
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode()


def rest(client: socket.socket) -> bytes:
    """All that is received until the other side closes, in whatever way."""
    received = b""
    try:
        while data := client.recv(1 << 16):
            received += data
    except ConnectionResetError:
        pass
    return received


def until(condition: Callable[[], bool]) -> None:
    """Return as soon as it is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.005)


def open_files() -> int:
    """How many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def half_open(served: Served) -> socket.socket:
    """A connection with the beginning of a request."""
    client = served.connect()
    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")
    return client


def few(**limits: Any) -> Limits:
    """Small limits."""
    return replace(QUICK, **limits)


@contextmanager
def closing(clients: Sequence[socket.socket]) -> Iterator[None]:
    """Close them at the end."""
    try:
        yield
    finally:
        for client in clients:
            client.close()


def write_whole(path: Path, text: str) -> None:
    """Replace a file as careful programs do."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
