"""The history's own thread: a disk that is slow, full or damaged stops nobody but it."""

import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builders import process, snapshot
from export.history.past import START, Looks, poll_of
from export.small_disk import on_small_disk
from reports import leak
from sockwatch.export.history.database import NOT_KEPT, Database
from sockwatch.export.history.reader import History
from sockwatch.export.history.store import Store
from sockwatch.model.finding import Subject
from sockwatch.model.settings import HistorySettings

EVER = (0.0, 1e11)
SNAPSHOT = snapshot()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path, HistorySettings())
    store.start()
    yield store
    store.stop(10)


def values(store: Store) -> dict[str, float]:
    names = {sample.name: sample.value for metric in store.metrics() for sample in metric.samples}
    return {name.removeprefix("sockwatch_history_"): value for name, value in names.items()}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_keeps_polls_and_findings(path: Path, store: Store) -> None:
    looks = Looks()
    for _ in range(20):
        store.take(poll_of(looks.see(leak()), SNAPSHOT))
    store.take(poll_of(looks.fail(), None))
    assert store.stop(10)
    history = History(path)
    assert history.span() == (START, START + 190)
    assert [past.identity.code for past in history.findings(*EVER)] == ["close_wait_leak"]
    assert len(history.gaps(*EVER)) == 1
    assert values(store)["dropped_total"] == 0
    assert values(store)["bytes"] > 0


def test_command_lines_stay_off_the_disk(path: Path, store: Store) -> None:
    secret = replace(process(812, "kept"), command="app -x hunter2")
    store.take(
        poll_of(Looks().see(leak(subject=Subject(netns="host", process=secret), holders=(secret, secret))), SNAPSHOT)
    )
    assert store.stop(10)
    assert b"kept" in path.read_bytes()
    assert b"hunter2" not in path.read_bytes()


def test_is_one_file_when_it_has_ended(path: Path, store: Store) -> None:
    store.take(poll_of(Looks().see(), SNAPSHOT))
    assert store.stop(10)
    assert [child.name for child in path.parent.iterdir()] == ["history.db"]


def test_keeps_nothing_where_it_is_not_enabled(path: Path) -> None:
    store = Store(path, HistorySettings(enabled=False))
    store.start()
    looks = Looks()
    store.take(poll_of(looks.see(), SNAPSHOT))
    store.configure(HistorySettings())
    store.take(poll_of(looks.see(), SNAPSHOT))
    assert store.stop(10)
    assert History(path).span() == (START + 10, START + 10)


def test_a_disk_that_hangs_delays_no_poll_and_what_it_missed_is_a_gap(path: Path, store: Store) -> None:
    looks = Looks()
    store.take(poll_of(looks.see(), SNAPSHOT))
    until(path.exists)
    blocker = sqlite3.connect(path, isolation_level=None, timeout=30)
    blocker.execute("BEGIN IMMEDIATE")
    for _ in range(200):
        store.take(poll_of(looks.see(), SNAPSHOT))
    assert values(store)["dropped_total"] >= 150  # had they waited for the writer, it would have got them
    blocker.execute("ROLLBACK")
    blocker.close()

    def goes_on() -> bool:
        store.take(poll_of(looks.see(), SNAPSHOT))
        span = History(path).span()
        return span is not None and span[1] > START + 2000

    until(goes_on)
    assert store.stop(30)
    assert History(path).gaps(*EVER)[0].why == NOT_KEPT


def test_one_look_that_cannot_be_kept_is_not_the_end_of_the_history(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[BaseException | None] = []
    store, looks, surprise = Store(path, HistorySettings(), told.append), Looks(), ZeroDivisionError("surprise")

    def broken(*_: object) -> None:
        raise surprise

    store.start()
    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", broken)
        store.take(poll_of(looks.see(), SNAPSHOT))
        until(lambda: bool(told))
        assert (values(store)["success"], values(store)["dropped_total"]) == (0, 1)
    store.take(poll_of(looks.see(), SNAPSHOT))
    assert store.stop(10)
    assert told == [surprise, None]
    assert values(store)["success"] == 1
    assert History(path).span() == (START + 10, START + 10)


def test_it_ends_in_time_however_much_waits(path: Path) -> None:
    store, looks = Store(path, HistorySettings()), Looks()
    for _ in range(100):
        store.take(poll_of(looks.see(), SNAPSHOT))
    dropped = values(store)["dropped_total"]
    store.start()
    assert store.stop(30)
    assert values(store)["dropped_total"] <= dropped + 1


def test_a_damaged_file_is_set_aside_and_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"not a database, but of some length" * 100)
    store = Store(path, HistorySettings())
    store.start()
    looks = Looks()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            store.take(poll_of(looks.see(), SNAPSHOT))
        assert store.stop(10)
    assert History(path).span() == (START + 10, START + 20)
    assert path.with_name("history.db.corrupt").read_bytes().startswith(b"not a database")
    assert len(caplog.messages) == 1
    assert "history.db.corrupt" in caplog.text
    assert (values(store)["set_aside_total"], values(store)["dropped_total"]) == (1, 1)


def test_damage_while_it_runs_is_found_and_set_aside(path: Path, store: Store) -> None:
    looks = Looks()
    for _ in range(30):
        store.take(poll_of(looks.see(leak(variant=f"v{looks.number}")), SNAPSHOT))
    store.stop(10)
    size = path.stat().st_size
    with path.open("r+b") as file:  # all but the header
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    again = Store(path, HistorySettings())
    again.start()
    for _ in range(3):
        again.take(poll_of(looks.see(), SNAPSHOT))
    assert again.stop(10)
    assert values(again)["set_aside_total"] == 1
    assert values(again)["success"] == 1
    assert History(path).findings(*EVER) == ()


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_cut_off_it_is_set_aside_or_read(path: Path, store: Store, part: float) -> None:
    looks = Looks()
    for _ in range(30):
        store.take(poll_of(looks.see(leak(variant=f"v{looks.number}")), SNAPSHOT))
    store.stop(10)
    os.truncate(path, int(path.stat().st_size * part))
    again = Store(path, HistorySettings())
    again.start()
    for _ in range(3):
        again.take(poll_of(looks.see(), SNAPSHOT))
    assert again.stop(10)
    assert values(again)["success"] == 1
    span = History(path).span()
    assert span is not None
    assert span[1] == looks.time


def test_without_a_directory_it_says_so_once_and_goes_on_when_there_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "missing" / "history.db"
    store = Store(path, HistorySettings())
    store.start()
    looks = Looks()
    for _ in range(3):
        store.take(poll_of(looks.see(), SNAPSHOT))
    until(lambda: values(store)["dropped_total"] == 3)
    assert values(store)["success"] == 0
    path.parent.mkdir()
    store.take(poll_of(looks.see(), SNAPSHOT))
    assert store.stop(10)
    assert values(store)["success"] == 1
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


SCRIPT = """
import logging, time
from pathlib import Path
from builders import snapshot
from export.history.past import Looks, many_series, poll_of
from reports import leak
from sockwatch.export.history.database import NOT_KEPT
from sockwatch.export.history.reader import History
from sockwatch.export.history.store import Store
from sockwatch.model.settings import HistorySettings

def main():
    logging.basicConfig(level=logging.INFO, format="LOG %(levelname)s %(message)s")
    path = Path(sys.argv[1]) / "history.db"
    store, looks, read = Store(path, HistorySettings()), Looks(), snapshot()
    def success():
        return {sample.name: sample.value for metric in store.metrics() for sample in metric.samples}[
            "sockwatch_history_success"
        ]
    def take_until(wanted):
        deadline = time.monotonic() + 30
        while success() != wanted:
            store.take(poll_of(looks.look(many_series(looks.number), success=True), read))
            assert time.monotonic() < deadline
            time.sleep(0.01)
    store.start()
    for _ in range(5):
        store.take(poll_of(looks.see(leak()), read))
    deadline = time.monotonic() + 30
    while not path.exists() or History(path).span() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    fill()
    take_until(False)
    for _ in range(20):
        looks.see()
    free()
    take_until(True)
    assert store.stop(30)
    print([gap.why for gap in History(path).gaps(0, 1e11)], len(History(path).findings(0, 1e11)))
"""


def test_a_full_disk_stops_the_history_which_resumes_by_itself_when_there_is_room(tmp_path: Path) -> None:
    said = on_small_disk(tmp_path, SCRIPT, size="600k")
    assert "'no looks could be kept'" in said
    assert re.findall(r"^LOG (\w+)", said, re.MULTILINE) == ["ERROR", "INFO"]
    assert "full" in said
