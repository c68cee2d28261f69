"""Alerts over restarts, on disks that refuse, and in metrics."""

import logging
import re
from pathlib import Path

import pytest

from export.alerts.looks import Looker
from export.small_disk import on_small_disk
from reports import leak, overflow
from sockwatch.export.alerts.book import AlertBook
from sockwatch.model.settings import AlertSettings, Silence

FIRING, RESOLVED = "firing close_wait_leak/not_closed", "resolved close_wait_leak/not_closed"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.json"


def restarted(looker: Looker, path: Path) -> None:
    """As after kill -9: what was not saved is lost."""
    looker.book = AlertBook(AlertSettings(), path)


def values(book: AlertBook) -> dict[str, float]:
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for metric in book.metrics()
        for sample in metric.samples
    }


def test_after_a_restart_what_fires_is_not_told_again(path: Path) -> None:
    looker = Looker(book=AlertBook(AlertSettings(), path))
    for _ in range(4):
        looker.see(leak())
        looker.save()
    restarted(looker, path)
    assert looker.see(leak()) == []
    assert looker.only.fired is not None


def test_what_a_restart_brings_back_is_said_in_one_line(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    looker = Looker(book=AlertBook(AlertSettings(), path))
    looker.see(leak())
    looker.save()
    restarted(looker, path)
    assert caplog.messages == []  # what is pending was told to nobody
    for _ in range(4):
        looker.see(leak())
        looker.save()
    restarted(looker, path)
    assert caplog.messages == [f"still firing from before the restart: close_wait_leak: {leak().summary}"]


def test_what_is_over_after_a_restart_is_resolved_once_looks_say_so_for_long_enough(path: Path) -> None:
    looker = Looker(book=AlertBook(AlertSettings(), path))
    for _ in range(4):
        looker.see(leak())
        looker.save()
    restarted(looker, path)
    assert looker.see(after=1e6) == []
    alert = looker.only
    assert (alert.summary, alert.remedies, alert.finding) == (leak().summary, leak().remedies, None)
    assert [looker.see() for _ in range(6)] == [[], [], [], [], [], [RESOLVED]]
    looker.save()
    restarted(looker, path)
    assert looker.see() == []
    assert looker.last.alerts == ()


def test_killed_before_it_could_save_it_tells_once_more_and_never_not_at_all(path: Path) -> None:
    looker = Looker(book=AlertBook(AlertSettings(), path))
    assert looker.see(overflow()) == ["firing accept_queue_overflow/somaxconn"]
    restarted(looker, path)
    assert looker.see(overflow()) == ["firing accept_queue_overflow/somaxconn"]
    looker.save()
    restarted(looker, path)
    for _ in range(6):
        assert looker.see() == []
        looker.save()
    looker.see(after=100)
    restarted(looker, path)
    looker.see()
    assert looker.see(after=20) == ["resolved accept_queue_overflow/somaxconn"]


def test_blindness_goes_on_over_a_restart(path: Path) -> None:
    looker = Looker(book=AlertBook(AlertSettings(), path))
    looker.fail()
    looker.save()
    restarted(looker, path)
    assert [looker.fail() for _ in range(2)] == [[], ["firing blind"]]
    looker.save()
    restarted(looker, path)
    assert looker.fail() == []
    assert looker.see() == ["resolved blind"]


def test_writes_only_what_a_restart_must_know(path: Path) -> None:
    looker = Looker(book=AlertBook(AlertSettings(), path))
    written = []
    for number in range(30):
        looker.see(*[leak()] * (number > 3))
        looker.save()
        written.append(path.exists() and path.stat().st_mtime_ns)
    assert written[3] is False  # no alert yet
    changes = [number for number in range(1, 30) if written[number] != written[number - 1]]
    assert changes == [4, 5, 6, 7, 13, 19, 25]  # each look while it is pending, then once a minute


def test_a_damaged_state_is_set_aside_and_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("{")
    with caplog.at_level(logging.INFO):
        looker = Looker(book=AlertBook(AlertSettings(), path))
    assert len(caplog.messages) == 1
    assert "alerts.json.corrupt" in caplog.text
    assert path.with_name("alerts.json.corrupt").read_text() == "{"
    assert values(looker.book)["sockwatch_alert_state_discarded"] == 1
    looker.see(overflow())
    looker.save()
    restarted(looker, path)
    assert values(looker.book)["sockwatch_alert_state_discarded"] == 0
    assert looker.see(overflow()) == []


def test_without_a_directory_it_alerts_all_the_same_and_goes_on_once_there_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "missing" / "alerts.json"
    looker = Looker(book=AlertBook(AlertSettings(), path))
    for _ in range(3):
        looker.see(overflow())
        looker.save()
    assert values(looker.book)["sockwatch_alert_state_success"] == 0
    assert len(caplog.messages) == 1
    path.parent.mkdir()
    looker.save()
    assert values(looker.book)["sockwatch_alert_state_success"] == 1
    assert path.exists()


SCRIPT = """
import logging
from pathlib import Path
from export.alerts.looks import Looker
from reports import leak, overflow
from sockwatch.export.alerts.state import decode
from sockwatch.export.alerts.book import AlertBook
from sockwatch.model.settings import AlertSettings

def main():
    logging.basicConfig(level=logging.INFO, format="LOG %(levelname)s %(message)s")
    path = Path(sys.argv[1]) / "alerts.json"
    looker = Looker(book=AlertBook(AlertSettings(), path))
    looker.see(overflow())
    looker.save()
    old = path.read_bytes()
    BREAK
    for number in range(5):
        print(looker.see(leak(), overflow()))
        looker.save()
    assert path.read_bytes() == old
    MEND
    looker.see(leak(), overflow())
    looker.save()
    assert len(decode(path.read_bytes()).alerts) == 2
"""


@pytest.mark.parametrize(
    ("broken", "mended", "why"),
    [("fill()", "free()", "No space left"), ("read_only(True)", "read_only(False)", "Read-only file system")],
)
def test_a_disk_that_refuses_stops_no_alert_is_said_once_and_used_again_once_it_works(
    tmp_path: Path, broken: str, mended: str, why: str
) -> None:
    said = on_small_disk(tmp_path, SCRIPT.replace("BREAK", broken).replace("MEND", mended))
    assert said.count(FIRING) == 1
    assert re.findall(r"^LOG (\w+)", said, re.MULTILINE) == ["ERROR", "INFO"]
    assert why in said


def test_counts_what_it_does() -> None:
    looker = Looker(book=AlertBook(AlertSettings(silences=(Silence(code="close_*"),))))
    for _ in range(4):
        looker.see(leak(), overflow())
    assert values(looker.book) == {
        "sockwatch_alerts pending": 0,
        "sockwatch_alerts firing": 2,
        "sockwatch_alerts_quiet silence": 1,
        "sockwatch_alerts_quiet other_alert": 0,
        "sockwatch_alerts_due_total": 1,
        "sockwatch_alerts_untracked": 0,
    }
