from pathlib import Path

import pytest

from sockwatch.clock import SystemClock
from sockwatch.errors import ConfigError
from sockwatch.export.sinks.dispatcher import Dispatcher
from sockwatch.export.sinks.mistakes import mistakes, remarks
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
        "sinks.both.url: only one of url and url_file may be set",
        "sinks.none.url: one of url and url_file must be set",
        "sinks.am.urls: not a URL",
        "sinks.am.labels.host: sockwatch sets this label itself",
        "sinks.am.labels.severity: sockwatch sets this label itself",
    ]
    assert [*mistakes(sinks)] == told
    with pytest.raises(ConfigError) as refused:
        Dispatcher(sinks, None, SystemClock())
    assert refused.value.mistakes == tuple(told)


@pytest.mark.parametrize("path", ["/api/v2/alerts", "/prefix/api/v2/alerts/", "/api/v1/alerts", "/api/v2"])
def test_the_address_to_post_to_is_no_base_url(path: str) -> None:
    """The commonest mistake: sockwatch adds the same once more, and nothing ever arrives."""
    right, wrong = (AlertmanagerSink(urls=("http://a:9093", f"http://a:9093{end}")) for end in ("/prefix/", path))
    told = "sinks.am.urls: must be base URLs, as http://127.0.0.1:9093: /api/v2/alerts is added to them"
    assert not [*mistakes({"am": right})]
    assert [*mistakes({"am": wrong})] == [told]


def test_certificates_that_cannot_be_read_and_secrets_that_may_still_come(tmp_path: Path) -> None:
    none, empty = str(tmp_path / "none"), tmp_path / "empty"
    empty.write_text("-----BEGIN\n")
    sinks: dict[str, Sink] = {
        "chat": WebhookSink(url_file=none, ca_file=none, bearer_token_file=str(empty)),
        "am": AlertmanagerSink(urls=("http://a",), ca_file=str(empty), bearer_token_file=none),
        "systemd": WebhookSink(url_file="/run/credentials/sockwatch.service/pager.url"),
    }
    assert [*mistakes(sinks)] == [
        f"sinks.chat.ca_file: {none}: No such file or directory",
        f"sinks.am.ca_file: {empty}: no certificate in it",
    ]
    missing = "No such file or directory: nothing is delivered as long as it cannot be read"
    assert [remark.text for remark in remarks(sinks) if remark.warning] == [
        f"sinks.chat.url_file: {none}: {missing}",
        f"sinks.am.bearer_token_file: {none}: {missing}",
    ]


def test_a_reload_with_a_mistake_changes_nothing(tmp_path: Path) -> None:
    dispatcher = Dispatcher({"chat": WebhookSink(url="http://127.0.0.1:1/")}, tmp_path, SystemClock())
    with pytest.raises(ConfigError):
        dispatcher.configure({"chat": ExecSink(command=(str(tmp_path / "none"),))})
    assert dispatcher.test("chat").line == "sink chat: not delivered: firing: http://127.0.0.1:1: Connection refused"
