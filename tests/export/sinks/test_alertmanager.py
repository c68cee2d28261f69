import re
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from alertmanager import RealAlertmanager
from sinks import FIRED, FakeClock, WebReceiver, alert, eventually, over
from sockwatch.clock import SystemClock
from sockwatch.export.sinks import alertmanager as module
from sockwatch.export.sinks.alertmanager import Alertmanager
from sockwatch.export.sinks.labels import OWN_LABELS, fingerprint, labels
from sockwatch.export.sinks.notice import notice_of
from sockwatch.export.sinks.outcome import Result
from sockwatch.export.sinks.tally import Tally
from sockwatch.export.sinks.webhook import message
from sockwatch.model.alert import Alert
from sockwatch.model.finding import Severity
from sockwatch.model.settings import AlertmanagerSink


class SkippingClock(SystemClock):
    """Durations pass when the test says so; what people read is right."""

    skipped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.skipped


def alertmanager(url: str, clock: FakeClock | SkippingClock, **fields: Any) -> Alertmanager:
    settings = AlertmanagerSink(urls=(url,), **fields)
    return Alertmanager("am", url, settings, host="web1", clock=clock, tally=Tally(clock))


def take(one: Alertmanager, *alerts: Alert) -> None:
    one.take([notice_of(each, whole=False) for each in alerts])


def run(one: Alertmanager) -> float | None:
    while (wait := one.turn()) == 0:
        pass
    return wait


@pytest.fixture
def one(receiver: WebReceiver, clock: FakeClock) -> Alertmanager:
    return alertmanager(f"http://127.0.0.1:{receiver.port}", clock)


def seconds(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()


def test_what_is_posted(receiver: WebReceiver, one: Alertmanager, clock: FakeClock) -> None:
    take(one, alert())
    assert run(one) == 60
    (post,) = receiver.posts
    assert post.path == "/api/v2/alerts"
    (told,) = post.body
    assert told["labels"] == labels(notice_of(alert()), "web1")
    assert told["labels"].keys() <= OWN_LABELS
    assert "container" not in told["labels"], "it has none"
    assert told["annotations"]["runbook"] == "sockwatch explain close_wait_leak"
    assert seconds(told["startsAt"]) == FIRED
    assert seconds(told["endsAt"]) == clock.unixtime() + 240
    assert one.pending == 0


def test_what_fires_is_posted_again_and_again_as_it_is_now(
    receiver: WebReceiver, one: Alertmanager, clock: FakeClock
) -> None:
    for _ in range(13):
        take(one, alert(summary=f"at {clock.now}"))
        run(one)
        clock.now += 10
    assert len(receiver.posts) == 3
    bodies = [post.body[0] for post in receiver.posts]
    assert {body["startsAt"] for body in bodies} == {bodies[0]["startsAt"]}
    assert [body["annotations"]["summary"] for body in bodies] == ["at 100000.0", "at 100060.0", "at 100120.0"]
    assert seconds(bodies[2]["endsAt"]) - seconds(bodies[0]["endsAt"]) == 120


def test_it_is_posted_often_enough_however_long_the_setting(receiver: WebReceiver, clock: FakeClock) -> None:
    one = alertmanager(f"http://127.0.0.1:{receiver.port}", clock, resend=3600)
    take(one, alert())
    assert run(one) == 60


def test_news_are_posted_at_once(receiver: WebReceiver, one: Alertmanager, clock: FakeClock) -> None:
    take(one, alert(0))
    run(one)
    clock.now += 10
    take(one, alert(0), alert(1))
    run(one)
    assert [len(post.body) for post in receiver.posts] == [1, 2]


def test_an_end_is_posted_for_a_quarter_of_an_hour(receiver: WebReceiver, one: Alertmanager, clock: FakeClock) -> None:
    take(one, alert())
    run(one)
    take(one, over())
    while run(one) is not None:
        clock.now += 10
        take(one)
    ends = [seconds(post.body[0]["endsAt"]) for post in receiver.posts[1:]]
    assert {*ends} == {FIRED + 600}
    assert len(ends) == 16
    assert 900 <= clock.now - 100_000 <= 920


def test_an_end_waits_for_an_alertmanager_that_is_away(clock: FakeClock) -> None:
    with WebReceiver() as first:
        port = first.port
    one = alertmanager(f"http://127.0.0.1:{port}", clock)
    take(one, alert())
    run(one)
    take(one, over())
    tries = 0
    for _ in range(3600):
        while one.turn() == 0:
            tries += 1
        clock.now += 1
    assert tries < 120
    assert one.pending == 1
    with WebReceiver(port=port) as receiver:
        back = clock.now
        while not receiver.posts:
            clock.now += 1
            run(one)
        assert clock.now - back <= 61
        assert seconds(receiver.posts[0].body[0]["endsAt"]) == FIRED + 600
    assert one.pending == 0
    clock.now += 60
    assert run(one) is None


def test_another_severity_is_another_alert(receiver: WebReceiver, one: Alertmanager) -> None:
    take(one, alert())
    run(one)
    take(one, alert(severity=Severity.CRITICAL))
    run(one)
    now = seconds(receiver.posts[1].body[0]["endsAt"])
    ends = {a["labels"]["severity"]: seconds(a["endsAt"]) for a in receiver.posts[1].body}
    assert ends == {"warning": now, "critical": now + 240}


def test_what_nobody_knows_of_any_more_is_posted_no_more(
    receiver: WebReceiver, one: Alertmanager, clock: FakeClock
) -> None:
    take(one, alert(0), alert(1))
    run(one)
    clock.now += 60
    take(one, alert(1))
    run(one)
    assert [len(post.body) for post in receiver.posts] == [2, 1]


def test_what_is_silenced_after_it_was_posted_is_not_said_to_be_over(
    receiver: WebReceiver, one: Alertmanager, clock: FakeClock
) -> None:
    quiet = {notice_of(alert(number)).identity for number in (0, 1)}
    take(one, alert(0))
    run(one)
    clock.now += 60
    one.take([], quiet)
    run(one)
    (again,) = receiver.posts[1].body
    assert again["labels"]["local"] == "10.0.0.1:8080"
    assert seconds(again["endsAt"]) == clock.unixtime() + 240
    take(one, over(0))
    run(one)
    assert seconds(receiver.posts[2].body[0]["endsAt"]) == FIRED + 600


def test_further_labels_do_not_replace_ours(receiver: WebReceiver, clock: FakeClock) -> None:
    one = alertmanager(f"http://127.0.0.1:{receiver.port}", clock, labels={"rack": "7", "severity": "none"})
    take(one, alert())
    run(one)
    told = receiver.posts[0].body[0]["labels"]
    assert (told["rack"], told["severity"]) == ("7", "warning")


def test_what_is_refused_together_is_posted_one_by_one_and_the_culprit_never_again(
    receiver: WebReceiver, one: Alertmanager, clock: FakeClock
) -> None:
    receiver.answers += [b"400 Bad Request", b"200 OK", b"400 Bad Request", b"200 OK"]
    for _ in range(3):
        take(one, alert(0), alert(1), alert(2))
        run(one)
        clock.now += 60
    told = [[a["labels"]["local"][-4:] for a in post.body] for post in receiver.posts]
    assert told == [["8080", "8081", "8082"], ["8080"], ["8081"], ["8082"], ["8080", "8082"], ["8080", "8082"]]
    assert one.pending == 1
    take(one, alert(0), over(1), alert(2))
    run(one)
    assert len(receiver.posts[-1].body) == 3, "its end is another matter"


def test_a_refusal_is_counted_once(receiver: WebReceiver, clock: FakeClock) -> None:
    tally, settings = Tally(clock), AlertmanagerSink(urls=(f"http://127.0.0.1:{receiver.port}",))
    one = Alertmanager("am", settings.urls[0], settings, host="web1", clock=clock, tally=tally)
    receiver.answers += [b"400 Bad Request"]
    for _ in range(3):
        take(one, alert(0))
        run(one)
        clock.now += 60
    counted = {
        sample.labels["reason"]: sample.value
        for family in tally.metrics({"am": ()})
        if family.name == "sockwatch_notifications_dropped"
        for sample in family.samples
    }
    assert counted["refused"] == 1
    assert sum(counted.values()) == 1


def test_what_is_accepted_while_a_look_comes_is_accepted(clock: FakeClock) -> None:
    def meanwhile(connection: socket.socket) -> None:
        take(posting, alert(summary="24 now"))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with WebReceiver(script=meanwhile) as receiver:
        posting = alertmanager(f"http://127.0.0.1:{receiver.port}", clock)
        take(posting, alert())
        run(posting)
    assert posting.pending == 0


def test_what_is_over_while_it_is_posted_is_not_accepted(clock: FakeClock) -> None:
    def meanwhile(connection: socket.socket) -> None:
        take(posting, over())
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with WebReceiver(script=meanwhile) as receiver:
        posting = alertmanager(f"http://127.0.0.1:{receiver.port}", clock)
        take(posting, alert())
        posting.turn()
        assert posting.pending == 1


def test_a_wrong_token_is_not_the_alerts_fault(receiver: WebReceiver, one: Alertmanager, clock: FakeClock) -> None:
    receiver.answers += [b"401 Unauthorized"]
    take(one, alert(0), alert(1))
    assert run(one) == 60
    assert (len(receiver.posts), one.pending) == (1, 2)
    clock.now += 60
    run(one)
    assert (len(receiver.posts[1].body), one.pending) == (2, 0)


def test_many_alerts_are_several_posts(
    receiver: WebReceiver, one: Alertmanager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ALERTS", 600)
    take(one, *(alert(number) for number in range(700)))
    run(one)
    assert [len(post.body) for post in receiver.posts] == [256, 256, 88]


def test_nothing_is_posted_where_nothing_is(receiver: WebReceiver, one: Alertmanager) -> None:
    take(one)
    assert run(one) is None
    assert not receiver.posts


@pytest.fixture
def real(tmp_path: Path, receiver: WebReceiver) -> Iterator[RealAlertmanager]:
    with RealAlertmanager(tmp_path, receiver.url) as running:
        eventually(lambda: running.url)
        yield running


@pytest.mark.needs_program("prometheus-alertmanager")
def test_alertmanager_notifies_once_however_often_it_is_told(real: RealAlertmanager, receiver: WebReceiver) -> None:
    clock = SkippingClock()
    now = clock.unixtime()
    one = alertmanager(real.url or "", clock)

    def notified() -> list[tuple[str, str]]:
        return [(post.body["groupLabels"]["alertname"], post.body["status"]) for post in receiver.posts]

    for _ in range(20):
        take(one, alert(began=now - 30, fired=now))
        run(one)
        clock.skipped += 60
    eventually(receiver.posts.__len__)
    theirs = receiver.posts[0].body
    for _ in range(10):
        take(one, over(began=now - 30, fired=now, resolved=clock.unixtime()))
        run(one)
        clock.skipped += 60
    leak = "close_wait_leak"
    eventually(lambda: notified() == [(leak, "firing"), (leak, "resolved")])
    # What Alertmanager has to say of the same alerts it has said when it has told of the coming and going of another.
    other = alert(fired=now, identity=type(alert().identity)(code="dead_peer"))
    take(one, other)
    run(one)
    eventually(lambda: ("dead_peer", "firing") in notified())
    take(one, over(fired=now, resolved=clock.unixtime(), identity=other.identity))
    run(one)
    eventually(lambda: ("dead_peer", "resolved") in notified())
    assert sorted(notified()) == sorted(
        (code, state) for code in (leak, "dead_peer") for state in ("firing", "resolved")
    )

    ours = message("hook", [notice_of(alert(began=now - 30, fired=now))], "web1")
    assert ours.keys() == theirs.keys(), "our webhook has the fields of theirs"
    told, expected = theirs["alerts"][0], ours["alerts"][0]
    assert told.keys() == expected.keys()
    for name in ("status", "labels", "annotations", "fingerprint", "generatorURL"):
        assert told[name] == expected[name], name
    assert told["fingerprint"] == fingerprint(told["labels"])
    assert seconds(re.sub(r"(\.\d{3})\d*", r"\1", told["startsAt"])) == seconds(expected["startsAt"])
    for name in (
        "version",
        "status",
        "groupLabels",
        "commonLabels",
        "commonAnnotations",
        "groupKey",
        "truncatedAlerts",
    ):
        assert theirs[name] == ours[name], name


@pytest.mark.needs_program("prometheus-alertmanager")
def test_alertmanager_takes_what_hostile_processes_are_called(real: RealAlertmanager) -> None:
    clock = SkippingClock()
    one = alertmanager(real.url or "", clock)
    names = ["a\nb", "\x1b[2J", "\udcff", "\u202e", '"', "\\", "{}", "x" * 4000, "ünï"]
    hostile = [
        alert(number, fired=clock.unixtime(), identity=type(alert().identity)(code="blind", process=name), summary=name)
        for number, name in enumerate(names)
    ]
    take(one, *hostile)
    run(one)
    assert one.pending == 0
    assert {known["labels"]["process"] for known in real.alerts()} == {
        labels(notice_of(each), "web1")["process"] for each in hostile
    }


@pytest.mark.needs_program("prometheus-alertmanager")
def test_one_that_is_away_takes_nothing_from_the_other(real: RealAlertmanager, receiver: WebReceiver) -> None:
    clock = SkippingClock()
    away, here = alertmanager("http://127.0.0.1:1", clock), alertmanager(real.url or "", clock)
    now = clock.unixtime()
    for _ in range(5):
        for one in (away, here):
            take(one, alert(fired=now))
            run(one)
        clock.skipped += 60
    eventually(lambda: receiver.posts)
    assert (away.pending, here.pending) == (1, 0)
    assert here.post([notice_of(alert(fired=now))]).result is Result.DELIVERED
