from pathlib import Path

import pytest

from sockwatch.clock import SystemClock
from sockwatch.errors import ConfigError
from sockwatch.export.sinks.dispatcher import Dispatcher
from sockwatch.export.sinks.mistakes import mistakes
from sockwatch.model.settings import AlertmanagerSink, ExecSink, Sink, WebhookSink


def test_what_is_right() -> None:
    sinks: dict[str, Sink] = {
        "script": ExecSink(command=("/bin/sh", "-c", "exit 1")),
        "chat": WebhookSink(url="https://hooks.example.com/tcp"),
        "pager": WebhookSink(url_file="/run/credentials/sockwatch.service/pager.url"),
        "am": AlertmanagerSink(urls=("http://[::1]:9093/prefix",), labels={"rack": "7"}),
    }
    assert not [*mistakes(sinks)]


def test_every_mistake_is_told_at_once_and_no_secret(tmp_path: Path) -> None:
    program = tmp_path / "hook"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o777)
    sinks: dict[str, Sink] = {
        "script": ExecSink(command=(str(program),)),
        "chat": WebhookSink(url="gopher://hush@a/"),
        "both": WebhookSink(url="http://a/", url_file="/a"),
        "none": WebhookSink(),
        "am": AlertmanagerSink(urls=("http://a", "http://hush:x:y"), labels={"severity": "a", "host": "b", "c": "d"}),
    }
    told = [
        f"sinks.script.command: {program}: others may write to it (mode 0777)",
        "sinks.chat.url: not a URL for http or https",
        "sinks.both.url: one of url and url_file must be set",
        "sinks.none.url: one of url and url_file must be set",
        "sinks.am.urls: not a URL",
        "sinks.am.labels.host: sockwatch sets this label itself",
        "sinks.am.labels.severity: sockwatch sets this label itself",
    ]
    assert [*mistakes(sinks)] == told
    with pytest.raises(ConfigError) as refused:
        Dispatcher(sinks, None, SystemClock())
    assert refused.value.mistakes == tuple(told)


def test_a_reload_with_a_mistake_changes_nothing(tmp_path: Path) -> None:
    dispatcher = Dispatcher({"chat": WebhookSink(url="http://127.0.0.1:1/")}, tmp_path, SystemClock())
    with pytest.raises(ConfigError):
        dispatcher.configure({"chat": ExecSink(command=(str(tmp_path / "none"),))})
    assert dispatcher.test("chat").line == "sink chat: not delivered: firing: http://127.0.0.1:1: Connection refused"
