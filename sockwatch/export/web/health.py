"""/-/healthy and /-/ready, named as Prometheus names them."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sockwatch.export.web.published import LastPublished


def not_ready() -> Response:
    """What everything that needs a poll answers until there is one."""
    return PlainTextResponse("sockwatch has not looked yet.\n", 503, headers={"Retry-After": "1"})


def routes(published: LastPublished) -> list[Route]:
    """Healthy is whoever answers; ready is who has something to say."""

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("sockwatch is healthy.\n")

    async def ready(_: Request) -> Response:
        return not_ready() if published() is None else PlainTextResponse("sockwatch is ready.\n")

    return [Route("/-/healthy", healthy, methods=["GET"]), Route("/-/ready", ready, methods=["GET"])]
