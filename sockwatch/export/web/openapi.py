"""/api/v1/openapi.json: what the API offers, for programs (OpenAPI 3.1)."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sockwatch import __version__
from sockwatch.export.history.reader import MOST_POINTS
from sockwatch.export.history.samples import Kind
from sockwatch.export.json_report import SCHEMA as REPORT
from sockwatch.export.web.history_api import MOST_FINDINGS, SCHEMA as HISTORY
from sockwatch.export.web.parameters import answer
from sockwatch.export.web.socket_api import SCHEMA as SOCKETS
from sockwatch.export.web.socket_query import LARGEST_COOKIE, MOST_GROUPS, MOST_ROWS, OLDEST, SIDES
from sockwatch.model.finding import Severity
from sockwatch.model.report import Status
from sockwatch.model.state import State

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_TEXT_OR_NULL: Json = {"type": ["string", "null"]}
_NUMBER: Json = {"type": "number"}
_NUMBER_OR_NULL: Json = {"type": ["number", "null"]}
_COUNT: Json = {"type": "integer", "minimum": 0}
_STATE: Json = {"type": "string", "enum": [state.label for state in State]}
_SEVERITY: Json = {"type": "string", "enum": [severity.value for severity in Severity]}
_LATEST = 4e9


def routes() -> list[Route]:
    """One route."""

    async def document(_: Request) -> Response:
        return answer(openapi())

    return [Route("/api/v1/openapi.json", document, methods=["GET"])]


def openapi() -> Json:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sockwatch",
            "version": __version__,
            "description": "Every answer is from the daemon's last look; no request starts one. Nothing can be changed."
            " Keys may be added, never renamed or removed.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/api/v1/report": {"get": _report()},
            "/api/v1/sockets": {"get": _sockets()},
            "/api/v1/history": {"get": _history()},
            "/api/v1/events": {"get": _events()},
            "/api/v1/openapi.json": {"get": _document()},
        },
        "components": {
            "schemas": {
                "Error": _object({"error": {**_TEXT, "description": "One line."}}),
                "Report": _report_schema(),
                "Sockets": _sockets_schema(),
                "History": _history_schema(),
                "Event": _event_schema(),
            }
        },
    }


def _object(properties: Json, **more: Any) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties, **more}


def _list(items: Json, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


def _operation(name: str, summary: str, schema: str, *errors: int, parameters: list[Json] | None = None) -> Json:
    words = {400: "A parameter is wrong.", 404: "There is no history.", 503: "It cannot be read now."}
    reference = {"schema": {"$ref": "#/components/schemas/Error"}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters or [],
        "responses": {
            "200": {
                "description": summary,
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
            },
            **{str(e): {"description": words[e], "content": {"application/json": reference}} for e in errors},
        },
    }


def _query(name: str, schema: Json, description: str, **more: Any) -> Json:
    return {"name": name, "in": "query", "schema": schema, "description": description, **more}


def _report() -> Json:
    return _operation("report", "What `sockwatch check --json` would have printed at the last look.", "Report", 503)


def _sockets() -> Json:
    text: Json = {"type": "string", "maxLength": 256}
    return _operation(
        "sockets",
        "The sockets of the last look: filtered, counted, and page by page in the order of their cookies.",
        "Sockets",
        400,
        503,
        parameters=[
            _query("state", _list(_STATE), "In one of these states.", style="form", explode=True),
            _query("port", {"type": "integer", "minimum": 0, "maximum": 65535}, "At either end."),
            _query("side", {"type": "string", "enum": list(SIDES)}, "With port: only at this end."),
            _query("process", text, "The name of the oldest process that holds it; empty: not known."),
            _query("peer", text, "The other end: ADDR, ADDR/BITS, ADDR:PORT or [ADDR]:PORT."),
            _query("netns", text, "The network namespace, as the report names it."),
            _query(
                "min_age",
                {"type": "number", "minimum": 0, "maximum": OLDEST},
                "At least so many seconds in its state; one whose age is not known does not match.",
            ),
            _query("limit", {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": 100}, "Rows."),
            _query(
                "cursor",
                {"type": "integer", "minimum": 0, "maximum": LARGEST_COOKIE},
                "`next` of the page before. Paging goes on over looks: a socket keeps its place.",
            ),
            _query(
                "groups",
                {"type": "integer", "minimum": 0, "maximum": MOST_GROUPS, "default": 20},
                "Groups of each kind.",
            ),
        ],
    )


def _history() -> Json:
    moment: Json = {"type": "number", "minimum": -_LATEST, "maximum": _LATEST}
    return _operation(
        "history",
        "Counts over time, and what was found then.",
        "History",
        400,
        404,
        503,
        parameters=[
            _query("kind", {"type": "string", "enum": [k.value for k in Kind], "default": "state"}, "Which series."),
            _query("since", moment, "Seconds since 1970, or before now where it is negative; default: an hour."),
            _query("until", moment, "Likewise; default: now."),
            _query("points", {"type": "integer", "minimum": 1, "maximum": MOST_POINTS, "default": 288}, "About."),
            _query("netns", {"type": "string", "maxLength": 256}, "Of one namespace only."),
        ],
    )


def _events() -> Json:
    operation = _operation("events", "Server-sent events: one after each look.", "Event")
    operation["responses"]["200"]["content"] = {
        "text/event-stream": {"schema": {**_TEXT, "description": "`event: poll`, with an Event as its data."}}
    }
    return operation


def _document() -> Json:
    operation = _operation("openapi", "This document.", "Error")
    operation["responses"]["200"]["content"] = {"application/json": {"schema": {"type": "object"}}}
    return operation


def _report_schema() -> Json:
    properties: Json = {
        "schema": {"const": REPORT},
        "time": {"type": "string", "format": "date-time"},
        "host": _TEXT,
        "kernel": _TEXT,
        "status": {"type": "string", "enum": [status.value for status in Status]},
        "sockets": _counts(),
        "findings": _list(
            _object({"code": _TEXT, "variant": _TEXT_OR_NULL, "severity": _SEVERITY, "count": _COUNT, "summary": _TEXT})
        ),
        "gaps": _list(_object({"what": _TEXT, "why": _TEXT, "count": _COUNT})),
        "counters": {"type": "object", "additionalProperties": {"type": "integer"}},
        "sysctls": {"type": "object", "additionalProperties": _TEXT},
        "namespaces": _list(_object({"netns": _TEXT, "sockets": _counts()})),
        "timings_ms": {"type": "object", "additionalProperties": _NUMBER},
    }
    return _object(properties, description="docs/report.schema.json has all of it.")


def _counts() -> Json:
    count: Json = {"type": ["integer", "null"], "minimum": 0}
    return _object({"total": _COUNT, "by_state": _object({state.label: count for state in State})})


def _sockets_schema() -> Json:
    def group(key: str, kind: Json, **more: Json) -> Json:
        return _list(_object({key: kind, "count": _COUNT, **more}), description="Largest first; null: all others.")

    row: Json = {
        "netns": _TEXT,
        "state": _STATE,
        "local": _TEXT,
        "remote": _TEXT,
        "pid": {"type": ["integer", "null"], "description": "null where it was not looked up, or could not be seen."},
        "process": _TEXT_OR_NULL,
        "inode": _COUNT,
        "uid": _COUNT,
        "recv_q": _COUNT,
        "send_q": _COUNT,
        "age_seconds": {**_NUMBER_OR_NULL, "description": "The lower bound that this look alone gives."},
        "timer": _TEXT,
        "retransmits": _COUNT,
        "cookie": {**_TEXT, "description": "The socket's identity for as long as it lives."},
    }
    return _object(
        {
            "schema": {"const": SOCKETS},
            "poll": _COUNT,
            "time": _NUMBER,
            "total": {**_COUNT, "description": "All that match."},
            "next": {**_TEXT_OR_NULL, "description": "The cursor of the next page; null: there is none."},
            "groups": _object(
                {
                    "state": group("state", _TEXT_OR_NULL),
                    "process": group("name", {**_TEXT_OR_NULL, "description": "Empty: not known."}),
                    "peer": group("address", _TEXT_OR_NULL),
                    "port": group(
                        "port",
                        {"type": ["integer", "null"]},
                        side={"enum": ["local", "remote", None], "description": "Which end the service is at."},
                    ),
                    "netns": group("netns", _TEXT_OR_NULL),
                }
            ),
            "sockets": _list(_object(row), maxItems=MOST_ROWS),
        }
    )


def _history_schema() -> Json:
    values = _list(_NUMBER_OR_NULL)
    finding: Json = {
        "number": _COUNT,
        "name": {**_TEXT, "description": "CODE or CODE/VARIANT"},
        **dict.fromkeys(("code", "variant", "netns", "local", "remote", "process", "unit", "container"), _TEXT),
        "opened": _NUMBER,
        "seen": _NUMBER,
        "closed": {**_NUMBER_OR_NULL, "description": "null while it is open."},
        "severity": _SEVERITY,
        "worst": _SEVERITY,
        "count": _COUNT,
        "most": _COUNT,
        "summary": _TEXT,
    }
    return _object(
        {
            "schema": {"const": HISTORY},
            "kind": {"type": "string", "enum": [kind.value for kind in Kind]},
            "since": _NUMBER,
            "until": _NUMBER,
            "step": {**_COUNT, "description": "Seconds."},
            "times": _list({"type": "integer"}, description="Where each step begins."),
            "series": _list(_object({"netns": _TEXT, "name": _TEXT, "mean": values, "high": values})),
            "findings": _list(_object(finding), maxItems=MOST_FINDINGS, description="The newest first."),
            "gaps": _list(_object({"began": _NUMBER, "ended": _NUMBER_OR_NULL, "why": _TEXT})),
        }
    )


def _event_schema() -> Json:
    return _object(
        {
            "sent": {**_NUMBER, "description": "When this was sent: seconds of a clock that only goes on."},
            "age": {**_NUMBER, "description": "Seconds since that look began, when this was sent."},
            "poll": _COUNT,
            "time": _NUMBER,
            "interval": _NUMBER,
            "stale_after": {**_NUMBER, "description": "Seconds after which this says nothing about now."},
            "success": {"type": "boolean"},
            "status": {"type": "string", "enum": [status.value for status in Status]},
            "title": _TEXT,
            "sockets": _counts(),
            "findings": _COUNT,
            "parts": {
                "type": "object",
                "additionalProperties": _TEXT,
                "description": "Of the status page, by id: those that changed since the event before.",
            },
        }
    )
