"""/: the verdict as a plain page, without JavaScript."""

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from sockwatch import __version__
from sockwatch.export.web.published import LastPublished, Published
from sockwatch.model.printable import printable


def routes(published: LastPublished) -> list[Route]:
    """One route."""

    async def page(_: Request) -> Response:
        return HTMLResponse(_page(published()))

    return [Route("/", page, methods=["GET"])]


def _page(last: Published | None) -> str:
    verdict = "sockwatch has not looked yet." if last is None else _verdict(last)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>sockwatch</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head>\n<body>\n'
        f"<h1>sockwatch</h1>\n{verdict}\n"
        '<ul><li><a href="/metrics">Metrics</a></li><li><a href="/api/v1/report">Report (JSON)</a></li></ul>\n'
        f"<p>Version {__version__}</p>\n</body></html>\n"
    )


def _verdict(last: Published) -> str:
    report = last.poll.report
    findings = "".join(
        f"<li>{finding.severity.value}: {escape(printable(finding.summary))}</li>\n" for finding in report.findings
    )
    return f"<p>{escape(printable(report.host))}: {report.status.value}</p>\n<ul>\n{findings}</ul>"
