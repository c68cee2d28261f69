from dataclasses import replace
from pathlib import Path

from sinks import FakeClock, WebReceiver, alert, over
from sockwatch.export.sinks.labels import fingerprint
from sockwatch.export.sinks.notice import notice_of
from sockwatch.export.sinks.outcome import Reason, Result
from sockwatch.export.sinks.webhook import Webhook, message
from sockwatch.model.alert import AlertIdentity
from sockwatch.model.settings import WebhookSink

COMMON = {
    "alertname": "close_wait_leak",
    "code": "close_wait_leak",
    "host": "web1",
    "netns": "host",
    "process": "app",
    "remote": "10.0.0.9:*",
    "severity": "warning",
    "unit": "app.service",
    "variant": "not_closed",
}


def test_the_message_is_alertmanagers() -> None:
    told = message("chat", [notice_of(alert(0)), notice_of(alert(1))], "web1")
    alerts = told.pop("alerts")
    assert told == {
        "version": "4",
        "groupKey": '{}:{alertname="close_wait_leak"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "chat",
        "groupLabels": {"alertname": "close_wait_leak"},
        "commonLabels": COMMON,
        "commonAnnotations": alerts[0]["annotations"],
        "externalURL": "",
    }
    labels = COMMON | {"local": "10.0.0.1:8081"}
    assert alerts[1] == {
        "status": "firing",
        "labels": labels,
        "annotations": {
            "summary": "app[812] read the end of 23 connections and never closed them",
            "description": "The application has read up to the end of the stream (Recv-Q 0) and keeps the descriptors.",
            "remedy": "\n".join(alert().remedies),
            "runbook": "sockwatch explain close_wait_leak",
        },
        "startsAt": "2023-11-14T22:13:50.000Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": fingerprint(labels),
    }


def test_what_is_over_says_since_when() -> None:
    told = message("chat", [notice_of(over())], "web1")
    assert (told["status"], told["alerts"][0]["status"]) == ("resolved", "resolved")
    assert told["alerts"][0]["startsAt"] == "2023-11-14T22:13:50.000Z"
    assert told["alerts"][0]["endsAt"] == "2023-11-14T22:23:50.000Z"


def test_only_what_all_have_is_common() -> None:
    other = replace(alert(1), summary="another", identity=AlertIdentity(code="close_wait_leak", netns="host"))
    told = message("chat", [notice_of(alert(0)), notice_of(other)], "web1")
    names = {"alertname", "code", "host", "netns", "severity"}
    assert told["commonLabels"] == {name: COMMON[name] for name in names}
    assert told["commonAnnotations"].keys() == {"description", "remedy", "runbook"}


def test_it_is_posted(receiver: WebReceiver, clock: FakeClock) -> None:
    webhook = Webhook("chat", WebhookSink(url=receiver.url, headers={"X-Key": "hush"}), host="web1", clock=clock)
    assert webhook.deliver([notice_of(alert())]).result is Result.DELIVERED
    assert receiver.posts[0].body == message("chat", [notice_of(alert())], "web1")
    assert receiver.posts[0].headers["X-Key"] == "hush"


def test_the_url_is_read_from_its_file_before_each_request_and_never_told(
    receiver: WebReceiver, clock: FakeClock, tmp_path: Path
) -> None:
    file = tmp_path / "chat.url"
    webhook = Webhook("chat", WebhookSink(url_file=str(file)), host="web1", clock=clock)
    told = [notice_of(alert())]
    assert webhook.deliver(told).detail == f"{file}: No such file or directory"
    for text in ("hush", "http://hush\nhush", "http://hush:x:y/", "http://a..hush/", "\xff", ""):
        file.write_text(text)
        outcome = webhook.deliver(told)
        assert (outcome.result, outcome.reason) == (Result.FAILED, Reason.TOKEN), text
        assert outcome.detail.startswith(f"{file}: no")
        assert "hush" not in outcome.detail
    for path in ("/one", "/two"):
        file.write_text(f"{receiver.url.removesuffix('/')}{path}\n")
        assert webhook.deliver(told).result is Result.DELIVERED
    assert [post.path[-4:] for post in receiver.posts] == ["/one", "/two"]


def test_one_that_was_aborted_before_it_knew_its_url_sends_nothing(
    receiver: WebReceiver, clock: FakeClock, tmp_path: Path
) -> None:
    file = tmp_path / "chat.url"
    file.write_text(receiver.url)
    webhook = Webhook("chat", WebhookSink(url_file=str(file)), host="web1", clock=clock)
    webhook.abort()
    assert webhook.deliver([notice_of(alert())]).reason is Reason.STOPPED
    assert receiver.posts == []
