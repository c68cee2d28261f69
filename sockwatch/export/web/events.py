"""/api/v1/events: server-sent events, one after each poll with what an open page has to replace."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

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
    """One route.

    What a client has not read waits in buffers, here, at the client and on the way; once they are full it misses polls.
    So an event can be old when it is read: `sent`, a moment of this host's clock, lets its reader find out.
    """
    bodies = _Bodies(page)

    def event_after(sent: int) -> tuple[int, bytes]:
        shown = live.current()
        if shown is None or shown.poll.number == sent:
            return sent, b""
        now = clock.monotonic()
        age = now - shown.poll.monotonic
        body = bodies.after(sent, shown)
        return shown.poll.number, b'event: poll\ndata: {"sent": %.2f, "age": %.2f, %s}\n\n' % (now, age, body)

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


class _Bodies:
    """The events' data but for their times: the inside of an object, made once for all who follow as closely."""

    def __init__(self, page: StatusPage) -> None:
        self._page = page
        self._parts: dict[str, tuple[int, str]] = {}
        self._changed = PerPoll(self._compare)
        self._made: PerPoll[dict[int, bytes]] = PerPoll(lambda _: {})

    def after(self, sent: int, shown: Shown) -> bytes:
        """For a client whose last poll was `sent`, 0 for none: only the parts that it does not have."""
        made = self._made.of(shown)
        if sent not in made:
            changed = self._changed.of(shown)
            made[sent] = _body(shown, {name: text for name, (number, text) in changed.items() if number > sent})
        return made[sent]

    def _compare(self, shown: Shown) -> dict[str, tuple[int, str]]:
        """Each part, and the poll that brought it as it is. Whoever got a poll since then has been compared with."""
        before = self._parts
        fresh = {name: (shown.poll.number, part.text) for name, part in self._page.parts(shown).items()}
        self._parts = {n: before[n] if n in before and before[n][1] == part[1] else part for n, part in fresh.items()}
        return self._parts


def _body(shown: Shown, parts: Mapping[str, str]) -> bytes:
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
        "parts": parts,
    }
    return json.dumps(data).encode()[1:-1]
