"""The examples, as docs/sinks.md says to use them: its tables of the config, with this machine's addresses in them."""

import email
import email.policy
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builders import process
from contract.repository import ROOT
from reports import leak, row
from sinks import WebReceiver, alert, eventually, over
from sockwatch.clock import SystemClock
from sockwatch.config import load
from sockwatch.diagnose.registry import load_detectors
from sockwatch.export.sinks.dispatcher import Dispatcher
from sockwatch.model.alert import Alert, AlertIdentity
from sockwatch.model.finding import Finding, Subject
from sockwatch.model.settings import AlertmanagerSink, ExecSink, Sink, WebhookSink

LONGEST_LINE = 998
"""Bytes, of RFC 5322, 2.1.1."""
INSTALLED = "/usr/local/lib/sockwatch"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of examples, installed, and the files that they need beside it."""
    return Path(shutil.copytree(ROOT / "examples", tmp_path / "sockwatch"))


def configured(folder: Path) -> dict[str, Sink]:
    """The sinks of docs/sinks.md."""
    tables = re.findall(
        r"^    (\[sinks\..*?)(?=\n\n|\n\Z)", (ROOT / "docs" / "sinks.md").read_text(), re.MULTILINE | re.DOTALL
    )
    text = "\n".join(tables).replace(INSTALLED, str(folder)).replace("/etc/sockwatch", str(folder.parent))
    path = folder.parent / "config.toml"
    path.write_text(text)
    return load(path, {code: each.settings for code, each in load_detectors().items()}).daemon.sinks


def tell(sink: Sink, *alerts: Alert) -> None:
    """Have the sink told, one alert after the other."""
    dispatcher = Dispatcher({"one": sink}, None, SystemClock(), host="web1")
    dispatcher.start()
    try:
        for one in alerts:
            dispatcher.take([one], [one])
            eventually(lambda: not pending(dispatcher))
    finally:
        assert dispatcher.stop(20)


def pending(dispatcher: Dispatcher) -> float:
    (family,) = (family for family in dispatcher.metrics() if family.name == "sockwatch_outbox_pending")
    return family.samples[0].value


def test_every_example_is_documented(folder: Path) -> None:
    sinks = configured(folder)
    assert {type(sink) for sink in sinks.values()} == {ExecSink, WebhookSink, AlertmanagerSink}
    used = {Path(sink.command[0]).name for sink in sinks.values() if isinstance(sink, ExecSink)}
    assert used == {path.name for path in folder.iterdir()}


class MailServer(threading.Thread):
    """Takes one mail over SMTP."""

    def __init__(self) -> None:
        super().__init__()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.recipient, self.mail = "", b""
        self.start()

    def run(self) -> None:
        connection, _ = self.listener.accept()
        with connection, connection.makefile("rwb", buffering=0) as lines:
            lines.write(b"220 web1\r\n")
            for line in lines:
                verb = line[:4].upper().strip()
                if verb == b"DATA":
                    lines.write(b"354 go on\r\n")
                    self.mail = b"".join(iter(lines.readline, b".\r\n"))
                if verb == b"RCPT":
                    self.recipient = line.decode().strip()
                lines.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
                if verb == b"QUIT":
                    return


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    with socket.create_connection(("127.0.0.1", server.port)):  # if nobody came
        server.listener.close()
    server.join(20)


@pytest.mark.needs_program("msmtp")
def test_mail(folder: Path, mail_server: MailServer) -> None:
    sink = configured(folder)["mail"]
    assert isinstance(sink, ExecSink)
    here = ("--host=127.0.0.1", f"--port={mail_server.port}", "--from=sockwatch@web1", "--tls=off", "--auth=off")
    worst = leak(remedies=("ü" * 2000,), sockets=tuple(row() for _ in range(10)))
    tell(
        ExecSink(command=(*sink.command, *here)),
        alert(finding=worst, cause="ü" * 2000, summary="ünï: $(id) `id`\nBcc: everybody@example.com"),
    )
    mail = email.message_from_bytes(mail_server.mail, policy=email.policy.default)
    assert mail_server.recipient == "RCPT TO:<ops@example.com>"
    assert mail["To"] == "ops@example.com"
    assert mail["Subject"] == "[firing] warning: close_wait_leak on web1"
    assert mail["Bcc"] is None
    text = mail.get_content()
    assert r"ünï: $(id) `id`\nBcc: everybody@example.com" in text
    assert "sockwatch explain close_wait_leak" in text
    assert '"code": "close_wait_leak"' in text
    assert max(len(line) for line in mail_server.mail.split(b"\r\n")) <= LONGEST_LINE


@pytest.mark.needs_program("msmtp")
def test_mail_of_what_is_over_says_when_it_ended_and_how_long_it_lasted(folder: Path, mail_server: MailServer) -> None:
    sink = configured(folder)["mail"]
    assert isinstance(sink, ExecSink)
    here = ("--host=127.0.0.1", f"--port={mail_server.port}", "--from=sockwatch@web1", "--tls=off", "--auth=off")
    tell(ExecSink(command=(*sink.command, *here)), over())
    text = email.message_from_bytes(mail_server.mail, policy=email.policy.default).get_content()
    assert text.startswith("over after 10 min: app[812] read the end of")
    assert "\nuntil     2023-11-14T22:23:50.000Z\n" in text


def test_chat(folder: Path, receiver: WebReceiver) -> None:
    (folder.parent / "chat.url").write_text(f"{receiver.url}\n")
    tell(configured(folder)["chat"], alert(summary="<!channel> & so on"), over())
    first, second = [post.body["text"] for post in receiver.posts]
    assert receiver.posts[0].path == "/secret/path?token=hush"
    assert first.startswith(":warning: *close_wait_leak* firing on web1\n&lt;!channel&gt; &amp; so on\n")
    assert "\n- Until then restart the process" in first
    assert second.startswith(":white_check_mark: *close_wait_leak* resolved on web1\n")


def test_chat_that_fails_is_tried_again_and_tells_no_secret(
    folder: Path, receiver: WebReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (folder.parent / "chat.url").write_text(f"{receiver.url}\n")
    receiver.answers += [b"500 Oops", b"302 Found\r\nLocation: http://127.0.0.1:1/hush"]
    chat = Dispatcher(configured(folder), None, SystemClock(), host="web1")
    assert [chat.test("chat").verdict for _ in range(3)] == [1, 1, 0]
    assert "not posted: HTTP Error 500" in caplog.text
    assert "hush" not in caplog.text


def leak_of(**fields: str) -> Finding:
    """A leak of a process that says that it is of this unit."""
    return leak(subject=replace(leak().subject, process=process(812, unit="app.service", **fields)))


IN_A_CONTAINER = AlertIdentity(code="close_wait_leak", process="app", unit="app.service", container="0123456789ab")


@pytest.mark.parametrize(
    "url", ["chat.example.com/hush", "https:///hush", "http://127.0.0.1:hush/", "http://[hush/", ""]
)
def test_chat_without_a_url_tells_no_secret(folder: Path, caplog: pytest.LogCaptureFixture, url: str) -> None:
    caplog.set_level("INFO")
    (folder.parent / "chat.url").write_text(f"{url}\n")
    chat = Dispatcher(configured(folder), None, SystemClock(), host="web1")
    assert chat.test("chat").verdict == 1
    assert "not posted: " in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize(
    ("one", "restarted"),
    [
        (alert(), ["restart --no-ask-password app.service"]),
        (over(), []),
        (alert(identity=AlertIdentity(code="close_wait_leak", unit="ssh.service")), []),
        (alert(identity=AlertIdentity(code="dead_peer", unit="app.service")), []),
        (alert(identity=AlertIdentity(code="close_wait_leak")), []),
        (alert(finding=leak_of(unit_manager="user@1000.service")), []),
        (alert(finding=leak_of(container="0123456789ab"), identity=IN_A_CONTAINER), []),
        (alert(finding=leak(subject=Subject(netns="host"))), []),
        (replace(alert(), finding=None), []),
    ],
    ids=[
        "leak",
        "over",
        "another unit",
        "another finding",
        "no unit",
        "a user's unit",
        "a container's unit",
        "no process",
        "no finding",
    ],
)
def test_restart_unit(folder: Path, one: Alert, restarted: list[str]) -> None:
    """With a systemctl of our own: what it asks of the real one."""
    systemctl = folder.parent / "bin" / "systemctl"
    systemctl.parent.mkdir(mode=0o755)
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {folder.parent}/asked\n')
    systemctl.chmod(0o755)
    sink = configured(folder)["restart"]
    assert isinstance(sink, ExecSink)
    search = {"PATH": f"{systemctl.parent}:/usr/bin:/bin"}
    tell(ExecSink(command=sink.command, send_resolved=sink.send_resolved, environment=search), one)
    asked = folder.parent / "asked"
    assert (asked.read_text().splitlines() if asked.exists() else []) == restarted
