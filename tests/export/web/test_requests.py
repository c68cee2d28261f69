"""What a request may be: small, without a body, and one at a time."""

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from export.web.serving import Served, few, rest

GET = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize(
    "request_bytes",
    [
        GET + b"X: " + b"x" * 8192 + b"\r\n\r\n",
        GET + b"X: y\r\n" * 2000 + b"\r\n",
        b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /?" + b"a" * 8192 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        GET + b"X: " + b"x" * 100_000,
        b"G" * 100_000,
    ],
)
def test_headers_of_8_kib_at_most(request_bytes: bytes, pieces: int) -> None:
    """h11 counts while they are incomplete, we count when they are complete: in one piece and in several."""
    size = -(-len(request_bytes) // pieces)
    with Served() as served, served.connect() as client:
        for begin in range(0, len(request_bytes), size):
            try:
                client.sendall(request_bytes[begin : begin + size])
            except (BrokenPipeError, ConnectionResetError):
                break
        answer = rest(client)
        assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 ")), answer[:100]
        assert served.get("/-/healthy").status == 200


def test_headers_just_below_the_limit_pass() -> None:
    with Served() as served:
        assert served.get("/-/healthy", {"X": "x" * 7900}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 00\r\n",
        b"Content-Length: 5\r\nExpect: 100-continue\r\n",
    ],
)
def test_a_body_ends_the_connection(headers: bytes) -> None:
    """Whatever a proxy before us believes where this request ends, nothing behind it is taken for another."""
    smuggled = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Served() as served:
        answer = served.say(GET + headers + b"\r\n" + smuggled)
        assert served.counts("sockwatch_http_requests")["200"] == 0
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "headers",
    [
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: " + b"9" * 4400 + b"\r\n",
        b"X: a\r\n b: c\r\nContent-Length: 5\r\n",
        b"X\r\n",
        b"X: a\0b\r\n",
        b": x\r\n",
    ],
)
def test_what_could_be_read_two_ways_is_refused(headers: bytes) -> None:
    with Served() as served:
        answer = served.say(GET + headers + b"\r\n0\r\n\r\n")
        assert served.counts("sockwatch_http_requests")["200"] == 0
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ", b"HTTP/1.1 501 ")), answer
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_content_length_of_zero_is_no_body() -> None:
    with Served() as served:
        assert served.get("/-/healthy", {"Content-Length": "0"}).status == 200


def test_a_bad_chunk_while_the_refusal_is_on_its_way() -> None:
    with Served() as served:
        answer = served.say(GET + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_requests_in_one_packet_are_answered_in_turn() -> None:
    with Served() as served:
        answer = served.say(GET + b"\r\n" + GET.replace(b"healthy", b"ready") + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.index(b"is healthy") < answer.index(b"is ready")


def test_an_upgrade_is_not_made() -> None:
    with Served() as served:
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Key": "x",
            "Sec-WebSocket-Version": "13",
        }
        assert served.get("/-/healthy", headers).status == 200


def test_who_asks_before_us_is_not_believed() -> None:
    """X-Forwarded-For is nobody's word: no proxy is configured."""
    with Served() as served:
        forged = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "Host": "evil.example"}
        assert served.get("/metrics", forged).status == 421


WORDS = (
    *(b"GET ", b"HEAD ", b"POST ", b"/metrics", b"/", b"/%2e%2e/", b"%00", b"\0", b"http://x/", b"*", b"\xff\xfe"),
    *(b" HTTP/1.1\r\n", b" HTTP/9.9\r\n", b"\r\n\r\n", b"\r\n", b"\n", b"5", b"0\r\n\r\n", b"a" * 3000),
    *(b"Host: localhost\r\n", b"Host:\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Accept: "),
    *(b"Authorization: Basic ", b"Accept-Encoding: gzip;q=x\r\n", b";q=1e999", b"Connection: close\r\n"),
    *(b"Expect: 100-continue\r\n", b"Range: bytes=0-1\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
)
PIECES = st.one_of(st.binary(max_size=64), st.sampled_from(WORDS))


def test_no_bytes_make_an_error() -> None:
    """Random bytes and random parts of requests: answered or closed, no error of ours, no line in the log."""
    with Served(limits=few(header_seconds=0.02)) as served:

        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(PIECES, min_size=1, max_size=12))
        def throw(pieces: list[bytes]) -> None:
            with served.connect() as client:
                try:
                    client.sendall(b"".join(pieces))
                except (BrokenPipeError, ConnectionResetError):
                    return
                answer = rest(client)
            assert not answer.startswith(b"HTTP/1.1 5"), answer
            assert b"Traceback" not in answer

        throw()
        counts = served.counts("sockwatch_http_requests")
        assert (counts["500"], counts["other"]) == (0, 0)
        assert served.get("/metrics").status == 200
