"""Addresses to listen on, and sockets that others opened."""

import os
import re
import socket
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from export.web.serving import PATIENCE, Served, open_files, rest
from sockwatch.errors import UsageError
from sockwatch.export.web.listening import listen, parse, shown
from sockwatch.model.settings import WebSettings

HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def close(sockets: list[socket.socket]) -> None:
    for listener in sockets:
        listener.close()


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:10147", "127.0.0.1", 10147),
        ("[::1]:10147", "::1", 10147),
        (":10147", "", 10147),
        ("localhost:0", "localhost", 0),
        ("box.example:65535", "box.example", 65535),
    ],
)
def test_addresses(address: str, host: str, port: int) -> None:
    assert parse(address) == (host, port)


@pytest.mark.parametrize(
    "address",
    ["", "10147", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:http", "::1:80", "a:b:80",
     "127.0.0.1: 80", "127.0.0.1:\u0661", "127.0.0.1:" + "1" * 5000],
)  # fmt: skip
def test_no_addresses(address: str) -> None:
    with pytest.raises(UsageError, match=re.escape("is no address to listen on: HOST:PORT, [HOST]:PORT or :PORT")):
        listen([address])


def test_the_default_is_for_this_host_only() -> None:
    assert WebSettings().listen == ("127.0.0.1:10147",)


@pytest.mark.parametrize("address", ["nowhere.invalid:80", "a..b:80", "x" * 70 + ":80", "\udcff:80"])
def test_a_name_that_nobody_has(address: str) -> None:
    with pytest.raises(UsageError, match=r"^cannot listen on "):
        listen([address])


def test_all_addresses_of_a_name_get_one_port() -> None:
    sockets = listen([":0"])
    try:
        names = [shown(listener) for listener in sockets]
        assert {name.rpartition(":")[0] for name in names} <= {str(IPv4Address(0)), "[::]"}
        assert len({name.rpartition(":")[2] for name in names}) == 1
    finally:
        close(sockets)


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="kernel: no IPv6 here")
def test_several_addresses_of_both_families() -> None:
    with Served(listen=("127.0.0.1:0", "[::1]:0")) as served:
        first, second = served.server.addresses
        assert re.fullmatch(r"127\.0\.0\.1:\d+", first)
        assert re.fullmatch(r"\[::1\]:\d+", second)
        with socket.create_connection(("::1", int(second.rpartition(":")[2])), timeout=PATIENCE) as client:
            client.sendall(HEALTHY)
            assert rest(client).startswith(b"HTTP/1.1 200 ")
        assert served.get("/-/healthy").status == 200


def test_a_port_in_use_names_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = shown(other)
        before = open_files()
        with pytest.raises(UsageError) as error:
            listen(["127.0.0.1:0", address])
        assert open_files() == before
    line = str(error.value)
    name = Path("/proc/self/comm").read_text().strip()
    assert line == f"cannot listen on {address}: Address already in use, by {name}[{os.getpid()}]"


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(UsageError, match=r"^cannot listen on 192\.0\.2\.1:0: Cannot assign requested address$"):
        listen(["192.0.2.1:0"])


def test_sockets_from_the_service_manager_are_served_instead() -> None:
    inherited = socket.create_server(("127.0.0.1", 0))
    with Served(sockets=[inherited], listen=("192.0.2.1:80",)) as served:
        assert served.server.addresses == (f"127.0.0.1:{served.port}",)
        assert served.get("/-/healthy").status == 200


def test_a_unix_socket_from_the_service_manager_needs_no_host_of_ours(tmp_path: Path) -> None:
    path = str(tmp_path / "web.sock")
    inherited = socket.socket(socket.AF_UNIX)
    inherited.bind(path)
    inherited.listen()
    with Served(sockets=[inherited]) as served, socket.socket(socket.AF_UNIX) as client:
        assert served.server.addresses == (path,)
        client.settimeout(PATIENCE)
        client.connect(path)
        client.sendall(HEALTHY.replace(b"localhost", b"proxy.example"))
        assert rest(client).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_vanishes_is_noticed() -> None:
    """What sockwatch says to others about keepalive holds for its own sockets."""
    with Served() as served, served.connect() as client:
        client.sendall(HEALTHY[:10])
        while not served.server.open_connections:
            pass
        (connection,) = served.server.open_connections
        while connection.transport is None:
            pass
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
