"""/api/v1/report: what `sockwatch check --json` would have said at the last poll.

Its header `Age` (RFC 9111, 5.1) has the seconds since then by the daemon's own clock, for those whose clock differs.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sockwatch.clock import Clock
from sockwatch.export.json_report import report_text
from sockwatch.export.web.live import Live
from sockwatch.export.web.parameters import refused
from sockwatch.export.web.per_poll import PerPoll


def routes(live: Live, clock: Clock) -> list[Route]:
    """One route."""
    rendered = PerPoll(lambda shown: report_text(shown.poll.report).encode())

    async def report(_: Request) -> Response:
        shown = live.current()
        if shown is None:
            return refused(503, "sockwatch has not looked yet")
        age = max(round(clock.monotonic() - shown.poll.monotonic), 0)
        return Response(rendered.of(shown), media_type="application/json", headers={"Age": str(age)})

    return [Route("/api/v1/report", report, methods=["GET"])]
