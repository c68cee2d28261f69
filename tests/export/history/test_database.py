"""Looks go in, and what was open, rolled up or missing is still known after a restart."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from export.history.past import INTERVAL, START, Looks, in_namespaces, many_series
from reports import leak, overflow
from sockwatch.export.history.database import NOT_KEPT, NOT_RUNNING, Database
from sockwatch.export.history.reader import History
from sockwatch.export.history.samples import Kind
from sockwatch.export.history.schema import ForeignError
from sockwatch.model.finding import Severity
from sockwatch.model.settings import HistorySettings
from sockwatch.model.state import State

HOUR, DAY = 3600, 86400
EVER = (0.0, 1e11)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@contextmanager
def opened(path: Path, **settings: float) -> Iterator[Database]:
    given = HistorySettings(**settings)  # type: ignore[arg-type]  # max_bytes is a whole number where it is given
    with closing(Database(path, given)) as database:
        yield database


def test_a_finding_from_its_beginning_to_its_end(path: Path) -> None:
    looks = Looks()
    with opened(path) as database:
        for _ in range(5):
            database.write(looks.see(leak()))
        database.write(looks.see(leak(count=99, severity=Severity.CRITICAL)))
        for _ in range(7):
            database.write(looks.see())
    history = History(path)
    (past,) = history.findings(*EVER)
    assert (past.identity.code, past.identity.process) == ("close_wait_leak", "app")
    assert (past.opened, past.seen, past.closed) == (START, START + 50, START + 60)
    assert (past.severity, past.worst, past.count, past.most) == (Severity.CRITICAL, Severity.CRITICAL, 99, 99)
    events = history.events(*EVER)
    assert [(event.kind, event.time - START, event.count) for event in events] == [
        ("closed", 60, 99),
        ("changed", 50, 99),
        ("opened", 0, 23),
    ]
    assert all(event.number == past.number for event in events)
    first = events[-1].finding
    assert first is not None
    assert first["evidence"]["fd_limit"] == 1024
    assert first["subject"]["process"]["pid"] == 812


def test_a_restart_goes_on_with_what_is_open_and_marks_the_gap(path: Path) -> None:
    looks = Looks()
    with opened(path) as database:
        database.write(looks.see(leak(), overflow()))
    looks.monotonic = 5.0
    with opened(path) as database:
        database.write(looks.see(leak(), after=1000))
        for _ in range(6):
            database.write(looks.see(leak()))
    history = History(path)
    assert [past.identity.code for past in history.findings(*EVER) if past.closed is None] == ["close_wait_leak"]
    assert [past.closed for past in history.findings(*EVER, code="accept_queue_overflow")] == [START + 1000]
    assert [event.kind for event in history.events(*EVER)] == ["closed", "opened", "opened"]
    (gap,) = history.gaps(*EVER)
    assert (gap.began, gap.ended, gap.why) == (START, START + 1000, NOT_RUNNING)


def test_a_quick_restart_is_no_gap(path: Path) -> None:
    looks = Looks()
    for _ in range(3):
        with opened(path) as database:
            database.write(looks.see())
    assert History(path).gaps(*EVER) == ()


def test_looks_that_fail_are_a_gap_with_the_reason_from_the_first_to_the_next_that_succeeds(path: Path) -> None:
    looks = Looks()
    with opened(path) as database:
        for look in (looks.see(leak()), looks.fail(), looks.fail()):
            database.write(look)
    with opened(path) as database:
        database.write(looks.fail())
        (gap,) = History(path).gaps(*EVER)
        assert (gap.began, gap.ended) == (START + 10, None)
        assert "Permission denied" in gap.why
        database.write(looks.see(leak()))
    (gap,) = History(path).gaps(*EVER)
    assert (gap.began, gap.ended) == (START + 10, START + 40)
    assert len(History(path).findings(*EVER)) == 1


def test_looks_that_are_missing_are_a_gap_and_a_jump_of_the_wall_clock_is_none(path: Path) -> None:
    looks = Looks()
    with opened(path) as database:
        database.write(looks.see())
        database.write(looks.see(after=100))
        looks.time += HOUR
        database.write(looks.see())
        looks.time -= 2 * HOUR
        database.write(looks.see())
    assert [(gap.began - START, gap.why) for gap in History(path).gaps(*EVER)] == [(0, NOT_KEPT)]


def test_a_chart_of_a_long_time_reads_rollups_alone(path: Path) -> None:
    looks = Looks()
    with opened(path) as database:
        for number in range(6 * 60 * 3 + 1):
            look = looks.see(by_state={State.ESTABLISHED: number})
            database.write(look)
            database.tidy(look)
        database._connection.execute("DROP TABLE samples")  # noqa: SLF001 - whoever reads it fails now
    chart = History(path).counts(START, START + 3 * HOUR, points=1000)
    assert chart.step == 300
    assert chart.times == tuple(range(int(START), int(START) + 3 * HOUR, 300))
    (line,) = chart.lines
    assert line.series.name == "established"
    assert line.mean[:2] == (14.5, 44.5)
    assert line.high[:2] == (29, 59)
    assert None not in line.mean


def test_a_day_of_samples_is_rolled_up_after_a_restart_as_well(path: Path) -> None:
    looks = Looks()
    with opened(path) as database:
        for _ in range(6 * 60 * 4):
            database.write(looks.see())
    with opened(path) as database:
        for _ in range(6):
            look = looks.see()
            database.write(look)
            database.tidy(look)
    (line, *_) = History(path).counts(START, START + 4 * HOUR).lines
    assert line.mean.count(None) == 0


def test_a_wall_clock_that_goes_back_loses_no_rollup(path: Path) -> None:
    looks = Looks()
    with opened(path) as database:
        for _ in range(61):
            look = looks.see()
            database.write(look)
            database.tidy(look)
        looks.time -= 50 * 365 * DAY
        for _ in range(61):
            look = looks.see()
            database.write(look)
            database.tidy(look)
        began = looks.time - 600
    for since in (START, began // 300 * 300):
        (line, *_) = History(path).counts(since, since + 3 * HOUR).lines
        assert line.mean[0] is not None


def grown(path: Path, hours: float, *, every: float = INTERVAL, **settings: float) -> Looks:
    looks = Looks()
    reports = [many_series(number) for number in range(7)]
    with opened(path, **settings) as database:
        for number in range(int(hours * HOUR / every)):
            look = replace(looks.look(reports[number % 7], success=True, after=every), interval=every)
            database.write(look)
            database.tidy(look)
            assert database.bytes_used() <= settings.get("max_bytes", 1e9)
    return looks


def test_the_oldest_goes_by_age(path: Path) -> None:
    looks = grown(path, 40, every=300, max_age=30 * HOUR)
    history = History(path)
    first, last = history.span() or (0, 0)
    assert last == looks.time
    assert 30 * HOUR <= last - first < 31 * HOUR
    with opened(path) as database:
        (oldest,) = database._connection.execute("SELECT min(time) FROM samples").fetchone()  # noqa: SLF001 - no reader tells
    assert DAY <= last - oldest < DAY + HOUR


def test_a_clock_that_is_wrong_for_a_while_costs_no_history(path: Path) -> None:
    looks = grown(path, 2, every=60)
    with opened(path) as database:
        looks.time += 10 * 365 * DAY
        for _ in range(30):
            look = replace(looks.see(after=60), interval=60)
            database.write(look)
            database.tidy(look)
    first, _ = History(path).span() or (0, 0)
    assert first < START + HOUR


def test_the_oldest_goes_for_want_of_space_samples_first(path: Path) -> None:
    looks = grown(path, 5, every=30, max_bytes=2_000_000)
    history = History(path)
    first, last = history.span() or (0, 0)
    assert last == looks.time
    assert first < last - 3 * HOUR  # rollups outlive samples
    (line, *_) = history.counts(last - HOUR, last, points=60).lines
    assert None not in line.mean[1:-1]


def test_a_lower_bound_shrinks_the_file(path: Path) -> None:
    looks = grown(path, 3, every=30)
    size = path.stat().st_size
    with opened(path, max_bytes=size // 2) as database:
        for _ in range(20):
            look = replace(looks.see(after=20), interval=20)
            database.write(look)
            database.tidy(look)
    assert path.stat().st_size <= size // 2


def test_findings_without_end_do_not_outgrow_the_store(path: Path) -> None:
    looks = Looks()
    with opened(path, max_bytes=4_000_000) as database:
        for number in range(400):
            subject = replace(leak().subject, netns=f"ns{number}")
            look = looks.see(*(replace(leak(), variant=f"v{i}", subject=subject) for i in range(10)))
            database.write(look)
            database.tidy(look)
            assert database.bytes_used() <= 4_000_000
    assert History(path).findings(*EVER)[0].opened == looks.time


def test_24_hours_of_500_series_every_10_seconds_take_less_than_100_mb(path: Path) -> None:
    grown(path, 2)  # what it takes grows with time, and what SQLite has beside it does not
    assert path.stat().st_size * 12 < 100_000_000


def test_series_that_are_gone_leave_the_list(path: Path) -> None:
    looks = Looks()
    with opened(path, max_age=HOUR) as database:
        for number in range(200):
            look = replace(looks.see(**in_namespaces({f"ns{number // 10}": {}}), after=60), interval=60)
            database.write(look)
            database.tidy(look)
        (left,) = database._connection.execute("SELECT count(DISTINCT netns) FROM series").fetchone()  # noqa: SLF001 - no reader tells
    assert left < 12


def test_what_is_no_history_is_refused_and_not_touched(path: Path) -> None:
    for content in (b"hello" * 1000, b"SQLite format 3\0" + bytes(4096)):
        path.write_bytes(content)
        with pytest.raises(Exception, match=r"not a database|malformed|no history"), opened(path):
            pass
        assert path.read_bytes() == content
    path.unlink()
    with opened(path) as database:
        database._connection.execute("PRAGMA user_version = 2")  # noqa: SLF001 - a later release
    with pytest.raises(ForeignError, match="version 2"), opened(path):
        pass


def test_what_is_no_file_of_ours_is_refused(path: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "good"):
        pass
    for refused in ("symlink", "fifo", "directory", "second name", "others write"):
        match refused:
            case "symlink":
                path.symlink_to(tmp_path / "good")
            case "fifo":
                os.mkfifo(path)
            case "directory":
                path.mkdir()
            case "second name":
                path.hardlink_to(tmp_path / "good")
            case "others write":
                path.touch()
                path.chmod(0o666)
        with pytest.raises(ForeignError), opened(path):
            pass
        path.rename(tmp_path / "away")
        (tmp_path / "away").rmdir() if refused == "directory" else (tmp_path / "away").unlink()


def test_only_its_owner_can_read_it(path: Path) -> None:
    with opened(path) as database:
        database.write(Looks().see())
        assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from export.history.past import Looks, many_series
from reports import leak
from sockwatch.export.history.database import Database
from sockwatch.export.history.reader import History
from sockwatch.model.settings import HistorySettings
path = Path(sys.argv[1])
looks, last = Looks(), 0.0
made = [many_series(number) for number in range(3)]
for number in range(int(sys.argv[2])):
    ready, write = os.pipe()
    pid = os.fork()
    if not pid:
        database = Database(path, HistorySettings(max_bytes=3_000_000))
        while True:
            look = looks.look(made[looks.number % 3], success=True, after=60) if looks.number % 2 else looks.see(leak())
            database.write(look)
            os.write(write, looks.time.hex().encode() + b"\\n")
            database.tidy(look)
    os.close(write)
    with os.fdopen(ready) as lines:
        for _ in range(1 + number % 7):
            line = lines.readline()
        deadline = time.monotonic() + number % 50 * 0.0002
        while time.monotonic() < deadline:
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        told = float.fromhex((lines.read().splitlines() or [line.strip()])[-1])
    history = History(path)
    first, last = history.span()
    assert last >= int(told), (last, told)  # what was said to be written is there
    assert len([past for past in history.findings(0, 1e11) if past.closed is None]) <= 1
    looks.time, looks.monotonic, looks.number = last, looks.monotonic + last - looks.time, looks.number + 7
print(len(history.gaps(0, 1e11)), "gaps")
Database(path, HistorySettings()).close()  # which checks every page
"""


def test_killed_again_and_again_it_is_whole_and_has_all_that_was_written(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(path), "40"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr


def test_rates_and_budgets_are_charts_too(path: Path) -> None:
    looks = Looks()
    with opened(path) as database:
        for number in range(10):
            database.write(looks.look(many_series(number), success=True))
    history = History(path)
    assert len(history.budgets(START, START + 100).lines) == 65
    names = {line.series.name for line in history.chart(Kind.RATE, START, START + 100, netns="host").lines}
    assert "Tcp.ActiveOpens" in names
