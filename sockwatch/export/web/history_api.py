"""/api/v1/history: counts over time, and what was found then."""

import asyncio
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sockwatch.clock import Clock
from sockwatch.errors import HistoryError, NoHistoryError, UsageError
from sockwatch.export.history.reader import MOST_POINTS, History
from sockwatch.export.history.records import PastFinding
from sockwatch.export.history.samples import Kind
from sockwatch.export.web.parameters import Parameters, answer, refused

SCHEMA = "sockwatch.timeline/1"
MOST_FINDINGS = 200
_KNOWN = ("kind", "netns", "points", "since", "until")
_HOUR = 3600.0
_LATEST = 4e9
"""Seconds since 1970: the year 2096."""


def routes(history: History | None, clock: Clock) -> list[Route]:
    """One route; without a history it says that there is none."""

    async def past(request: Request) -> Response:
        if history is None:
            return refused(404, "no history is kept: the daemon has no state directory")
        try:
            asked = Parameters(request.query_params, _KNOWN)
            kind = Kind(asked.word("kind", {kind.value: kind for kind in Kind}, Kind.STATE.value))
            now = clock.unixtime()
            until = _moment(asked, "until", now, now)
            since = _moment(asked, "since", until - _HOUR, now)
            points = asked.whole("points", 288, least=1, most=MOST_POINTS)
            if since >= until:
                return refused(400, "since must be before until")
            body = await asyncio.to_thread(_answer, history, kind, (since, until), points, _netns(asked, kind))
        except UsageError as error:
            return refused(400, str(error))
        except NoHistoryError as error:
            return refused(404, str(error))
        except HistoryError as error:
            return refused(503, str(error))
        return answer(body)

    return [Route("/api/v1/history", past, methods=["GET"])]


def _moment(asked: Parameters, name: str, default: float, now: float) -> float:
    """Seconds since 1970, or, where it is negative, before now."""
    value = asked.number(name, default, least=-_LATEST, most=_LATEST)
    return now + value if value < 0 else value


def _netns(asked: Parameters, kind: Kind) -> str | None:
    """Which namespace; counts are, if none is named, of all together."""
    named = asked.text("netns")
    return "" if named is None and kind is Kind.STATE else named


def _answer(history: History, kind: Kind, times: tuple[float, float], points: int, netns: str | None) -> dict[str, Any]:
    since, until = times
    chart = history.chart(kind, since, until, points=points, netns=netns)
    return {
        "schema": SCHEMA,
        "kind": kind.value,
        "since": since,
        "until": until,
        "step": chart.step,
        "times": list(chart.times),
        "series": [
            {"netns": line.series.netns, "name": line.series.name, "mean": list(line.mean), "high": list(line.high)}
            for line in chart.lines
        ],
        "findings": [_finding(past) for past in history.findings(since, until, limit=MOST_FINDINGS)],
        "gaps": [asdict(gap) for gap in history.gaps(since, until)],
    }


def _finding(past: PastFinding) -> dict[str, Any]:
    identity = past.identity
    return {
        "number": past.number,
        "name": f"{identity.code}/{identity.variant}" if identity.variant else identity.code,
        **asdict(identity),
        "opened": past.opened,
        "seen": past.seen,
        "closed": past.closed,
        "severity": past.severity.value,
        "worst": past.worst.value,
        "count": past.count,
        "most": past.most,
        "summary": past.summary,
    }
