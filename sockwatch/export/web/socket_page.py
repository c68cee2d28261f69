"""/sockets: the sockets of a state or a filter, as a page of its own; the script shows it within the status page."""

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from sockwatch.clock import Clock
from sockwatch.errors import UsageError
from sockwatch.export.markup import Markup, tag
from sockwatch.export.web.live import Live, Shown
from sockwatch.export.web.page.drill_down import MOST_GROUPS, MOST_ROWS, PATH, drill_down, refusal
from sockwatch.export.web.page.frame import frame, waiting
from sockwatch.export.web.parameters import Parameters
from sockwatch.export.web.socket_api import SocketLists
from sockwatch.export.web.socket_query import KNOWN, read_query

_FIXED = ("limit", "groups")


def routes(live: Live, lists: SocketLists, clock: Clock) -> list[Route]:
    """One route."""

    async def section(shown: Shown, request: Request) -> tuple[int, Markup]:
        known = [name for name in KNOWN if name not in _FIXED]
        try:
            query = read_query(Parameters(request.query_params, known, repeatable=("state",)))
            query = replace(query, limit=MOST_ROWS, groups=MOST_GROUPS)
            snapshot = shown.poll.snapshot
            if snapshot is None:
                return 503, refusal("The last look failed: there are no sockets to show.")
            found = await lists.find(snapshot, query)
        except UsageError as error:
            return 400, refusal(str(error))
        return 200, drill_down(shown.poll, snapshot, query, found)

    async def sockets(request: Request) -> Response:
        shown = live.current()
        if shown is None:
            return HTMLResponse(waiting())
        status, part = await section(shown, request)
        age = clock.monotonic() - shown.poll.monotonic
        return HTMLResponse(frame(shown, age, "Sockets · sockwatch", tag("main", part, id="main")), status)

    return [Route(PATH, sockets, methods=["GET"])]
