"""One connection: uvicorn's HTTP/1.1 protocol, and since when it waits for its client."""

import asyncio
import logging
import sys
from collections.abc import Callable
from enum import Enum

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from sockwatch.clock import Clock
from sockwatch.export.web.counts import Counts
from sockwatch.export.web.gate import STREAM_KEY
from sockwatch.export.web.limits import Limits
from sockwatch.export.web.protection import Protection
from sockwatch.export.web.security_headers import security_headers
from sockwatch.export.web.tls import names

_log = logging.getLogger(__name__)
_log.setLevel(logging.ERROR)
"""uvicorn warns of each malformed request, which would let anybody fill the journal; they are counted instead."""

_STATUS_TEXT = {431: "The headers are too large."}


class Phase(Enum):
    """Who has to do the next step, and which."""

    HEADERS = "the client: the rest of a request, or the first one"
    IDLE = "the client: another request, if it wants"
    ANSWER = "we"


class Connection(H11Protocol):
    """`ended` is called once, when the connection is closed or could not be set up."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        *,
        limits: Limits,
        protection: Protection,
        counts: Counts,
        clock: Clock,
        ended: Callable[["Connection"], None],
    ) -> None:
        super().__init__(config, state, {})
        self.logger = _log
        self.protection = protection
        self.setup: asyncio.Task[None] | None = None
        self._limits = limits
        self._counts = counts
        self._clock = clock
        self._ended = ended
        self._phase = Phase.HEADERS
        self._since = clock.monotonic()
        self._asked = self._since
        self._blocked: float | None = None
        self._made: asyncio.Transport | None = None

    @property
    def waits_since(self) -> float | None:
        """When it began to wait for its client; None while we work for it."""
        if self._blocked is not None:
            return self._blocked
        return None if self._phase is Phase.ANSWER else self._since

    def overdue(self, now: float) -> str | None:
        """The reason for closing it (counts.py), if there is one."""
        if self._streams():
            unread = self._blocked is not None and now - self._blocked > self._limits.answer_seconds
            return "answer_unread" if unread else None
        if self._phase is Phase.ANSWER or self._unsent():
            return "answer_unread" if now - self._asked > self._limits.answer_seconds else None
        late = self._phase is Phase.HEADERS and now - self._since > self._limits.header_seconds
        return "headers_late" if late else None

    def finish(self) -> None:
        """Close as soon as an answer that is under way is out; a stream at once."""
        if self._phase is Phase.ANSWER and not self._streams():
            self.cycle.keep_alive = False
        elif self._made is not None:
            self._made.close()
        elif self.setup is not None:
            self.setup.cancel()

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        if self._made is not None:
            self._made.abort()
        elif self.setup is not None:
            self.setup.cancel()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn does
        """Begin; a client whose certificate has none of the names asked for goes at once."""
        super().connection_made(transport)
        self._made = transport
        sans = self.protection.client_sans
        if sans and not sans & names(transport.get_extra_info("peercert")):
            self._counts.closed["client_name"] += 1
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._ended(self)

    def data_received(self, data: bytes) -> None:
        """A part of a request, mostly all of it."""
        if self._phase is Phase.IDLE:
            self._enter(Phase.HEADERS)
        super().data_received(data)

    def handle_events(self) -> None:
        """Start an answer if a request is complete."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._enter(Phase.ANSWER)
            self._asked = self._since

    def on_response_complete(self) -> None:
        """Wait for the next request, of which something may be here."""
        self._enter(Phase.IDLE)
        super().on_response_complete()
        if self._phase is Phase.IDLE and self.conn.trailing_data[0]:
            self._enter(Phase.HEADERS)

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._blocked = self._clock.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._blocked = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for the idle time."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what h11 refused, if an answer has not begun; then close."""
        error = sys.exc_info()[1]
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()
            return
        cycle = getattr(self, "cycle", None)  # None before the first request, whatever its type says
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # a bad chunk: what the site still says about the request goes nowhere
        self._counts.answered(status)
        body = (_STATUS_TEXT.get(status, msg) + "\n").encode()
        headers = [
            *security_headers(self.protection.headers),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _should_upgrade(self) -> bool:
        return False

    def _streams(self) -> bool:
        return self._phase is Phase.ANSWER and STREAM_KEY in self.scope

    def _unsent(self) -> bool:
        return self._made is not None and self._made.get_write_buffer_size() > 0

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._since = self._clock.monotonic()
