"""All routes: one module for each group of them."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sockwatch.clock import Clock, SystemClock
from sockwatch.export.history.reader import History
from sockwatch.export.web import (
    events,
    health,
    history_api,
    openapi,
    report_api,
    scrape,
    socket_api,
    socket_page,
    static_files,
    status_page,
)
from sockwatch.export.web.live import Live
from sockwatch.export.web.page.frame import StatusPage
from sockwatch.export.web.parameters import refused
from sockwatch.export.web.published import LastPublished
from sockwatch.model.printable import printable
from sockwatch.nearest import unknown

STREAMS = frozenset({"/api/v1/events"})
"""What is answered for as long as the client stays."""
_LONGEST = 200


def build_site(
    published: LastPublished,
    *,
    live: Live | None = None,
    clock: Clock | None = None,
    history: History | None = None,
    lists: socket_api.SocketLists | None = None,
) -> Starlette:
    """The application without its gate. `live` and `lists` are told of each poll by whoever made them."""
    live, clock = live or Live(published), clock or SystemClock()
    page, lists = StatusPage(history=history is not None), lists or socket_api.SocketLists()
    routes = [
        *scrape.routes(published),
        *health.routes(published),
        *report_api.routes(live, clock),
        *socket_api.routes(live, lists),
        *history_api.routes(history, clock),
        *events.routes(live, page, clock),
        *openapi.routes(),
        *status_page.routes(live, page, clock),
        *socket_page.routes(live, lists, clock),
        *static_files.routes(),
    ]
    site = Starlette(routes=routes, exception_handlers={404: _not_found})
    site.router.redirect_slashes = False  # the redirect would go to whatever host the client named
    return site


async def _not_found(request: Request, _: Exception) -> Response:
    """The API says which of its paths was meant."""
    if request.url.path.startswith("/api/"):
        known = [route.path for route in request.app.routes if route.path.startswith("/api/")]
        return refused(404, unknown("path", printable(request.url.path[:_LONGEST]), known))
    return PlainTextResponse("Not Found", 404)
