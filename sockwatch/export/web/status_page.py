"""/: the status page, complete without JavaScript."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from sockwatch.clock import Clock
from sockwatch.export.web.live import Live
from sockwatch.export.web.page.frame import StatusPage, waiting


def routes(live: Live, page: StatusPage, clock: Clock) -> list[Route]:
    """One route."""

    async def status(_: Request) -> Response:
        shown = live.current()
        if shown is None:
            return HTMLResponse(waiting())
        return HTMLResponse(page.text(shown, clock.monotonic() - shown.poll.monotonic))

    return [Route("/", status, methods=["GET"])]
