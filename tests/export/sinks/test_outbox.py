import json
import logging
import random
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from export.small_disk import on_small_disk
from sinks import alert, over
from sockwatch.export.sinks import outbox as outbox_module
from sockwatch.export.sinks.notice import notice_of
from sockwatch.export.sinks.outbox import FILE_NAME, Outbox
from sockwatch.model.alert import Alert

NOW = 1000.0


def told(outbox: Outbox, sink: str = "hook", now: float = NOW, most: int = 100) -> list[tuple[str, str]]:
    """What is to be told now: the port of each, and its state."""
    batch, _ = outbox.next(sink, now, most)
    return [(entry.notice.identity.local.partition(":")[2], entry.notice.state.value) for entry in batch]


def put(outbox: Outbox, *alerts: Alert, sink: str = "hook") -> int:
    return sum(outbox.put(sink, notice_of(one)) for one in alerts)


def test_the_newest_state_of_an_alert_takes_the_place_of_the_older() -> None:
    outbox = Outbox(None)
    put(outbox, alert(0), alert(1), over(0))
    assert told(outbox) == [("8080", "resolved")]
    outbox.settle(outbox.next("hook", NOW, 1)[0])
    assert told(outbox) == [("8081", "firing")]
    assert (outbox.count("hook"), outbox.count("other")) == (1, 0)


def test_alerts_of_one_code_and_state_go_together() -> None:
    outbox = Outbox(None)
    put(outbox, alert(0), over(1), alert(2), alert(3))
    assert told(outbox) == [("8080", "firing"), ("8082", "firing"), ("8083", "firing")]
    assert told(outbox, most=2) == [("8080", "firing"), ("8082", "firing")]


def test_what_changes_while_it_is_told_is_told_again() -> None:
    outbox = Outbox(None)
    put(outbox, alert(0))
    batch, _ = outbox.next("hook", NOW, 1)
    put(outbox, over(0))
    outbox.settle(batch)
    outbox.postpone(batch, NOW + 10)
    assert told(outbox) == [("8080", "resolved")]


def test_what_failed_waits_and_lets_others_pass() -> None:
    outbox = Outbox(None)
    put(outbox, alert(0), alert(1))
    outbox.postpone(outbox.next("hook", NOW, 1)[0], NOW + 10)
    assert told(outbox) == [("8081", "firing")]
    outbox.settle(outbox.next("hook", NOW, 1)[0])
    assert outbox.next("hook", NOW + 4, 1) == ((), 6)
    (entry,), _ = outbox.next("hook", NOW + 10, 1)
    assert entry.attempts == 1
    put(outbox, alert(0))
    assert told(outbox, now=NOW + 4) == [("8080", "firing")], "news need not wait"
    assert outbox.next("hook", NOW, 1)[0][0].attempts == 0


def test_what_was_refused_together_is_told_alone() -> None:
    outbox = Outbox(None)
    put(outbox, alert(0), alert(1))
    outbox.separate(outbox.next("hook", NOW, 9)[0])
    put(outbox, alert(2))
    assert told(outbox) == [("8080", "firing")]
    outbox.settle(outbox.next("hook", NOW, 9)[0])
    assert told(outbox) == [("8081", "firing")]
    outbox.settle(outbox.next("hook", NOW, 9)[0])
    assert told(outbox) == [("8082", "firing")]


def test_nothing_waits_for_ever_where_nothing_is() -> None:
    assert Outbox(None).next("hook", NOW, 1) == ((), None)


def test_of_too_many_the_oldest_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "MOST_WAITING", 3)
    outbox = Outbox(None)
    assert put(outbox, *(alert(number) for number in range(5))) == 2
    assert [port for port, _ in told(outbox)] == ["8082", "8083", "8084"]


def test_it_outlives_the_daemon(tmp_path: Path) -> None:
    first = Outbox(tmp_path)
    put(first, alert(0), alert(1))
    put(first, over(0), sink="web")
    first.save()
    first.postpone(first.next("hook", NOW, 1)[0], NOW + 10)
    first.save()
    second = Outbox(tmp_path)
    assert told(second) == [("8081", "firing"), ("8080", "firing")], "how long to wait is forgotten, and nothing else"
    (entry,), _ = second.next("web", NOW, 1)
    assert entry.notice == notice_of(over(0))
    assert second.next("hook", NOW, 2)[0][1].attempts == 1
    assert second.durable


def test_nothing_is_told_before_it_is_on_the_disk_unless_that_refuses_or_hangs(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    put(outbox, alert(0))
    assert outbox.next("hook", NOW, 1) == ((), None)
    outbox.save()
    put(outbox, alert(1))
    assert told(outbox) == [("8080", "firing")]
    outbox.go_on_without_disk()
    assert (told(outbox), outbox.durable) == ([("8080", "firing"), ("8081", "firing")], False)
    outbox.save()
    assert outbox.durable
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    put(outbox, alert(2))
    outbox.save()
    assert (len(told(outbox)), outbox.durable) == (3, False)


def test_it_is_not_written_when_nothing_changed(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.save()
    assert not (tmp_path / FILE_NAME).exists()
    put(outbox, alert(0))
    outbox.save()
    before = (tmp_path / FILE_NAME).stat().st_ino
    outbox.save()
    assert (tmp_path / FILE_NAME).stat().st_ino == before


def test_sinks_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    put(outbox, alert(0), alert(1), sink="gone")
    put(outbox, alert(0))
    assert outbox.keep_only({"hook"}) == {"gone": 2}
    outbox.save()
    assert [entry["sink"] for entry in json.loads((tmp_path / FILE_NAME).read_bytes())["entries"]] == ["hook"]


def test_without_a_disk_it_is_kept_in_memory() -> None:
    outbox = Outbox(None)
    put(outbox, alert(0))
    outbox.save()
    assert outbox.durable is None


def test_a_full_disk_is_said_once_and_heals(tmp_path: Path) -> None:
    script = f"""
import logging
from pathlib import Path
from sinks import alert, over
from sockwatch.export.sinks.notice import notice_of
from sockwatch.export.sinks.outbox import Outbox

logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
folder = Path({str(tmp_path)!r})

def main():
    outbox = Outbox(folder)
    outbox.put("hook", notice_of(alert(0)))
    outbox.save()
    fill()
    for _ in range(3):
        outbox.put("hook", notice_of(over(0)))
        outbox.put("hook", notice_of(alert(1)))
        outbox.save()
    print(outbox.durable, outbox.count("hook"), [e.notice.state.value for e in Outbox(folder).next("hook", 0, 9)[0]])
    free()
    outbox.save()
    print(outbox.durable, [e.notice.state.value for e in Outbox(folder).next("hook", 0, 1)[0]])
    read_only(True)
    outbox.put("hook", notice_of(alert(2)))
    outbox.save()
    print(outbox.durable)
    read_only(False)
    outbox.save()
    print(outbox.durable, Outbox(folder).count("hook"))
"""
    path = tmp_path / FILE_NAME
    assert on_small_disk(tmp_path, script).splitlines() == [
        f"ERROR {path}: No space left on device; alerts are kept in memory until it can be written",
        "False 2 ['firing']",
        f"WARNING {path}: written again",
        "True ['resolved']",
        f"ERROR {path}: Read-only file system; alerts are kept in memory until it can be written",
        "False",
        f"WARNING {path}: written again",
        "True 3",
    ]


def test_a_directory_that_is_not_there_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(tmp_path / "missing")
    put(outbox, alert(0))
    outbox.save()
    assert (outbox.durable, told(outbox)) == (False, [("8080", "firing")])
    assert "No such file or directory" in caplog.text


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"schema": "sockwatch.outbox/9", "entries": []}', b'{"schema":"sockwatch.outbox/1"}', b"\xff"],
)
def test_a_file_that_is_no_outbox_is_set_aside_and_said(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    (tmp_path / FILE_NAME).chmod(0o600)
    outbox = Outbox(tmp_path)
    put(outbox, alert(0))
    outbox.save()
    assert (tmp_path / f"{FILE_NAME}.corrupt").read_bytes() == content
    assert f"set aside as {tmp_path / FILE_NAME}.corrupt" in caplog.text
    assert Outbox(tmp_path).count("hook") == 1


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_damaged_file_never_keeps_it_from_starting(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    place = tmp_path_factory.getbasetemp() / "damaged"
    place.mkdir(exist_ok=True)
    first = Outbox(place)
    put(first, alert(seed), over(seed + 1))
    first.save()
    path, draw = place / FILE_NAME, random.Random(seed)  # noqa: S311 - where to damage a file
    data = bytearray(path.read_bytes())
    if seed % 2:
        del data[draw.randrange(len(data)) :]
    else:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    logging.disable()
    try:
        outbox = Outbox(place)
        assert outbox.count("hook") <= 4
        outbox.next("hook", NOW, 100)
    finally:
        logging.disable(logging.NOTSET)
        path.unlink(missing_ok=True)
