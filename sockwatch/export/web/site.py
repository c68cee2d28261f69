"""All routes: one module for each group of them."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Router

from sockwatch.clock import Clock, SystemClock
from sockwatch.export.web import api, events, health, scrape, static_files, status_page
from sockwatch.export.web.live import Live
from sockwatch.export.web.page.frame import StatusPage
from sockwatch.export.web.published import LastPublished

STREAMS = frozenset({"/api/v1/events"})
"""What is answered for as long as the client stays."""


def build_site(
    published: LastPublished,
    more: Sequence[BaseRoute] = (),
    *,
    live: Live | None = None,
    clock: Clock | None = None,
) -> Starlette:
    """The application without its gate. `more` are further routes; `live` is told of each poll by whoever made it."""
    live, clock, page = live or Live(published), clock or SystemClock(), StatusPage()
    routes = [
        *scrape.routes(published),
        *health.routes(published),
        *api.routes(published),
        *events.routes(live, page, clock),
        *status_page.routes(live, page, clock),
        *static_files.routes(),
    ]
    site = Starlette(routes=[*routes, *more])
    router: Router = site.router
    router.redirect_slashes = False  # the redirect would go to whatever host the client named
    return site
