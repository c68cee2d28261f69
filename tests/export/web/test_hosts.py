"""DNS rebinding: over a loopback address only our own names are answered."""

import pytest

from export.web.serving import Served
from sockwatch.export.web.hosts import Hosts, is_loopback


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:10147",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:10147",
        "192.0.2.1:80",
        "[::1]",
        "[::1]:10147",
        "box.example",
        "Box.Example:10147",
        "box.example.:10147",
    ],
)
def test_our_names(host: str) -> None:
    assert Hosts(["Box.example"]).allow(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:10147",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "box.example.evil.example",
        "xbox.example",
        "127.1",
        "0x7f000001",
        "2130706433",
        "[::1].evil.example",
        "localhost@evil.example",
        "localhost:80@evil.example",
        "localhost,evil.example",
        "[localhost]",
        "[::1",
        ":10147",
    ],
)
def test_others_names(host: str) -> None:
    assert not Hosts(["box.example"]).allow(host)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("/run/sockwatch.sock", False),
    ],
)
def test_what_is_loopback(address: str, loopback: bool) -> None:  # noqa: FBT001 - a parameter of the table
    assert is_loopback(address) is loopback


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/report", "/-/healthy", "/nowhere"])
def test_a_rebound_name_gets_nothing(path: str) -> None:
    with Served(hosts=("box.example",)) as served:
        refused = served.get(path, {"Host": "evil.example"})
        named = served.get("/", {"Host": "box.example"})
    assert refused.status == 421
    assert b"sockwatch_" not in refused.body
    assert named.status == 200


def test_http_1_0_needs_no_host() -> None:
    with Served() as served:
        assert served.say(b"GET /-/healthy HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("headers", [b"", b"Host: localhost\r\nHost: evil.example\r\n"])
def test_http_1_1_needs_one_host(headers: bytes) -> None:
    with Served() as served:
        assert served.say(b"GET / HTTP/1.1\r\n" + headers + b"\r\n").startswith(b"HTTP/1.1 400 ")
