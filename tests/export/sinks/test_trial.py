from pathlib import Path

import pytest

from sinks import WebReceiver
from sockwatch.clock import SystemClock
from sockwatch.export.sinks.dispatcher import Dispatcher
from sockwatch.export.sinks.trial import Trial, Verdict
from sockwatch.model.settings import AlertmanagerSink, ExecSink, Sink, WebhookSink


def trial(sink: Sink) -> Trial:
    return Dispatcher({"one": sink}, None, SystemClock(), host="web1", grace=0.1).test("one")


def shell(script: str, **settings: float) -> ExecSink:
    return ExecSink(command=("/bin/sh", "-c", script), timeout=settings.get("timeout", 20.0))


def test_a_hook_hears_of_the_coming_and_the_going(tmp_path: Path) -> None:
    told = trial(shell(f'echo "$SOCKWATCH_STATUS $SOCKWATCH_CODE $SOCKWATCH_SUMMARY" >> {tmp_path}/told'))
    assert told == Trial(
        verdict=Verdict.DELIVERED,
        line="sink one: delivered: firing: exit status 0; resolved: exit status 0",
    )
    says = "test This is a test alert from sockwatch on web1; nothing is wrong."
    assert (tmp_path / "told").read_text() == f"firing {says}\nresolved {says}\n"


def test_a_webhook_hears_of_both_and_one_that_does_not_want_to_of_the_first(receiver: WebReceiver) -> None:
    assert trial(WebhookSink(url=receiver.url)).verdict == 0
    assert trial(WebhookSink(url=receiver.url, send_resolved=False)).verdict == 0
    assert [post.body["status"] for post in receiver.posts] == ["firing", "resolved", "firing"]
    assert receiver.posts[0].body["alerts"][0]["labels"]["alertname"] == "test"


def test_every_alertmanager_hears_of_the_coming(receiver: WebReceiver) -> None:
    url = f"http://127.0.0.1:{receiver.port}"
    assert trial(AlertmanagerSink(urls=(url, f"{url}/two"))).verdict == 0
    assert [post.path for post in receiver.posts] == ["/api/v2/alerts", "/two/api/v2/alerts"]
    assert receiver.posts[0].body[0]["endsAt"] > receiver.posts[0].body[0]["startsAt"]
    assert trial(AlertmanagerSink(urls=(url, "http://127.0.0.1:1"))).verdict == 3


@pytest.mark.parametrize(
    ("answer", "verdict"), [(b"404 Not Found", 1), (b"302 Found", 1), (b"500 Oops", 1), (b"429 Slow Down", 1)]
)
def test_a_webhook_that_says_no(receiver: WebReceiver, answer: bytes, verdict: int) -> None:
    receiver.answers.append(answer)
    told = trial(WebhookSink(url=receiver.url))
    assert told.verdict == verdict
    assert told.line.startswith(f"sink one: refused: firing: http://127.0.0.1:{receiver.port}: {answer[:3].decode()}")
    assert len(receiver.posts) == 1, "it is tried once"


@pytest.mark.parametrize(
    ("script", "verdict", "line"),
    [
        ("exit 3", 1, "sink one: refused: firing: exit status 3"),
        ("[ $SOCKWATCH_STATUS = firing ]", 1, "sink one: refused: resolved: exit status 1"),
        ("sleep 1000", 3, "sink one: not delivered: firing: ended after 0.2 s"),
        ("kill -KILL $$", 3, "sink one: not delivered: firing: killed by SIGKILL"),
    ],
)
def test_a_hook_that_fails(script: str, verdict: int, line: str) -> None:
    told = trial(shell(script, timeout=0.2))
    assert (told.verdict, told.line) == (verdict, line)


def test_nobody_there(receiver: WebReceiver) -> None:
    receiver.close()
    assert trial(WebhookSink(url=receiver.url)).verdict == 3
