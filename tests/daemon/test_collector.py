"""The thread that looks, on the real clock; when polls are due is in test_schedule.py."""

from collections.abc import Iterator
from queue import Queue
from threading import Event

import pytest

from daemon.sources import Looks, SteppedClock, health, leaking, poller, setup
from sockwatch.clock import Clock, SystemClock
from sockwatch.daemon.collector import Collector
from sockwatch.daemon.poller import Poller
from sockwatch.errors import UsageError
from sockwatch.export.web.published import Published
from sockwatch.model.settings import DaemonSettings, PollSettings, WebhookSink

SECONDS = 60.0


class Running:
    """A collector and what it publishes."""

    def __init__(self, interval: float, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        polls = PollSettings(interval=interval, cpu_share=1.0)
        self.published: Queue[Published] = Queue()
        self.ended = Event()
        self.health = health()
        self.looks = Looks(leaking(), clock if isinstance(clock, SteppedClock) else None)
        self.collector = Collector(
            poller(lambda _: self.looks, clock, self.health, setup(DaemonSettings(poll=polls))),
            interval=interval,
            clock=clock,
            health=self.health,
            publish=self.published.put,
            ended=self.ended.set,
            longest_wait=0.01,
        )
        self.collector.start()

    def poll(self) -> Published:
        return self.published.get(timeout=SECONDS)

    def stop(self) -> None:
        self.collector.stop()
        self.collector.join(SECONDS)
        assert self.ended.is_set()


@pytest.fixture
def often() -> Iterator[Running]:
    running = Running(0.01)
    yield running
    running.stop()


@pytest.fixture
def seldom() -> Iterator[Running]:
    running = Running(3600.0)
    yield running
    running.stop()


def use(running: Running, settings: DaemonSettings) -> None:
    running.collector.go_on_with(setup(settings)).result(timeout=SECONDS)


def test_it_polls_at_once_and_goes_on(often: Running) -> None:
    assert [often.poll().poll.number for _ in range(5)] == [1, 2, 3, 4, 5]


def test_it_shows_that_it_lives_while_it_waits(seldom: Running) -> None:
    assert seldom.poll().poll.number == 1
    seen = seldom.collector.beats
    waiting = Event()
    while seldom.collector.beats == seen:
        assert not waiting.wait(0.01)
    assert seldom.published.empty()


def test_it_stops_while_it_waits(seldom: Running) -> None:
    seldom.poll()
    seldom.stop()
    assert not seldom.collector.is_alive()


def test_a_shorter_interval_does_not_wait_for_the_end_of_the_longer_one(seldom: Running) -> None:
    seldom.poll()
    use(seldom, DaemonSettings(poll=PollSettings(interval=0.01)))
    assert seldom.poll().poll.interval == 0.01


def beat(running: Running, times: int) -> None:
    """Let the thread go round so many times."""
    seen = running.collector.beats
    waiting = Event()
    while running.collector.beats < seen + times:
        assert not waiting.wait(0.01)


def test_looks_that_cost_too_much_come_less_often() -> None:
    clock = SteppedClock()
    running = Running(10.0, clock)
    try:
        running.poll()
        use(running, DaemonSettings(poll=PollSettings(interval=10.0, cpu_share=1e-9, seconds=1e6)))
        intervals: list[float] = []
        while intervals[-1:] != [80.0]:
            beat(running, 2)  # the last poll is over
            clock.now += 40.0
            intervals.append(running.poll().poll.interval)
        beat(running, 2)
        clock.now += 40.0
        beat(running, 10)
        assert running.published.empty()
        clock.now += 40.0
        assert running.poll().poll.number == len(intervals) + 2
    finally:
        running.stop()


def test_what_is_skipped_is_counted() -> None:
    clock = SteppedClock()
    running = Running(10.0, clock)
    try:
        assert running.poll().poll.number == 1
        use(running, DaemonSettings())  # after the poll has been counted
        assert running.health.skipped == 0
        running.looks.takes = 25.0
        clock.now += 10.0
        running.poll()
        use(running, DaemonSettings())
        assert running.health.skipped == 2
    finally:
        running.stop()


def test_settings_that_cannot_be_used_are_refused_and_the_polls_go_on(often: Running) -> None:
    often.poll()
    with pytest.raises(UsageError):
        use(often, DaemonSettings(sinks={"x": WebhookSink(url="ftp://x")}))
    assert often.poll().poll.success


def test_settings_that_break_something_are_told_to_who_gave_them_and_the_polls_go_on(
    often: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    often.poll()
    with monkeypatch.context() as patched:
        patched.setattr(Poller, "go_on_with", broken)
        with pytest.raises(ZeroDivisionError):
            use(often, DaemonSettings())
    use(often, DaemonSettings(poll=PollSettings(interval=0.01)))
    often.poll()
    assert often.collector.is_alive()
