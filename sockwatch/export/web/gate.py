"""What every request passes before the site sees it, and every answer on its way out."""

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sockwatch.clock import Clock
from sockwatch.export.web.counts import Counts
from sockwatch.export.web.hosts import Hosts, is_loopback
from sockwatch.export.web.limits import Limits
from sockwatch.export.web.passwords import Verdict, credentials
from sockwatch.export.web.protection import CurrentProtection, Protection
from sockwatch.export.web.security_headers import security_headers
from sockwatch.export.web.site import STREAMS

_METHODS = {"GET", "HEAD"}
_CLOSE = {"Connection": "close"}
STREAM_KEY = "sockwatch.stream"
"""Set in the scope of a request whose answer has no end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that is not the site's."""

    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict)


class Gate:
    """An ASGI application around another."""

    def __init__(
        self,
        site: ASGIApp,
        *,
        hosts: Hosts,
        limits: Limits,
        protection: CurrentProtection,
        counts: Counts,
        clock: Clock,
    ) -> None:
        self._site = site
        self._hosts = hosts
        self.limits = limits
        self._protection = protection
        self._counts = counts
        self._clock = clock
        self._requests = 0
        self._streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        protection = self._protection()
        out = _Way(scope, send, self, security_headers(protection.headers))
        try:
            refusal = self._refuse(scope, protection) or await self._refuse_stranger(scope, protection)
            refusal = refusal or self._admit(out)
            if refusal is None:
                await self._site(scope, receive, out.send)
            else:
                answer = PlainTextResponse(refusal.text + "\n", refusal.status, headers=refusal.headers)
                await answer(scope, receive, out.send)
        except asyncio.CancelledError:  # by WebServer.stop, which has aborted the connection; to uvicorn it is an error
            return
        finally:
            out.leave()

    def _refuse(self, scope: Scope, protection: Protection) -> Refusal | None:
        headers = Headers(scope=scope)
        local, host = scope["server"], headers.get("host")
        if local is not None and is_loopback(local[0]) and host is not None and not self._hosts.allow(host):
            return Refusal(status=421, text="This name is not one of ours: [web] hosts lists those.")
        if protection.bucket is not None and not protection.bucket.take():
            return Refusal(status=429, text="Too many requests.", headers={"Retry-After": "1"})
        # h11 counts only while the headers are incomplete; what comes in one piece comes through.
        size = len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) + len(b": \r\n") for name, value in scope["headers"])
        if size > self.limits.header_bytes:
            return Refusal(status=431, text="The headers are too large.", headers=_CLOSE)
        # A body is nothing we read. Ending the connection settles whatever the sender thinks where it ends.
        has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        if scope["method"] not in _METHODS:
            return Refusal(
                status=405, text="Only GET and HEAD.", headers={"Allow": "GET, HEAD"} | (_CLOSE if has_body else {})
            )
        return Refusal(status=413, text="No request has a body.", headers=_CLOSE) if has_body else None

    async def _refuse_stranger(self, scope: Scope, protection: Protection) -> Refusal | None:
        if protection.passwords is None:
            return None
        given = credentials(Headers(scope=scope).get("authorization", ""))
        client = scope["client"]
        verdict = (
            Verdict.WRONG
            if given is None
            else await protection.passwords.judge(*given, client=client[0] if client else "")
        )
        match verdict:
            case Verdict.RIGHT:
                return None
            case Verdict.WRONG:
                return Refusal(
                    status=401, text="Unauthorized.", headers={"WWW-Authenticate": 'Basic realm="sockwatch"'}
                )
            case Verdict.BUSY:
                return Refusal(status=429, text="Too many passwords to check.", headers={"Retry-After": "1"})

    def _admit(self, out: "_Way") -> Refusal | None:
        if out.stream:
            if self._streams >= self.limits.streams:
                return Refusal(status=503, text="Too many streams.", headers={"Retry-After": "5"})
            self._streams += 1
        else:
            if self._requests >= self.limits.requests:
                return Refusal(status=503, text="Too many requests at once.", headers={"Retry-After": "1"})
            self._requests += 1
        out.inside = True
        return None

    def left(self, *, stream: bool) -> None:
        """One request less to work on."""
        if stream:
            self._streams -= 1
        else:
            self._requests -= 1

    def began(self, message: MutableMapping[str, Any], extra: list[tuple[bytes, bytes]]) -> None:
        """Count an answer and put our headers into it."""
        self._counts.answered(message["status"])
        ours = [*extra, (b"date", formatdate(self._clock.unixtime(), usegmt=True).encode())]
        names = {name for name, _ in ours}
        message["headers"] = [pair for pair in message.get("headers", ()) if pair[0].lower() not in names] + ours


class _Way:
    """One request: whether it is inside, and the way its answer goes out."""

    def __init__(self, scope: Scope, send: Send, gate: Gate, headers: list[tuple[bytes, bytes]]) -> None:
        self.stream = scope["path"] in STREAMS
        self.inside = False
        self._send = send
        self._gate = gate
        self._headers = headers
        if self.stream:
            scope[STREAM_KEY] = True

    async def send(self, message: Message) -> None:
        """Hand on, a large body in pieces: each waits until the client has read most of what went before."""
        if message["type"] == "http.response.start":
            self._gate.began(message, self._headers)
            if not self.stream:  # what remains waits for the client, and costs us nothing
                self.leave()
        elif len(message.get("body", b"")) > self._gate.limits.chunk_bytes:
            body, size = memoryview(message["body"]), self._gate.limits.chunk_bytes
            while len(body) > size:
                await self._send({"type": "http.response.body", "body": body[:size], "more_body": True})
                body = body[size:]
            message = {**message, "body": body}
        if self.stream:  # once its client has left, sending waits for nothing: a busy stream would block all others
            await asyncio.sleep(0)
        await self._send(message)

    def leave(self) -> None:
        """Give the place to another, once."""
        if self.inside:
            self.inside = False
            self._gate.left(stream=self.stream)
