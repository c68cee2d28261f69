"""/api/v1/events: server-sent events, one after each poll with all that an open page replaces."""

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sockwatch.clock import Clock
from sockwatch.export.web.live import Live, Shown
from sockwatch.export.web.page.frame import StatusPage
from sockwatch.export.web.page.verdict import stale_after, title
from sockwatch.export.web.per_poll import PerPoll

HEARTBEAT_SECONDS = 15.0
"""A comment so often, so that both ends notice when the other is gone."""
_KIND = "text/event-stream"


def routes(live: Live, page: StatusPage, clock: Clock, heartbeat: float = HEARTBEAT_SECONDS) -> list[Route]:
    """One route. A client that reads slowly gets the newest poll when it is ready for it, and misses those between."""
    bodies = PerPoll(lambda shown: _body(shown, page))

    def event_after(sent: int) -> tuple[int, bytes]:
        shown = live.current()
        if shown is None or shown.poll.number == sent:
            return sent, b""
        age = clock.monotonic() - shown.poll.monotonic
        return shown.poll.number, b'event: poll\ndata: {"age": %.2f, %s}\n\n' % (age, bodies.of(shown))

    async def stream() -> AsyncIterator[bytes]:
        sent = 0
        while True:
            news = live.news
            sent, event = event_after(sent)
            if event:
                yield event
            try:
                async with asyncio.timeout(heartbeat):
                    await news.wait()
            except TimeoutError:
                yield b": still here\n\n"

    async def events(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(headers={"Content-Type": _KIND})
        return StreamingResponse(stream(), headers={"Content-Type": _KIND})

    return [Route("/api/v1/events", events, methods=["GET"])]


def _body(shown: Shown, page: StatusPage) -> bytes:
    """The event's data but for the age, which differs from client to client: the inside of an object."""
    poll = shown.poll
    data = {
        "poll": poll.number,
        "time": poll.time,
        "interval": poll.interval,
        "stale_after": round(stale_after(shown), 2),
        "success": poll.success,
        "status": shown.status.value,
        "title": title(shown),
        "sockets": {
            "total": poll.report.total,
            "by_state": {state.label: count for state, count in poll.report.by_state.items()},
        },
        "findings": len(poll.report.findings),
        "parts": {name: part.text for name, part in page.parts(shown).items()},
    }
    return json.dumps(data).encode()[1:-1]
