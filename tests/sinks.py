"""What tests of the alert sinks need: alerts, a clock that stands still, and web servers with a will of their own."""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from reports import leak
from sockwatch.clock import SystemClock
from sockwatch.model.alert import Alert, AlertIdentity, AlertState
from sockwatch.model.finding import Finding, Severity

FIRED = 1_700_000_030.0


class FakeClock(SystemClock):
    """Time passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 100_000.0

    def unixtime(self) -> float:
        return 1_700_000_000.0 + self.now - 100_000.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def alert(number: int = 0, *, finding: Finding | None = None, **fields: Any) -> Alert:
    """A leak that fires; others by their number, which is that of the port."""
    found = leak() if finding is None else finding
    defaults: dict[str, Any] = {
        "identity": AlertIdentity(
            code="close_wait_leak",
            variant="not_closed",
            netns="host",
            local=f"10.0.0.1:{8080 + number}",
            remote="10.0.0.9:*",
            process="app",
            unit="app.service",
        ),
        "state": AlertState.FIRING,
        "severity": Severity.WARNING,
        "summary": found.summary,
        "cause": found.cause,
        "remedies": found.remedies,
        "count": 23,
        "began": FIRED - 30,
        "fired": FIRED,
        "finding": found,
    }
    return Alert(**(defaults | fields))


def over(number: int = 0, **fields: Any) -> Alert:
    """The same alert, over."""
    defaults: dict[str, Any] = {"state": AlertState.RESOLVED, "resolved": FIRED + 600}
    return alert(number, **(defaults | fields))


def eventually(holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Return as soon as it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        threading.Event().wait(0.005)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One request."""

    path: str
    headers: http.client.HTTPMessage
    body: Any


@dataclass
class WebReceiver:
    """Takes POSTs and remembers them; `answers` are the status lines and headers of the first ones, then it is 200."""

    answers: list[bytes] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    script: Callable[[socket.socket], None] | None = None
    """Instead of an answer, what is done with the connection after the request was read."""
    port: int = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._scheme = "https" if self.tls else "http"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Refuse connections from now on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/secret/path?token=hush"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._answer(self.tls.wrap_socket(connection, server_side=True) if self.tls else connection)
            connection.close()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            connection.settimeout(20)
            request = lines.readline().split()
            headers = http.client.parse_headers(lines)
            length = int(headers.get("Content-Length", 0))
            body = lines.read(length)
            if not request or len(body) < length:
                return  # whoever sent it was killed
            self.posts.append(Post(path=request[1].decode(), headers=headers, body=json.loads(body)))
            if self.script is not None:
                self.script(connection)
                return
            status = self.answers.pop(0) if self.answers else b"200 OK"
            connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
