import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from reports import leak, report
from sinks import FIRED, FakeClock, WebReceiver, alert, eventually, over
from sockwatch.clock import SystemClock
from sockwatch.export.alerts.book import AlertBook
from sockwatch.export.sinks.dispatcher import DISK_PATIENCE, Dispatcher
from sockwatch.export.sinks.notice import instant
from sockwatch.export.sinks.outbox import FILE_NAME
from sockwatch.model.alert import Alert, AlertState
from sockwatch.model.finding import Severity
from sockwatch.model.settings import AlertmanagerSink, AlertSettings, ExecSink, Sink, WebhookSink

Start = Callable[[dict[str, Sink]], Dispatcher]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a dispatcher, and let it end with the test."""
    started: list[Dispatcher] = []

    def begin(sinks: dict[str, Sink]) -> Dispatcher:
        dispatcher = Dispatcher(sinks, tmp_path, SystemClock(), host="web1", grace=0.2)
        dispatcher.start()
        started.append(dispatcher)
        return dispatcher

    yield begin
    for dispatcher in started:
        assert dispatcher.stop(0.2) or dispatcher.stop(20)


def tell(dispatcher: Dispatcher, *alerts: Alert) -> None:
    """One poll in which all of these are due; they are on the disk when this returns."""
    written = threading.Event()
    dispatcher.take(alerts, alerts, written.set)
    assert written.wait(20)


def shell(script: str) -> ExecSink:
    return ExecSink(command=("/bin/sh", "-c", script))


def hanging(never: threading.Event) -> WebReceiver:
    """Takes a request and leaves it unanswered."""

    def script(_: socket.socket) -> None:
        never.wait(30)

    return WebReceiver(script=script)


def waiting(folder: Path) -> list[tuple[str, str]]:
    """What the outbox has on disk: sink and state."""
    entries = json.loads((folder / FILE_NAME).read_bytes())["entries"]
    return [(entry["sink"], entry["notice"]["state"]) for entry in entries]


def metrics(dispatcher: Dispatcher) -> dict[str, float]:
    """Those that are not 0."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in dispatcher.metrics()
        for sample in family.samples
        if sample.value
    }


def states(receiver: WebReceiver) -> list[tuple[str, str]]:
    return [(a["labels"]["local"][-4:], a["status"]) for post in receiver.posts for a in post.body["alerts"]]


def test_every_sink_is_told(start: Start, tmp_path: Path, receiver: WebReceiver) -> None:
    with WebReceiver() as alertmanager:
        told = tmp_path / "told"
        dispatcher = start(
            {
                "script": shell(f"echo $SOCKWATCH_STATUS $SOCKWATCH_COUNT >> {told}"),
                "chat": WebhookSink(url=receiver.url),
                "am": AlertmanagerSink(urls=(f"http://127.0.0.1:{alertmanager.port}/prefix/",)),
            }
        )
        tell(dispatcher, alert())
        eventually(lambda: told.exists() and receiver.posts and alertmanager.posts)
        tell(dispatcher, over())
        eventually(lambda: told.read_text() == "firing 23\nresolved 23\n")
        eventually(lambda: len(receiver.posts) == 2 and len(alertmanager.posts) == 2)
        assert states(receiver) == [("8080", "firing"), ("8080", "resolved")]
        assert alertmanager.posts[0].path == "/prefix/api/v2/alerts"
        eventually(lambda: waiting(tmp_path) == [])
        eventually(lambda: metrics(dispatcher).get("sockwatch_notifications_total am") == 2)
    shown = metrics(dispatcher)
    assert not any("failed" in name or "pending" in name for name in shown)
    assert shown["sockwatch_outbox_write_success"] == 1


def test_what_is_due_is_on_the_disk_and_waits_for_no_sink(start: Start, tmp_path: Path) -> None:
    never = threading.Event()
    with hanging(never) as silent:
        dispatcher = start({"chat": WebhookSink(url=silent.url), "script": shell("sleep 1000")})
        for number in range(5):
            tell(dispatcher, alert(number), replace(alert(9), state=AlertState.FIRING))
            assert ("chat", "firing") in waiting(tmp_path)
            assert ("script", "firing") in waiting(tmp_path)
        never.set()


def test_what_was_not_told_is_told_after_a_restart(start: Start, tmp_path: Path, receiver: WebReceiver) -> None:
    sinks: dict[str, Sink] = {"chat": WebhookSink(url=receiver.url)}
    first = Dispatcher(sinks, tmp_path, SystemClock())
    tell(first, alert(0), over(1))
    second = start(sinks)
    eventually(lambda: len(receiver.posts) == 2)
    assert states(receiver) == [("8080", "firing"), ("8081", "resolved")]
    eventually(lambda: waiting(tmp_path) == [])
    assert second.stop(5)
    start(sinks)
    assert len(receiver.posts) == 2


def test_one_hook_at_a_time_and_the_newest_state(start: Start, tmp_path: Path) -> None:
    script = f"""cd {tmp_path}; mkdir lock || touch broken; echo $SOCKWATCH_LOCAL $SOCKWATCH_STATUS >> told
        while [ ! -e go ]; do sleep 0.01; done; rmdir lock"""
    dispatcher = start({"script": shell(script)})
    tell(dispatcher, alert(0))
    eventually((tmp_path / "told").exists)
    tell(dispatcher, over(0), alert(1))
    tell(dispatcher, alert(0), over(1))
    tell(dispatcher, over(0))
    (tmp_path / "go").touch()
    eventually(lambda: waiting(tmp_path) == [])
    assert (tmp_path / "told").read_text() == "10.0.0.1:8080 firing\n10.0.0.1:8080 resolved\n10.0.0.1:8081 resolved\n"
    assert not (tmp_path / "broken").exists()


def test_silenced_and_pending_alerts_are_posted_to_no_alertmanager(start: Start, receiver: WebReceiver) -> None:
    dispatcher = start({"am": AlertmanagerSink(urls=(f"http://127.0.0.1:{receiver.port}",))})
    quiet = [
        alert(1, silenced_by="planned work"),
        alert(2, inhibited_by=alert(0).identity),
        alert(3, state=AlertState.PENDING, fired=None),
        alert(4, state=AlertState.PENDING),
    ]
    dispatcher.take([alert(0), *quiet], [])
    eventually(lambda: receiver.posts)
    assert [one["labels"]["local"] for one in receiver.posts[0].body] == ["10.0.0.1:8080"]
    end = over(0, silenced_by="planned work")
    dispatcher.take([end, *quiet], [end])
    eventually(lambda: len(receiver.posts) == 2)
    (told,) = receiver.posts[1].body
    assert told["endsAt"] == "2023-11-14T22:23:50.000Z", "who was told that it fires is told that it is over"


def test_a_reload_goes_on_with_what_waits(start: Start, tmp_path: Path, receiver: WebReceiver) -> None:
    gone: dict[str, Sink] = {
        "chat": WebhookSink(url="http://127.0.0.1:1/"),
        "old": WebhookSink(url="http://127.0.0.1:1/"),
        "am": AlertmanagerSink(urls=("http://127.0.0.1:1",)),
    }
    dispatcher = start(gone)
    tell(dispatcher, alert())
    eventually(lambda: metrics(dispatcher).get("sockwatch_notifications_failed_total chat network"))
    assert metrics(dispatcher)["sockwatch_outbox_pending am"] == 1
    with WebReceiver() as alertmanager:
        url = f"http://127.0.0.1:{alertmanager.port}"
        dispatcher.configure({"chat": WebhookSink(url=receiver.url), "am": AlertmanagerSink(urls=(url,))})
        eventually(lambda: states(receiver) == [("8080", "firing")])
        dispatcher.take([alert()], [])
        eventually(lambda: alertmanager.posts)
        eventually(lambda: waiting(tmp_path) == [])
        assert not any(name.endswith(" old") for name in metrics(dispatcher))
        dispatcher.configure({"am": shell(f"touch {tmp_path}/told")})
        tell(dispatcher, alert())
        eventually((tmp_path / "told").exists)
        dispatcher.configure({})
        tell(dispatcher, alert())
    assert waiting(tmp_path) == []
    assert metrics(dispatcher) == {"sockwatch_outbox_write_success": 1}


def test_a_reload_that_changes_nothing_cuts_nothing_off(start: Start, tmp_path: Path) -> None:
    sinks: dict[str, Sink] = {"script": shell(f"cd {tmp_path}; echo >> told; while [ ! -e go ]; do sleep 0.01; done")}
    dispatcher = start(sinks)
    tell(dispatcher, alert())
    eventually((tmp_path / "told").exists)
    for _ in range(20):
        dispatcher.configure(dict(sinks))
    (tmp_path / "go").touch()
    eventually(lambda: waiting(tmp_path) == [])
    assert (tmp_path / "told").read_text() == "\n"


def test_a_reload_that_changes_nothing_forgets_nothing(start: Start) -> None:
    sinks: dict[str, Sink] = {"am": AlertmanagerSink(urls=("http://127.0.0.1:1",))}
    dispatcher = start(sinks)
    tell(dispatcher, over())
    dispatcher.configure(dict(sinks))
    assert metrics(dispatcher)["sockwatch_outbox_pending am"] == 1


def test_after_a_reload_the_threads_of_what_is_gone_end(start: Start) -> None:
    def threads() -> set[str]:
        return {thread.name for thread in threading.enumerate() if thread.name.startswith("sink ")}

    dispatcher = start({"am": AlertmanagerSink(urls=("http://127.0.0.1:1",)), "script": shell("exit 0")})
    assert threads() == {"sink am", "sink script"}
    dispatcher.configure({})
    eventually(lambda: not threads())


def test_an_alertmanager_hears_that_a_warning_is_over_when_it_is_critical(start: Start, receiver: WebReceiver) -> None:
    dispatcher = start({"am": AlertmanagerSink(urls=(f"http://127.0.0.1:{receiver.port}",))})
    dispatcher.take([alert()], [])
    eventually(lambda: receiver.posts)
    dispatcher.take([alert(severity=Severity.CRITICAL)], [])
    eventually(lambda: len(receiver.posts) == 2)
    ends = {one["labels"]["severity"]: one["endsAt"] for one in receiver.posts[1].body}
    assert ends["warning"] < ends["critical"]


def test_an_alertmanager_does_not_hear_of_every_wobble(start: Start, receiver: WebReceiver) -> None:
    dispatcher = start({"am": AlertmanagerSink(urls=(f"http://127.0.0.1:{receiver.port}",))})
    book = AlertBook(AlertSettings(for_=0))
    for number in range(8):
        severity = Severity.CRITICAL if number % 2 else Severity.WARNING
        seen = report(replace(leak(), severity=severity))
        took = book.take(seen, success=True, time=FIRED + number, monotonic=1000.0 + number)
        dispatcher.take(took.alerts, took.due)
        eventually(lambda: not metrics(dispatcher).get("sockwatch_outbox_pending am"))
    told = [{one["labels"]["severity"] for one in post.body} for post in receiver.posts]
    assert told == [{"warning"}, {"warning", "critical"}]


def test_it_stops_when_nothing_is_to_do(start: Start) -> None:
    dispatcher = start({"script": shell("exit 0"), "am": AlertmanagerSink(urls=("http://127.0.0.1:1",))})
    before = threading.active_count()
    assert dispatcher.stop(20)
    assert threading.active_count() == before - 2


def test_it_stops_amid_a_hook_and_tells_later(start: Start, tmp_path: Path) -> None:
    script = f"trap '' TERM; echo $$ > {tmp_path}/pid; sleep 1000; sleep 1000"
    dispatcher = start({"script": shell(script)})
    tell(dispatcher, alert())
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    assert dispatcher.stop(0.1) or dispatcher.stop(20)
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
    assert waiting(tmp_path) == [("script", "firing")]


def test_it_stops_amid_a_post_and_tells_later(start: Start, tmp_path: Path) -> None:
    never = threading.Event()
    with hanging(never) as silent:
        base = f"http://127.0.0.1:{silent.port}"
        dispatcher = start({"chat": WebhookSink(url=silent.url), "am": AlertmanagerSink(urls=(base,))})
        tell(dispatcher, alert())
        eventually(lambda: silent.posts)
        assert dispatcher.stop(0.1) or dispatcher.stop(20)
        never.set()
    assert waiting(tmp_path) == [("chat", "firing")]


def test_what_is_under_way_may_end(start: Start, tmp_path: Path) -> None:
    dispatcher = start({"script": shell(f"cd {tmp_path}; touch begun; while [ ! -e go ]; do sleep 0.01; done")})
    tell(dispatcher, alert(0), alert(1))
    eventually((tmp_path / "begun").exists)
    threading.Timer(0.1, (tmp_path / "go").touch).start()
    assert dispatcher.stop(30)
    assert waiting(tmp_path) == [("script", "firing")], "the first was told, the second not begun"


def test_an_error_nobody_foresaw_is_not_the_end(
    start: Start, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("sockwatch.export.sinks.webhook.message", broken)
        dispatcher = start({"chat": WebhookSink(url=receiver.url)})
        tell(dispatcher, alert())
        eventually(lambda: "sink chat: an error nobody foresaw" in caplog.text)
    tell(dispatcher, alert(1))
    eventually(lambda: states(receiver) == [("8080", "firing"), ("8081", "firing")])


class HangingDisk:
    """fsync() returns when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = threading.Event()
        self.asked = threading.Semaphore(0)
        monkeypatch.setattr("sockwatch.export.state_file.os.fsync", self._fsync)

    def _fsync(self, _file: int) -> None:
        self.asked.release()
        assert self.answers.wait(60)


def test_a_disk_that_hangs_holds_up_nobody_and_before_long_sinks_are_told_all_the_same(
    tmp_path: Path, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk, clock = HangingDisk(monkeypatch), FakeClock()
    saved: list[int] = []
    dispatcher = Dispatcher({"chat": WebhookSink(url=receiver.url)}, tmp_path, clock, host="web1")
    dispatcher.start()
    dispatcher.take([alert()], [alert()], lambda: saved.append(0))
    assert disk.asked.acquire(timeout=20)
    for number in range(1, 100):
        dispatcher.take([], [], lambda n=number: saved.append(n))  # type: ignore[misc] # the default binds it
    assert metrics(dispatcher)["sockwatch_outbox_pending chat"] == 1, "it may be on the disk before long"
    clock.now += DISK_PATIENCE + 1
    dispatcher.take([alert(1)], [alert(1)], lambda: saved.append(100))
    eventually(lambda: len(states(receiver)) == 2)
    assert "sockwatch_outbox_write_success" not in metrics(dispatcher)
    assert caplog.text.count("the disk does not answer") == 1
    assert (receiver.posts[0].body["status"], saved) == ("firing", [])
    assert not dispatcher.stop(0.1) or "may be told again" in caplog.text
    disk.answers.set()
    assert dispatcher.stop(20)
    eventually(lambda: waiting(tmp_path) == [])
    assert saved == [0, 100]
    assert metrics(dispatcher)["sockwatch_outbox_write_success"] == 1


def test_nothing_is_told_before_the_disk_has_it(
    tmp_path: Path, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = Dispatcher({"chat": WebhookSink(url=receiver.url)}, tmp_path, FakeClock(), host="web1")
    dispatcher.start()
    disk = HangingDisk(monkeypatch)
    dispatcher.take([alert()], [alert()])
    assert disk.asked.acquire(timeout=20)
    dispatcher.take([alert(1)], [alert(1)])
    assert not threading.Event().wait(0.1)
    assert not receiver.posts
    disk.answers.set()
    eventually(lambda: len(states(receiver)) == 2)
    assert dispatcher.stop(20)


def test_an_error_nobody_foresaw_is_counted_and_told_to_who_asked(
    receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str]] = []
    surprise = ZeroDivisionError("surprise")

    def broken(*_: object) -> None:
        raise surprise

    dispatcher = Dispatcher(
        {"chat": WebhookSink(url=receiver.url)},
        None,
        SystemClock(),
        broke=lambda where, error: told.append((where, repr(error))),
    )
    dispatcher.start()
    with monkeypatch.context() as patch:
        patch.setattr("sockwatch.export.sinks.webhook.message", broken)
        dispatcher.take([alert()], [alert()])
        eventually(lambda: told)
    dispatcher.take([alert(1)], [alert(1)])
    eventually(lambda: told[-1] == ("sink chat", "None"))
    assert set(told[:-1]) == {("sink chat", repr(surprise))}  # as often as it was tried meanwhile
    assert metrics(dispatcher)["sockwatch_notifications_failed_total chat internal"] == len(told) - 1
    assert dispatcher.stop(20)


@pytest.mark.needs_program("promtool")
def test_metrics_are_there_at_zero_and_lint_clean(tmp_path: Path) -> None:
    sinks: dict[str, Sink] = {"script": shell("exit 0"), "chat": WebhookSink(url="http://127.0.0.1:1/")}
    dispatcher = Dispatcher(sinks, tmp_path, SystemClock())

    class Collector:
        def collect(self) -> Iterator[Metric]:
            return dispatcher.metrics()

    registry = CollectorRegistry()
    registry.register(Collector())
    text = generate_latest(registry)
    assert b'sockwatch_notifications_total{sink="chat"} 0.0' in text
    assert b'sockwatch_notifications_failed_total{reason="timeout",sink="script"} 0.0' in text
    assert b'sockwatch_outbox_pending{sink="script"} 0.0' in text
    subprocess.run(["promtool", "check", "metrics"], input=text, check=True)


KILLED = """
import os, random, select, signal, sys, threading
from pathlib import Path
from reports import leak, report
from sinks import FIRED, alert, over
from sockwatch.clock import SystemClock
from sockwatch.export.alerts.book import AlertBook
from sockwatch.export.sinks.dispatcher import DISK_PATIENCE, Dispatcher
from sockwatch.model.settings import ExecSink, WebhookSink

folder, url, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
sinks = {
    "chat": WebhookSink(url=url),
    "script": ExecSink(command=("/bin/sh", "-c", f'cat > {folder}/told.$$ && mv {folder}/told.$$ {folder}/told/$$')),
}
number = 0
for _ in range(rounds):
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        dispatcher = Dispatcher(sinks, Path(folder), SystemClock(), host="web1")
        dispatcher.start()
        written = threading.Semaphore(0)
        while True:
            number += 1
            one = (alert if number % 2 else over)(number % 3, fired=FIRED + number, count=number)
            dispatcher.take([one], [one], written.release)
            written.acquire()
            os.write(theirs, b"%9d\\n" % number)
    os.close(theirs)
    for _ in range(random.randrange(1, 20)):
        number = int(os.read(ours, 10))
    select.select([], [], [], random.random() / 50)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while line := os.read(ours, 10):
        number = int(line)
    os.close(ours)
print(number)
"""


def test_killed_at_any_time_no_last_word_is_lost(start: Start, tmp_path: Path, receiver: WebReceiver) -> None:
    (tmp_path / "told").mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), receiver.url, "12"],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    last = int(ended.stdout)
    assert not (tmp_path / f"{FILE_NAME}.corrupt").exists()
    waiting(tmp_path)
    start({"chat": WebhookSink(url=receiver.url), "script": shell(f"cat > {tmp_path}/told/last.$$")})
    eventually(lambda: waiting(tmp_path) == [])
    by_alert: dict[str, list[str]] = {}
    for post in receiver.posts:
        for one in post.body["alerts"]:
            by_alert.setdefault(one["labels"]["local"], []).append(one["startsAt"])
    for number in range(last - 2, last + 1):
        told = by_alert[f"10.0.0.1:{8080 + number % 3}"]
        assert told == sorted(told), "never an older state after a newer"
        assert told[-1] >= instant_of(number)
    heard = [json.loads(path.read_text()) for path in (tmp_path / "told").iterdir() if path.stat().st_size]
    for number in range(last - 2, last + 1):
        local = f"10.0.0.1:{8080 + number % 3}"
        assert max(one["count"] for one in heard if one["subject"]["local"] == local) >= number


def instant_of(number: int) -> str:
    return instant(FIRED + number)
