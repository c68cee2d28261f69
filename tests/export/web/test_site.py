"""What is served: over a real connection, as a client sees it."""

import gzip
import json
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import reports
from export.web.serving import Served, published, rest
from sockwatch.export.json_report import report_object
from sockwatch.export.web.security_headers import CONTENT_SECURITY_POLICY

PATHS = ("/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/report")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (f"{OPENMETRICS};q=0.8,text/plain;version=0.0.4;q=0.5", "application/openmetrics-text; version=1.0.0"),
    ],
)
@pytest.mark.parametrize("encoding", ["", "gzip", "deflate, gzip;q=1.0"])
def test_a_scraper_gets_the_format_it_asks_for(accept: str, kind: str, encoding: str) -> None:
    with Served() as served:
        headers = {"Accept": accept, "Accept-Encoding": encoding}
        answer = served.get("/metrics", {name: value for name, value in headers.items() if value})
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(kind)
    assert answer.headers.get("content-encoding", "") == ("gzip" if encoding else "")
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    text = (gzip.decompress(answer.body) if encoding else answer.body).decode()
    (family,) = (parse_openmetrics if "openmetrics" in kind else parse_text)(text)
    assert (family.name, len(family.samples)) == ("sockwatch_sockets", 23)


def test_a_scrape_gets_the_last_polls_page_however_often() -> None:
    with Served() as served:
        first = {served.get("/metrics").body for _ in range(3)}
        served.last = published(number=2)
        second = {served.get("/metrics").body for _ in range(3)}
    assert len(first) == len(second) == 1
    assert first != second


def test_until_the_first_poll_it_is_healthy_and_not_ready() -> None:
    with Served() as served:
        served.last = None
        assert [served.get(path).status for path in PATHS] == [200, 503, 200, 503, 503]
        served.last = published()
        assert [served.get(path).status for path in PATHS] == [200] * 5


def test_the_report_is_that_of_the_last_poll() -> None:
    with Served() as served:
        for report in (reports.sick(), reports.healthy(), reports.failed()):
            served.last = published(report)
            answer = served.get("/api/v1/report")
            assert answer.headers["content-type"] == "application/json"
            reports.VALIDATOR.validate(json.loads(answer.text))
            assert json.loads(answer.text) == report_object(report)


def test_the_page_escapes_what_others_named() -> None:
    hostile = replace(reports.leak(), summary="<script>alert(1)</script>\x1b[2J")
    with Served() as served:
        served.last = published(reports.report(hostile))
        text = served.get("/").text
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_the_body(path: str) -> None:
    with Served() as served:
        head, get = served.get(path, method="HEAD"), served.get(path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.body))


@pytest.mark.parametrize(
    "path",
    [
        "/metrics/",
        "/metricsx",
        "/nowhere",
        "//metrics",
        "/%2e%2e/etc/passwd",
        "/../../etc/passwd",
        "/metrics%00",
        "/metrics%0d%0aX-Injected:%201",
        "/%ff%fe",
        "/%",
        "/static/../metrics",
        "/" + "a" * 4000,
        "http://localhost/metrics",
        "*",
    ],
)
def test_nothing_else_is_there(path: str) -> None:
    with Served() as served, served.connect() as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head = rest(client).split(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 404 ")
    assert b"x-injected" not in head
    assert b"location" not in head


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"])
@pytest.mark.parametrize("path", ["/metrics", "/nowhere"])
def test_only_get_and_head_are_methods(method: str, path: str) -> None:
    with Served() as served:
        answer = served.say(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nallow: GET, HEAD\r\n" in answer


REQUESTS = {
    200: b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    400: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    404: b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    405: b"TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    413: b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n",
    421: b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    431: b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 9000,
}


@pytest.mark.parametrize(("status", "request_bytes"), REQUESTS.items(), ids=map(str, REQUESTS))
def test_every_answer_has_the_security_headers(status: int, request_bytes: bytes) -> None:
    with Served() as served:
        head = served.say(request_bytes).split(b"\r\n\r\n")[0].decode()
        assert served.counts("sockwatch_http_requests")[str(status)] == 1
    first, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert first.startswith(f"HTTP/1.1 {status}")
    assert len(headers) == len(lines), "a header is there twice"
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["connection"] == "close"
    assert "server" not in headers
    assert not [name for name in headers if name.startswith("access-control")]


def test_the_policy_allows_no_script_but_our_own_files() -> None:
    policy = dict(directive.split(" ", 1) for directive in CONTENT_SECURITY_POLICY.split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
