"""Connections that cost: half-open ones, slow ones, too many. Normal scrapes go on meanwhile."""

import asyncio
import contextlib
import http.client
import resource
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from export.web.serving import Served, closing, few, half_open, open_files, published, rest, until
from sockwatch.export.metrics.exposition import Exposition

GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
OK = b"HTTP/1.1 200 "


def scrape(served: Served, times: int = 1) -> None:
    """Also a barrier: what was sent to the server before has been read when this is answered."""
    for _ in range(times):
        assert served.get("/metrics").status == 200


def publish_large_page(served: Served) -> None:
    """One that fits into no socket buffer."""
    page = b"# no series\n" * 1_000_000
    exposition = Exposition(text=page, text_gzip=page, openmetrics=page, openmetrics_gzip=page)
    served.last = replace(published(), exposition=exposition)


def slow_reader(served: Served) -> socket.socket:
    """It asks for the page and reads nothing of it."""
    client = served.connect(receive_buffer=4096)
    client.sendall(GET)
    return client


def ask(client: socket.socket, request: bytes = GET) -> int:
    """The status of the answer, which is read to its end."""
    client.sendall(request)
    response = http.client.HTTPResponse(client)
    response.begin()
    response.read()
    return response.status


class Gated:
    """Two routes: one that answers when it is let, and one that never ends."""

    def __init__(self) -> None:
        self.inside = 0
        self.open = asyncio.Event()

    def routes(self) -> list[Route]:
        return [Route("/wait", self._wait), Route("/api/v1/events", self._events)]

    async def _wait(self, _: Request) -> Response:
        self.inside += 1
        await self.open.wait()
        return PlainTextResponse("done")

    async def _events(self, _: Request) -> Response:
        async def events() -> AsyncIterator[bytes]:
            while True:
                yield b"data: x\n\n"
                await asyncio.sleep(0.01)

        return StreamingResponse(events(), media_type="text/event-stream")


def test_headers_that_do_not_come_are_not_waited_for() -> None:
    with Served() as served:
        silent, begun, idle = served.connect(), half_open(served), served.connect()
        with closing([silent, begun, idle]):
            assert ask(idle) == 200
            served.clock.ahead += 5.1
            assert (rest(silent), rest(begun)) == (b"", b"")
            assert served.closed("headers_late") == 2
            assert ask(idle) == 200


def test_a_byte_now_and_then_does_not_help() -> None:
    with Served() as served, half_open(served) as client:
        for _ in range(5):
            served.clock.ahead += 1.0
            client.sendall(b"X")
            scrape(served)
        served.clock.ahead += 0.2
        assert rest(client) == b""


def test_the_second_request_has_its_own_time() -> None:
    with Served() as served, served.connect() as client:
        assert ask(client) == 200
        served.clock.ahead += 60
        client.sendall(GET[:20])
        scrape(served)
        assert served.closed("headers_late") == 0
        served.clock.ahead += 5.1
        assert rest(client) == b""
        assert served.closed("headers_late") == 1


def test_half_a_second_request_behind_the_first_has_its_time_too() -> None:
    with Served() as served, served.connect() as client:
        assert ask(client, GET + GET[:20]) == 200
        scrape(served)
        served.clock.ahead += 5.1
        assert rest(client) == b""
        assert served.closed("headers_late") == 1


def test_an_idle_connection_is_closed_in_the_end() -> None:
    with Served(limits=few(idle_seconds=0.05)) as served, served.connect() as client:
        client.sendall(GET)
        assert rest(client).startswith(OK)


def test_when_full_the_one_that_waits_longest_gives_way() -> None:
    with Served(max_connections=23) as served:
        waiting = [half_open(served) for _ in range(23)]
        with closing(waiting):
            until(lambda: served.connections == 23)
            scrape(served)
            assert served.closed("evicted") == 1
            assert rest(waiting[0]) == b""
            assert ask(waiting[1], b"\r\n") == 200


def test_when_all_are_worked_for_one_more_is_closed_at_once() -> None:
    gated = Gated()
    with Served(max_connections=3, routes=gated.routes()) as served:
        clients = [served.connect() for _ in range(3)]
        with closing(clients):
            for client in clients:
                client.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: gated.inside == 3)
            with served.connect() as surplus:
                assert rest(surplus) == b""
            assert served.closed("surplus") == 1
            served.loop.call_soon_threadsafe(gated.open.set)
            assert [client.recv(1 << 16)[:13] for client in clients] == [OK] * 3
            scrape(served)


def test_2000_half_open_requests_harm_nobody() -> None:
    """As many as the limit of open files lets us open here, at most 2,000, against 256 connections."""
    files, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients: list[socket.socket] = []
    try:
        with Served() as served, closing(clients):
            for _ in range(min(2000, hard - 600)):
                clients.append(half_open(served))
                if len(clients) % 100 == 0:
                    scrape(served)
                    assert served.connections <= 256
            scrape(served, times=23)
            assert served.closed("evicted") >= len(clients) - 256
            served.clock.ahead += 5.1
            until(lambda: served.connections == 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


def test_slow_readers_get_their_time_and_no_more() -> None:
    with Served() as served:
        publish_large_page(served)
        readers = [slow_reader(served) for _ in range(5)]
        with closing(readers):
            assert all(reader.recv(13) == OK for reader in readers)
            served.last = published()
            scrape(served)
            served.clock.ahead += 29
            scrape(served)
            assert served.closed("answer_unread") == 0
            served.clock.ahead += 1.1
            until(lambda: served.closed("answer_unread") == 5)
            assert all(len(rest(reader)) < 12_000_000 for reader in readers)


def test_the_last_bytes_have_to_be_read_as_well() -> None:
    """What is small enough for our buffer counts as sent for uvicorn; the connection would wait for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with Served(sockets=[listener]) as served:
        page = published(series=3000)
        served.last = page
        with slow_reader(served) as reader:
            assert reader.recv(13) == OK
            until(lambda: all(c.waits_since is not None for c in served.server.open_connections))
            assert served.closed("answer_unread") == 0
            served.clock.ahead += 30.1
            until(lambda: served.closed("answer_unread") == 1)
            assert len(rest(reader)) < len(page.exposition.text)


def test_slow_readers_take_no_place_from_others() -> None:
    """More of them than there are places for requests, and than there are places for connections."""
    with Served(max_connections=7, max_requests=2) as served:
        publish_large_page(served)
        readers = [slow_reader(served) for _ in range(14)]
        with closing(readers):
            until(lambda: served.closed("evicted") == 7)
            served.last = published()
            scrape(served, times=5)
            assert served.counts("sockwatch_http_requests")["503"] == 0
            assert served.connections <= 7


def test_an_answer_that_is_not_read_waits_outside_of_memory() -> None:
    with Served() as served:
        publish_large_page(served)
        readers = [slow_reader(served) for _ in range(5)]
        with closing(readers):
            assert all(reader.recv(13) == OK for reader in readers)
            unsent = [client.transport.get_write_buffer_size() for client in served.server.open_connections]
            assert len(unsent) == 5
            assert max(unsent) <= 3 * 65536


@pytest.mark.parametrize("how", ["close", "reset", "shutdown"])
def test_a_scraper_that_leaves_in_the_middle_leaves_nothing(how: str) -> None:
    with Served() as served:
        publish_large_page(served)
        files = open_files()
        for _ in range(5):
            client = slow_reader(served)
            assert client.recv(13) == OK
            if how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            if how == "shutdown":
                client.shutdown(socket.SHUT_RDWR)
            client.close()
        until(lambda: served.connections == 0)
        until(lambda: open_files() == files)
        assert served.run(_tasks) == 0


async def _tasks() -> int:
    """Besides this one and the server's own."""
    return len(asyncio.all_tasks()) - 2


def test_more_requests_at_once_than_allowed_get_503() -> None:
    gated = Gated()
    with Served(max_requests=2, routes=gated.routes()) as served:
        clients = [served.connect() for _ in range(2)]
        with closing(clients):
            for client in clients:
                client.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: gated.inside == 2)
            refused = served.get("/metrics")
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            served.loop.call_soon_threadsafe(gated.open.set)
            assert [client.recv(1 << 16)[:13] for client in clients] == [OK] * 2
            scrape(served)


def test_60_scrapes_at_once_all_get_the_page() -> None:
    with Served() as served:
        clients = [served.connect() for _ in range(60)]
        with closing(clients):
            for client in clients:
                client.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            bodies = {rest(client).split(b"\r\n\r\n", 1)[1] for client in clients}
        assert served.last is not None
        assert bodies == {served.last.exposition.text}


def test_streams_have_a_limit_of_their_own() -> None:
    gated = Gated()
    with Served(max_requests=1, limits=few(streams=2), routes=gated.routes()) as served:
        streams = [served.connect() for _ in range(2)]
        with closing(streams):
            for stream in streams:
                stream.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert stream.recv(1 << 16).startswith(OK)
            scrape(served)
            assert served.get("/api/v1/events").status == 503
            served.clock.ahead += 300
            scrape(served)
            assert [len(stream.recv(8)) for stream in streams] == [8, 8]
        until(lambda: served.connections == 0)
        until(lambda: served.run(_tasks) == 0)
        with served.connect() as stream:
            stream.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert stream.recv(13) == OK


def test_a_stream_that_is_not_read_ends() -> None:
    async def flood(_: Request) -> Response:
        async def events() -> AsyncIterator[bytes]:
            while True:
                yield b"data: x\n\n" * 10_000  # and awaits nothing

        return StreamingResponse(events(), media_type="text/event-stream")

    with Served(routes=[Route("/api/v1/events", flood)]) as served, served.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(13) == OK
        until(lambda: any(c.waits_since is not None for c in served.server.open_connections))
        served.clock.ahead += 30.1
        until(lambda: served.closed("answer_unread") == 1)
        until(lambda: served.run(_tasks) == 0)


def test_without_a_file_to_accept_with_the_longest_waiting_gives_one() -> None:
    files, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Served() as served:
        clients: list[socket.socket] = []
        with closing(clients):
            clients += [half_open(served) for _ in range(5)]
            until(lambda: served.connections == 5)
            caller = socket.socket()
            clients.append(caller)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (caller.fileno() + 1, hard))
                caller.connect(served.address)
                caller.settimeout(20)
                assert ask(caller) == 200
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
            assert served.closed("files") >= 1
            assert served.closed("evicted") >= 1


def test_the_end_waits_for_answers_and_for_nothing_else() -> None:
    gated = Gated()
    with Served(routes=gated.routes()) as served:
        half, idle, stream, asking = half_open(served), served.connect(), served.connect(), served.connect()
        with closing([half, idle, stream, asking]):
            assert ask(idle) == 200
            stream.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert stream.recv(1 << 16).startswith(OK)
            asking.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: gated.inside == 1)
            stopping = asyncio.run_coroutine_threadsafe(served.server.stop(20.0), served.loop)
            assert (rest(half), rest(idle)) == (b"", b"")
            rest(stream)
            assert not stopping.done()
            with pytest.raises(ConnectionRefusedError):
                served.connect()
            served.loop.call_soon_threadsafe(gated.open.set)
            assert rest(asking).endswith(b"done")
            stopping.result(20)


def test_the_end_comes_in_time_whatever_hangs() -> None:
    gated = Gated()
    with Served(routes=gated.routes()) as served:
        publish_large_page(served)
        reader, asking = slow_reader(served), served.connect()
        with closing([reader, asking]):
            assert reader.recv(13) == OK
            asking.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: gated.inside == 1)
            asyncio.run_coroutine_threadsafe(served.server.stop(0.05), served.loop).result(20)
            assert rest(asking) == b""
            with contextlib.suppress(ConnectionResetError):
                assert len(rest(reader)) < 12_000_000
            assert served.run(_tasks) == 0
