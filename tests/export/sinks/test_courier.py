import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sinks import FakeClock, WebReceiver, alert, over
from sockwatch.export.sinks.courier import Courier
from sockwatch.export.sinks.notice import Notice, notice_of
from sockwatch.export.sinks.outbox import Outbox
from sockwatch.export.sinks.outcome import Outcome, Reason, delivered, failed, refused
from sockwatch.export.sinks.tally import Tally
from sockwatch.export.sinks.webhook import Webhook
from sockwatch.model.alert import Alert
from sockwatch.model.settings import WebhookSink


@dataclass
class Receiver:
    """Answers as told, then takes everything."""

    outcomes: list[Outcome] = field(default_factory=list)
    told: list[list[tuple[str, str]]] = field(default_factory=list)
    most: int = 100
    attempts: int | None = None
    first_pause: float = 0.5
    own_pauses: bool = False
    send_resolved: bool = True

    def deliver(self, notices: Sequence[Notice]) -> Outcome:
        self.told.append([(notice.identity.local.rpartition(":")[2], notice.state.value) for notice in notices])
        return self.outcomes.pop(0) if self.outcomes else delivered("ok")

    def abort(self) -> None:
        raise NotImplementedError


@dataclass
class Post:
    """A courier, and what is around it."""

    clock: FakeClock
    receiver: Receiver = field(default_factory=Receiver)

    def __post_init__(self) -> None:
        self.outbox, self.tally = Outbox(None), Tally(self.clock)
        self.courier = Courier(
            "web",
            self.receiver,
            outbox=self.outbox,
            clock=self.clock,
            tally=self.tally,
            changed=self.outbox.save,
        )

    def take(self, *alerts: Alert) -> None:
        self.courier.take([notice_of(one) for one in alerts])

    def run(self) -> float | None:
        """Do all that is due now; the wait that follows."""
        while (wait := self.courier.turn()) == 0:
            pass
        return wait

    def counts(self) -> dict[str, float]:
        samples = [sample for family in self.tally.metrics({"web": tuple(Reason)}) for sample in family.samples]
        return {
            f"{s.name.removeprefix('sockwatch_notifications_')} {s.labels.get('reason', '')}".strip(): s.value
            for s in samples
            if s.value and s.name.endswith("_total")
        }


@pytest.fixture
def post(clock: FakeClock) -> Post:
    return Post(clock)


def test_what_was_taken_is_told_once(post: Post) -> None:
    post.take(alert(0), alert(1))
    assert post.run() is None
    post.take(over(0))
    assert post.run() is None
    assert post.receiver.told == [[("8080", "firing"), ("8081", "firing")], [("8080", "resolved")]]
    assert post.counts() == {"total": 3}


def test_a_sink_that_fails_is_left_alone_for_longer_and_longer(post: Post) -> None:
    post.receiver.outcomes = [failed(Reason.NETWORK, "refused")] * 30
    post.take(alert())
    waits = []
    while (wait := post.run()) is not None:
        waits.append(wait)
        post.clock.now += wait * 0.99
        assert post.run(), "not too early"
        post.clock.now += wait * 0.01
    assert len(post.receiver.told) == 31
    assert 0.4 <= waits[0] <= 0.5
    assert all(0.4 * 1.5**n <= wait <= 0.5 * 1.5**n for n, wait in enumerate(waits[:11]))
    assert all(48 <= wait <= 60 for wait in waits[15:])
    assert len({round(wait, 6) for wait in waits[15:]}) > 10, "not all hosts at once"
    assert post.counts() == {"total": 31, "failed_total network": 30}


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(17.0, 17, 17), (1e9, 300, 300), (0.0, 0.4, 0.5), (None, 0.4, 0.5)]
)
def test_a_sink_may_ask_for_time_but_not_for_ever(post: Post, asked: float | None, least: float, most: float) -> None:
    post.receiver.outcomes = [failed(Reason.RATE_LIMIT, "429", retry_after=asked)]
    post.take(alert())
    wait = post.run()
    assert wait is not None
    assert least <= wait <= most


def test_of_what_was_never_told_and_is_over_only_the_end_is(post: Post) -> None:
    post.receiver.outcomes = [failed(Reason.NETWORK, "refused")]
    post.take(alert(0), alert(1))
    wait = post.run()
    post.take(over(0))
    post.clock.now += wait or 0
    post.run()
    assert post.receiver.told[1:] == [[("8080", "resolved")], [("8081", "firing")]]


def test_a_sink_that_wants_no_end_is_not_told_of_what_is_over(post: Post) -> None:
    post.receiver.send_resolved = False
    post.take(alert(0), alert(1))
    post.take(over(0))
    post.run()
    assert post.receiver.told == [[("8081", "firing")]]


def test_what_is_refused_is_dropped_and_counted(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    post.receiver.outcomes = [refused(Reason.CLIENT_ERROR, "404")]
    post.take(alert(0), alert(1))
    assert post.run() is None
    assert len(post.receiver.told) == 1
    assert post.counts() == {"total": 2, "failed_total client_error": 2, "dropped_total refused": 2}
    assert "2 alerts dropped: 404" in caplog.text


def test_what_is_refused_together_is_tried_one_by_one_once(post: Post) -> None:
    no = refused(Reason.CLIENT_ERROR, "400", divisible=True)
    post.receiver.outcomes = [no, delivered("ok"), no, delivered("ok")]
    post.take(alert(0), alert(1), alert(2))
    assert post.run() is None
    assert [len(told) for told in post.receiver.told] == [3, 1, 1, 1]
    assert post.counts()["dropped_total refused"] == 1


def test_a_hook_that_fails_for_one_alert_runs_for_others_and_is_given_up(post: Post) -> None:
    receiver = post.receiver
    receiver.most, receiver.attempts, receiver.own_pauses, receiver.first_pause = 1, 3, True, 5.0
    receiver.outcomes = [failed(Reason.EXIT_STATUS, "exit status 1"), delivered("ok")]
    receiver.outcomes += [failed(Reason.EXIT_STATUS, "exit status 1")] * 9
    post.take(alert(0), alert(1))
    wait = post.run()
    assert receiver.told == [[("8080", "firing")], [("8081", "firing")]]
    assert wait is not None
    assert 4 <= wait <= 5
    while (wait := post.run()) is not None:
        post.clock.now += wait
    assert receiver.told[2:] == [[("8080", "firing")]] * 2
    assert post.counts() == {"total": 4, "failed_total exit_status": 3, "dropped_total too_often": 1}


def test_news_of_an_alert_begin_anew(post: Post) -> None:
    receiver = post.receiver
    receiver.attempts, receiver.own_pauses, receiver.first_pause = 2, True, 5.0
    receiver.outcomes = [failed(Reason.EXIT_STATUS, "exit status 1")] * 2
    post.take(alert(0))
    post.run()
    post.take(over(0))
    post.run()
    post.clock.now += 9
    assert post.run() is None
    assert receiver.told == [[("8080", "firing")], [("8080", "resolved")], [("8080", "resolved")]]


def test_what_was_cut_off_at_the_end_still_waits_and_was_no_try(post: Post) -> None:
    post.receiver.attempts = 1
    post.receiver.outcomes = [failed(Reason.STOPPED, "the daemon ends")]
    post.take(alert(0))
    post.courier.turn()
    ((entry,), _) = post.outbox.next("web", post.clock.now, 1)
    assert entry.attempts == 0


def test_after_a_success_pauses_begin_anew(post: Post) -> None:
    away = failed(Reason.NETWORK, "refused")
    post.receiver.outcomes = [away] * 9 + [delivered("ok"), away]
    post.take(alert(0))
    while (wait := post.run()) is not None:
        post.clock.now += wait
    post.take(alert(1))
    again = post.run()
    assert again is not None
    assert again <= 0.5


def test_after_a_reload_nobody_waits_for_what_failed_before(post: Post) -> None:
    post.receiver.outcomes = [failed(Reason.NETWORK, "refused")] * 9
    post.take(alert(0))
    for _ in range(9):
        post.clock.now += post.run() or 0
    new = Receiver()
    post.courier.go_on_with(new)
    assert post.run() is None
    assert new.told == [[("8080", "firing")]]


def test_a_failure_is_logged_once_and_so_is_its_end(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    post.receiver.outcomes = [failed(Reason.NETWORK, "refused")] * 9
    post.take(alert(0))
    while (wait := post.run()) is not None:
        post.clock.now += wait
    assert caplog.messages == ["sink web: refused", "sink web: works again: ok"]


def test_each_message_that_was_delivered_leaves_a_line(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    post.take(alert(0))
    post.run()
    assert caplog.messages == ["sink web was told of firing warning close_wait_leak: ok"]
    caplog.clear()
    post.take(over(0), over(1))
    post.run()
    assert caplog.messages == ["sink web was told of resolved warning close_wait_leak and 1 more: ok"]


def test_an_hour_without_the_receiver(clock: FakeClock, tmp_path: Path) -> None:
    """Polls go on each 10 s: one alert comes and stays, one comes and goes, one comes and goes again and again."""
    with WebReceiver() as first:
        port = first.port
    outbox, began = Outbox(tmp_path), clock.now
    webhook = Webhook("web", WebhookSink(url=f"http://127.0.0.1:{port}/"), host="web1", clock=clock)
    courier = Courier("web", webhook, outbox=outbox, clock=clock, tally=Tally(clock), changed=outbox.save)
    tries = 0

    def second() -> None:
        nonlocal tries
        while courier.turn() == 0:
            tries += 1
        clock.now += 1

    while clock.now < began + 3600:
        passed = int(clock.now - began)
        if passed == 10:
            courier.take([notice_of(alert(0)), notice_of(alert(1))])
        if passed == 1000:
            courier.take([notice_of(over(1))])
        if passed % 10 == 5:
            courier.take([notice_of(alert(2) if passed % 20 == 5 else over(2))])
        outbox.save()
        assert outbox.count("web") <= 3
        second()
    assert tries < 120
    with WebReceiver(port=port) as receiver:
        back = clock.now
        while not receiver.posts:
            second()
        assert clock.now - back <= 61
        second()
    told = [(a["labels"]["local"][-4:], a["status"]) for post in receiver.posts for a in post.body["alerts"]]
    assert sorted(told) == [("8080", "firing"), ("8081", "resolved"), ("8082", "resolved")]
    assert outbox.count("web") == Outbox(tmp_path).count("web") == 0
