"""Basic authentication: who gets in, and what those cost who do not."""

import asyncio
import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from export.web.serving import HandClock, Served, closing, until, write_whole
from sockwatch.export.web import passwords
from sockwatch.export.web.passwords import Passwords, Verdict, credentials, is_hash


def hashed(password: bytes) -> str:
    """Always the same: the names of tests have it."""
    return bcrypt.hashpw(password, b"$2b$04$" + b"." * 22).decode()


ALICE, BOB = hashed(b"wonderland"), hashed(b"builder")


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Slow:
    """bcrypt that waits to be let on, and counts."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.started = 0

    def checkpw(self, password: bytes, against: bytes) -> bool:
        self.started += 1
        assert self.go.wait(20)
        return bcrypt.checkpw(password, against)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    made = Slow()
    monkeypatch.setattr(passwords, "bcrypt", made)
    yield made
    made.go.set()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users:\n  alice: {ALICE}\n  bob: {BOB}\n")
    return path


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/report", "/-/healthy", "/-/ready", "/nowhere"])
def test_nothing_is_told_to_strangers(path: str, config: Path) -> None:
    with Served(config_file=str(config)) as served:
        for headers in ({}, basic("alice", "wrong"), basic("eve", "wonderland"), {"Authorization": "Bearer x"}):
            answer = served.get(path, headers)
            assert (answer.status, answer.body) == (401, b"Unauthorized.\n")
            assert answer.headers["www-authenticate"] == 'Basic realm="sockwatch"'
        assert served.get(path, basic("alice", "wonderland")).status in {200, 404}


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic ",
        "Basic !",
        "Basic YQ",
        "Basic YWxpY2U=",
        "basic\x00",
        "Digest x",
        "Basic " + "QQ==" * 500,
        "Basic \xff",
    ],
)
def test_odd_headers_are_strangers(header: str, config: Path) -> None:
    with Served(config_file=str(config)) as served:
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: "
        answer = served.say(request + header.encode("latin-1") + b"\r\n\r\n")
        assert answer.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 400 "))


def test_credentials() -> None:
    assert credentials(basic("a", "b:c")["Authorization"]) == ("a", b"b:c")
    assert credentials("bAsIc YTo=") == ("a", b"")
    assert credentials("Basic YQ==") is None


@pytest.mark.parametrize("password", ["fakepassword", "wonderland", "builder", ""])
def test_an_unknown_user_has_no_password(password: str, config: Path) -> None:
    """The exporter-toolkit compares with the hash of "fakepassword" then; the answer must not count."""
    with Served(config_file=str(config)) as served:
        assert [served.get("/", basic("eve", password)).status for _ in range(2)] == [401, 401]


def test_what_is_remembered_cannot_be_mixed_up(config: Path) -> None:
    """CVE-2022-46146: the pieces of the key of what is remembered were joined without their lengths."""
    with Served(config_file=str(config)) as served:
        assert served.get("/", basic("alice", "wonderland")).status == 200
        for user, password in (
            ("alic", "ewonderland"),
            ("alicew", "onderland"),
            ("", "alice:wonderland"),
            ("bob", "wonderland"),
        ):
            assert served.get("/", basic(user, password)).status == 401


def test_a_right_password_is_compared_once(slow: Slow, config: Path) -> None:
    slow.go.set()
    with Served(config_file=str(config)) as served:
        assert [served.get("/", basic("alice", "wonderland")).status for _ in range(23)] == [200] * 23
        assert slow.started == 1
        assert [served.get("/", basic("alice", "wrong")).status for _ in range(23)] == [401] * 23
        assert slow.started == 2


def test_an_unknown_user_costs_as_much_as_a_known_one(slow: Slow, config: Path) -> None:
    slow.go.set()
    with Served(config_file=str(config)) as served:
        for user in ("alice", "eve"):
            assert served.get("/", basic(user, "wrong")).status == 401
    assert slow.started == 2


@pytest.mark.parametrize("length", [72, 73, 1000])
def test_bcrypt_looks_at_72_bytes(length: int) -> None:
    known = Passwords({"a": hashed(b"x" * 72)}, clock=HandClock())
    assert asyncio.run(known.judge("a", b"x" * length, "")) is Verdict.RIGHT
    assert asyncio.run(known.judge("a", b"x" * 71, "")) is Verdict.WRONG


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (ALICE, True),
        ("$2y" + ALICE[3:], True),
        ("$2a" + ALICE[3:], True),
        ("$2y$18$4VeFDzXIoPHKnKTU3O3GH.N.vZu06CVqczYZ8WvfzrddFU6tGqjR.", True),
        ("doe", False),
        ("", False),
        (ALICE[:-1], False),
        (ALICE + "x", False),
        (ALICE + "\n", False),
        ("$2b$03" + ALICE[6:], False),
        ("$2b$32" + ALICE[6:], False),
        ("$1$" + ALICE[3:], False),
        (ALICE[:28] + "/" + ALICE[29:], False),
        (ALICE[:-1] + "\u00e9", False),
    ],
)
def test_what_is_a_hash(text: str, good: bool) -> None:  # noqa: FBT001 - a parameter of the table
    assert is_hash(text) is good


def test_each_hash_is_one_that_bcrypt_takes() -> None:
    for last in "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789":
        text = ALICE[:28] + last + ALICE[29:]
        if is_hash(text):
            bcrypt.checkpw(b"", text.encode())
        else:
            with pytest.raises(ValueError, match="Invalid salt"):
                bcrypt.checkpw(b"", text.encode())


def test_wrong_passwords_wait_in_a_short_queue_and_known_ones_do_not(slow: Slow, config: Path) -> None:
    with Served(config_file=str(config)) as served:
        slow.go.set()
        assert served.get("/metrics", basic("alice", "wonderland")).status == 200
        slow.go.clear()
        flood = [served.connect() for _ in range(23)]
        with closing(flood):
            for number, client in enumerate(flood):
                header = basic("alice", str(number))["Authorization"]
                client.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {header}\r\n\r\n".encode())
            until(lambda: served.counts("sockwatch_http_requests")["429"] == 23 - 4)
            until(lambda: slow.started == 2)
            assert served.get("/metrics", basic("alice", "wonderland")).status == 200
            assert served.get("/metrics", basic("alice", "new")).headers["retry-after"] == "1"
            slow.go.set()
            until(lambda: served.counts("sockwatch_http_requests")["401"] == 4)


@pytest.mark.usefixtures("slow")
def test_one_client_does_not_take_all_places() -> None:
    async def main() -> list[Verdict]:
        known = Passwords({"alice": ALICE}, clock=HandClock())
        flood = [asyncio.create_task(known.judge("alice", str(i).encode(), "192.0.2.1")) for i in range(23)]
        other = asyncio.create_task(known.judge("alice", b"wonderland", "192.0.2.2"))
        await asyncio.sleep(0)
        verdicts = [task.result() for task in flood if task.done()]
        assert not other.done()
        for task in (*flood, other):
            task.cancel()
        return verdicts

    assert asyncio.run(main()) == [Verdict.BUSY] * 19


def test_the_same_asked_twice_at_once_is_compared_once(slow: Slow) -> None:
    async def main() -> list[Verdict]:
        known = Passwords({"alice": ALICE}, clock=HandClock())
        asking = [asyncio.create_task(known.judge("alice", b"wonderland", "192.0.2.1")) for _ in range(23)]
        await asyncio.to_thread(until, lambda: slow.started == 1)
        asking[0].cancel()  # the one that began it leaves; the others still want to know
        slow.go.set()
        return await asyncio.gather(*asking[1:])

    assert asyncio.run(main()) == [Verdict.RIGHT] * 22
    assert slow.started == 1


def test_after_a_wrong_password_bcrypt_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as long as it took: a flood gets a fifth of a core. A right password makes nobody wait."""
    clock, slept = HandClock(), list[float]()

    class Timed:
        @staticmethod
        def checkpw(password: bytes, against: bytes) -> bool:
            clock.ahead += 10
            return bcrypt.checkpw(password, against)

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds))
        clock.ahead += seconds

    async def main() -> None:
        known = Passwords({"alice": ALICE, "bob": BOB}, clock=clock)
        for user, password in (("alice", b"wonderland"), ("bob", b"wrong"), ("alice", b"wrong"), ("bob", b"builder")):
            await known.judge(user, password, "")

    monkeypatch.setattr(passwords, "bcrypt", Timed)
    monkeypatch.setattr("sockwatch.export.web.passwords.asyncio.sleep", sleep)
    asyncio.run(main())
    assert slept == [0, 0, 40, 40]


def test_users_that_are_taken_away_get_nothing_more(config: Path) -> None:
    with Served(config_file=str(config)) as served:
        assert served.get("/", basic("alice", "wonderland")).status == 200
        write_whole(config, f"basic_auth_users:\n  bob: {BOB}\n")
        assert served.get("/", basic("alice", "wonderland")).status == 401
        assert served.get("/", basic("bob", "builder")).status == 200


@pytest.mark.parametrize(
    "text", ["", "http_server_config:\n", "basic_auth_users:\n", "basic_auth_users:\n  bob: x\n", "- x"]
)
def test_a_half_written_file_opens_no_door(text: str, config: Path) -> None:
    before = config.read_text()
    with Served(config_file=str(config)) as served:
        assert served.counts("sockwatch_web_config_last_reload_successful")[""] == 1
        config.write_text(text)
        assert served.get("/").status == 401
        assert served.get("/", basic("alice", "wonderland")).status == 200
        assert served.counts("sockwatch_web_config_last_reload_successful")[""] == 0
        (line,) = served.forget_errors()
        assert line.startswith(f"the web config file stays as it was: {config}")
        config.write_text(before)
        assert served.get("/", basic("bob", "builder")).status == 200
        assert served.counts("sockwatch_web_config_last_reload_successful")[""] == 1


def test_passwords_without_tls_are_warned_of(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Served(config_file=str(config)):
        pass
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{config}: without tls_server_config, passwords cross the network readable"
    ]


def test_headers_and_rate_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text(
        "rate_limit: {interval: 10s, burst: 2}\nhttp_server_config: {headers: {X-Frame-Options: deny, "
        "Content-Security-Policy: default-src 'self', X-Content-Type-Options: nosniff}}\n"
    )
    with Served(config_file=str(path)) as served:
        answers = [served.get("/-/healthy") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        for answer in answers:
            assert answer.headers["x-frame-options"] == "deny"
            assert answer.headers["content-security-policy"] == "default-src 'self'"
            assert answer.headers["x-content-type-options"] == "nosniff"
        served.clock.ahead += 10
        assert [served.get("/-/healthy").status for _ in range(2)] == [200, 429]
        write_whole(path, "http_server_config:\n  http2: true\n")
        assert [served.get("/-/healthy").status for _ in range(5)] == [200] * 5
