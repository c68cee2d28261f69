import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from sinks import FakeClock, WebReceiver, eventually
from sockwatch.export.sinks.outcome import Outcome, Reason, Result
from sockwatch.export.sinks.post import Poster, target

SHORT = 0.4


def poster(receiver: WebReceiver | str, **fields: Any) -> Poster:
    url = receiver if isinstance(receiver, str) else receiver.url
    defaults: dict[str, Any] = {"timeout": 20.0, "headers": {}, "bearer_token_file": "", "ca_file": ""}
    return Poster(target(url, **(defaults | fields)), FakeClock())


def post(receiver: WebReceiver | str, **fields: Any) -> Outcome:
    return poster(receiver, **fields).post(b'{"a": 1}')


def test_a_post(receiver: WebReceiver, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("T0k3n\n")
    outcome = post(receiver, headers={"X-Tenant": "a"}, bearer_token_file=str(token))
    assert outcome.result is Result.DELIVERED
    (one,) = receiver.posts
    assert (one.path, one.body) == ("/secret/path?token=hush", {"a": 1})
    assert one.headers["Content-Type"] == "application/json"
    assert one.headers["Authorization"] == "Bearer T0k3n"
    assert one.headers["X-Tenant"] == "a"
    assert one.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert one.headers["User-Agent"].startswith("sockwatch/")


def test_a_password_in_the_url_is_sent_as_such(receiver: WebReceiver) -> None:
    url = receiver.url.replace("http://", "http://me:pa%73s@")
    assert post(url).result is Result.DELIVERED
    assert receiver.posts[0].headers["Authorization"] == "Basic bWU6cGFzcw=="


@pytest.mark.parametrize(
    ("answer", "result", "reason", "retry_after"),
    [
        (b"200 OK", Result.DELIVERED, None, None),
        (b"200 OK\r\nRetry-After: 17", Result.DELIVERED, None, None),
        (b"204 No Content", Result.DELIVERED, None, None),
        (b"301 Moved\r\nLocation: http://127.0.0.2:1/", Result.REFUSED, Reason.REDIRECT, None),
        (b"307 Moved\r\nLocation: /there", Result.REFUSED, Reason.REDIRECT, None),
        (b"400 Bad Request", Result.REFUSED, Reason.CLIENT_ERROR, None),
        (b"404 Not Found", Result.REFUSED, Reason.CLIENT_ERROR, None),
        (b"429 Slow Down\r\nRetry-After: 17", Result.FAILED, Reason.RATE_LIMIT, 17.0),
        (b"429 Slow Down\r\nRetry-After: Tue, 14 Nov 2023 22:13:50 GMT", Result.FAILED, Reason.RATE_LIMIT, 30.0),
        (b"429 Slow Down\r\nRetry-After: Tue, 14 Nov 2022 22:13:50 GMT", Result.FAILED, Reason.RATE_LIMIT, 0.0),
        (b"429 Slow Down\r\nRetry-After: soon", Result.FAILED, Reason.RATE_LIMIT, None),
        (
            b"429 Slow Down\r\nRetry-After: Tue, 14 Nov 99999999999999999999 22:13:50 GMT",
            Result.FAILED,
            Reason.RATE_LIMIT,
            None,
        ),
        (b"500 Oops", Result.FAILED, Reason.SERVER_ERROR, None),
        (b"503 Later\r\nRetry-After: 5", Result.FAILED, Reason.SERVER_ERROR, 5.0),
    ],
)
def test_what_an_answer_means(
    receiver: WebReceiver, answer: bytes, result: Result, reason: Reason | None, retry_after: float | None
) -> None:
    receiver.answers.append(answer)
    outcome = post(receiver)
    assert (outcome.result, outcome.reason, outcome.retry_after) == (result, reason, retry_after)
    assert len(receiver.posts) == 1
    assert outcome.divisible == answer.startswith(b"400")


def drip(start: bytes) -> Any:
    def script(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:  # until the other side has had enough
            connection.sendall(b"x")
            threading.Event().wait(0.01)

    return script


def flood(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 500 Oops\r\n\r\n")
    while True:
        connection.sendall(bytes(65536))


@pytest.mark.parametrize(
    ("start", "result", "reason"),
    [
        (b"", Result.FAILED, Reason.TIMEOUT),
        (b"HTTP/1.1 200 OK\r\nX: ", Result.FAILED, Reason.TIMEOUT),
        (b"HTTP/1.1 200 OK\r\n\r\n", Result.DELIVERED, None),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Result.REFUSED, Reason.CLIENT_ERROR),
    ],
    ids=["status", "header", "body", "body of an error"],
)
def test_one_byte_after_the_other(start: bytes, result: Result, reason: Reason | None) -> None:
    with WebReceiver(script=drip(start)) as receiver:
        outcome = post(receiver, timeout=SHORT)
    assert (outcome.result, outcome.reason) == (result, reason)


def test_an_endless_body_is_not_read_to_its_end() -> None:
    with WebReceiver(script=flood) as receiver:
        outcome = post(receiver)
    assert (outcome.reason, len(outcome.detail) < 2000) == (Reason.SERVER_ERROR, True)
    assert outcome.detail.isprintable()


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200]
)
def test_what_is_no_http(said: bytes) -> None:
    with WebReceiver(script=lambda connection: connection.sendall(said)) as receiver:
        outcome = post(receiver)
    assert (outcome.result, outcome.reason) == (Result.FAILED, Reason.NETWORK)


def test_nobody_listens(receiver: WebReceiver) -> None:
    receiver.close()
    outcome = post(receiver)
    assert (outcome.result, outcome.reason) == (Result.FAILED, Reason.NETWORK)
    assert outcome.detail == f"http://127.0.0.1:{receiver.port}: Connection refused"


def test_nobody_accepts() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # the first ones fill the queue; the kernel leaves the SYN of others unanswered
            one.settimeout(0)
            one.connect_ex(full.getsockname())
        outcome = post(f"http://127.0.0.1:{full.getsockname()[1]}/", timeout=SHORT)
        for one in waiting:
            one.close()
    assert (outcome.result, outcome.reason) == (Result.FAILED, Reason.TIMEOUT)


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.settimeout(0)
            one.connect_ex(full.getsockname())
        both = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", p))
            for p in (full.getsockname()[1], receiver.port)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        outcome = post("http://both.example/", timeout=2.0)
        for one in waiting:
            one.close()
    assert outcome.result is Result.DELIVERED


def test_nobody_of_that_name() -> None:
    outcome = post("http://name.invalid/")
    assert (outcome.result, outcome.reason) == (Result.FAILED, Reason.NETWORK)


def test_the_secrets_are_in_no_text(receiver: WebReceiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    url = receiver.url.replace("http://", "http://me:hush@")
    receiver.answers += [b"500 Oops", b"301 Moved\r\nLocation: /hush", b"200 OK"]
    told = [post(url, headers={"X-Key": "hush"}) for _ in range(3)]
    receiver.close()
    told.append(post(url))
    assert "hush" not in f"{told}{caplog.text}{target(url, timeout=1, headers={}, bearer_token_file='', ca_file='')!r}"


def test_an_answer_is_shown_printable_and_short() -> None:
    answer = b"HTTP/1.1 400 Bad\r\nContent-Length: 300\r\n\r\n" + b"\x1b[2J\xff<0>" + b"y" * 290
    with WebReceiver(script=lambda connection: connection.sendall(answer)) as receiver:
        outcome = post(receiver)
    assert r"400 (\x1b[2J\xff<0>yyy" in outcome.detail
    assert len(outcome.detail) < 300


@pytest.mark.parametrize("content", ["", "two words", "a\nb", "ü", None])
def test_a_token_file_that_has_none(receiver: WebReceiver, tmp_path: Path, content: str | None) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
    outcome = post(receiver, bearer_token_file=str(token))
    assert (outcome.result, outcome.reason) == (Result.FAILED, Reason.TOKEN)
    assert outcome.detail.startswith(f"{token}: ")
    assert not receiver.posts


def test_proxies_of_the_environment_are_ignored(receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert post(receiver).result is Result.DELIVERED


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/",
        "file:///etc/passwd",
        "a",
        "http://",
        "http://[::1",
        "http://a:99999999/",
        "http://a..b/",
        f"http://{'a' * 64}.example/",
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match="not a URL"):
        post(url)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def encrypted(authority: trustme.CA, request: pytest.FixtureRequest) -> Iterator[WebReceiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(getattr(request, "param", "127.0.0.1")).configure_cert(context)
    with WebReceiver(tls=context) as receiver:
        yield receiver


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def test_tls(encrypted: WebReceiver, ca_file: str) -> None:
    assert post(encrypted, ca_file=ca_file).result is Result.DELIVERED
    assert len(encrypted.posts) == 1


def test_tls_of_a_stranger(encrypted: WebReceiver) -> None:
    outcome = post(encrypted)
    assert (outcome.result, outcome.reason) == (Result.FAILED, Reason.TLS)
    assert "unable to get local issuer certificate" in outcome.detail
    assert not encrypted.posts


@pytest.mark.parametrize("encrypted", ["127.0.0.2"], indirect=True)
def test_tls_with_the_name_of_another(encrypted: WebReceiver, ca_file: str) -> None:
    outcome = post(encrypted, ca_file=ca_file)
    assert (outcome.result, outcome.reason) == (Result.FAILED, Reason.TLS)
    assert not encrypted.posts


def test_tls_where_there_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain, ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(post, f"https://127.0.0.1:{plain.getsockname()[1]}/")
        with plain.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert (outcome.result().result, outcome.result().reason) == (Result.FAILED, Reason.TLS)


def test_a_handshake_that_does_not_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outcome = post(f"https://127.0.0.1:{silent.getsockname()[1]}/", timeout=SHORT)
    assert (outcome.result, outcome.reason) == (Result.FAILED, Reason.TIMEOUT)


def test_a_ca_file_that_is_none(receiver: WebReceiver, tmp_path: Path) -> None:
    url = receiver.url.replace("http:", "https:")
    outcome = post(url, ca_file=str(tmp_path / "none"))
    assert (outcome.reason, outcome.detail) == (Reason.TLS, f"{tmp_path}/none: No such file or directory")


def test_abort_cuts_off_what_is_under_way() -> None:
    with WebReceiver(script=drip(b"")) as receiver, ThreadPoolExecutor(1) as pool:
        one = poster(receiver)
        outcome = pool.submit(one.post, b"{}")
        eventually(lambda: receiver.posts)
        one.abort()
        assert outcome.result(10).reason is Reason.STOPPED
        assert one.post(b"{}").reason is Reason.STOPPED
        assert len(receiver.posts) == 1


def test_no_socket_and_no_thread_is_left(receiver: WebReceiver) -> None:
    post(receiver)
    descriptors, threads = len([*Path("/proc/self/fd").iterdir()]), {*threading.enumerate()}
    for _ in range(5):
        post(receiver, timeout=1000)
    eventually(lambda: {*threading.enumerate()} <= threads)
    assert len([*Path("/proc/self/fd").iterdir()]) <= descriptors
