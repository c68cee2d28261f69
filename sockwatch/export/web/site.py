"""All routes: one module for each group of them."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Router

from sockwatch.export.web import api, health, scrape, status_page
from sockwatch.export.web.published import LastPublished

STREAMS = frozenset({"/api/v1/events"})
"""What is answered for as long as the client stays."""


def build_site(published: LastPublished, more: Sequence[BaseRoute] = ()) -> Starlette:
    """The application without its gate. `more` are routes that need more than the last poll."""
    modules = (scrape, health, api, status_page)
    site = Starlette(routes=[route for module in modules for route in module.routes(published)] + list(more))
    router: Router = site.router
    router.redirect_slashes = False  # the redirect would go to whatever host the client named
    return site
