import threading
from collections.abc import Callable

import pytest

from sinks import FakeClock, eventually
from sockwatch.clock import SystemClock
from sockwatch.export.sinks.state_writer import StateWriter


class Disk:
    """Answers when the test says so, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.done: list[str] = []
        self.errors: list[BaseException | None] = []
        self.error: Exception | None = None
        self.clock = FakeClock()
        self.writer = StateWriter(self.save, lambda: self.done.append("tell"), self.clock, self.errors.append)

    def save(self) -> None:
        self.done.append("save")
        assert self.answers.wait(30)
        if self.error is not None:
            raise self.error

    def note(self, number: int) -> Callable[[], None]:
        return lambda: self.done.append(str(number))


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_sinks_are_told_after_the_write_and_before_what_follows_it(disk: Disk) -> None:
    disk.writer.ask(disk.note(1))
    eventually(lambda: disk.done == ["save", "tell", "1"])
    assert disk.writer.stop(20)
    assert disk.done == ["save", "tell", "1", "save", "tell"]


def test_while_the_disk_hangs_nobody_waits_and_only_the_newest_does(disk: Disk) -> None:
    disk.answers.clear()
    disk.writer.ask(disk.note(0))
    eventually(lambda: disk.done == ["save"])
    for number in range(1, 1000):
        disk.writer.ask(disk.note(number))
        disk.writer.ask_soon()
    disk.clock.now += 7
    assert disk.writer.hangs_for == 7
    assert not disk.writer.stop(0.01)
    disk.answers.set()
    assert disk.writer.stop(20)
    assert disk.done == ["save", "tell", "0", "save", "tell", "999"]
    assert disk.writer.hangs_for == 0


def test_many_small_changes_are_few_writes() -> None:
    written = threading.Semaphore(0)
    writer = StateWriter(written.release, lambda: None, SystemClock(), lambda _: None)
    for _ in range(1000):
        writer.ask_soon()
    assert written.acquire(timeout=20)
    assert writer.stop(20)
    assert written.acquire(timeout=20)
    assert not written.acquire(blocking=False), "one for all, and the last"


def test_an_error_nobody_foresaw_ends_one_write_and_is_handed_on(disk: Disk) -> None:
    disk.error = ZeroDivisionError("surprise")
    disk.writer.ask(disk.note(1))
    eventually(lambda: disk.errors == [disk.error])
    disk.error = None
    disk.writer.ask(disk.note(2))
    eventually(lambda: disk.done == ["save", "save", "tell", "2"])
    assert disk.writer.stop(20)
    assert disk.errors[1:] == [None]
