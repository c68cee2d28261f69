"""/api/v1/report: what `sockwatch check --json` would have said at the last poll."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sockwatch.export.json_report import report_text
from sockwatch.export.web.parameters import refused
from sockwatch.export.web.published import LastPublished, Published


class _ReportBytes:
    """Rendered for the first who asks, kept until the next poll."""

    def __init__(self) -> None:
        self._of: Published | None = None
        self._body = b""

    def of(self, last: Published) -> bytes:
        if self._of is not last:
            self._body = report_text(last.poll.report).encode()
            self._of = last
        return self._body


def routes(published: LastPublished) -> list[Route]:
    """One route."""
    rendered = _ReportBytes()

    async def report(_: Request) -> Response:
        last = published()
        if last is None:
            return refused(503, "sockwatch has not looked yet")
        return Response(rendered.of(last), media_type="application/json")

    return [Route("/api/v1/report", report, methods=["GET"])]
