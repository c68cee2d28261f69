"""/metrics: the page that the last poll rendered; a scrape makes nobody look at a socket."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sockwatch.export.web.health import not_ready
from sockwatch.export.web.published import LastPublished


def routes(published: LastPublished) -> list[Route]:
    """One route."""

    async def metrics(request: Request) -> Response:
        last = published()
        if last is None:
            return not_ready()
        accept, encodings = (", ".join(request.headers.getlist(name)) for name in ("accept", "accept-encoding"))
        body, content_type, encoding = last.exposition.answer(accept, encodings)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        return Response(body, headers=headers | ({"Content-Encoding": encoding} if encoding else {}))

    return [Route("/metrics", metrics, methods=["GET"])]
