import threading
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.sources import LEAK, Looks, SteppedClock, health, leaking, setup
from sinks import eventually
from sockwatch.daemon import poller as under_test
from sockwatch.daemon.health import Part
from sockwatch.daemon.poller import ALERTS, Poller
from sockwatch.errors import DumpError, UsageError
from sockwatch.export.alerts.book import AlertBook
from sockwatch.export.alerts.state import decode
from sockwatch.export.history.database import Database
from sockwatch.export.web.published import Published
from sockwatch.model.alert import AlertState
from sockwatch.model.report import Status
from sockwatch.model.settings import AlertSettings, DaemonSettings, ExecSink, PollSettings, WebhookSink
from sockwatch.model.state import State
from sockwatch.pipeline import Source


class Setting:
    """A poller with all that it works with."""

    def __init__(self, settings: DaemonSettings | None = None, state: Path | None = None) -> None:
        self.clock = SteppedClock()
        self.looks = Looks(leaking(), self.clock)
        self.health = health()
        self.asked: list[str] = []
        self.poller = Poller(setup(settings), source_of=self._source, clock=self.clock, health=self.health, state=state)

    def _source(self, netns: str) -> Source:
        self.asked.append(netns)
        return self.looks

    def poll(self) -> Published:
        self.clock.now += 10
        return self.poller.poll()


def samples(published: Published) -> dict[str, str]:
    lines = published.exposition.text.decode().splitlines()
    return {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in lines if not line.startswith("#")}


def test_a_poll_has_report_alerts_and_page() -> None:
    here = Setting()
    first = here.poll()
    last = [here.poll() for _ in range(4)][-1]
    assert (first.poll.number, last.poll.number) == (1, 5)
    assert (last.poll.time, last.poll.monotonic) == (1_700_100_050.0, 100_050.0)
    (finding,) = last.poll.report.findings
    assert finding.count == LEAK
    assert [str(alert.state) for alert in first.poll.alerts] == ["pending"]
    assert [str(alert.state) for alert in last.poll.alerts] == ["firing"]
    assert samples(last)['sockwatch_findings{code="close_wait_leak",severity="warning"}'] == "1.0"
    assert samples(last)['sockwatch_alerts{state="firing"}'] == "1.0"
    assert samples(last)["sockwatch_polls_total"] == "5.0"


def test_after_a_look_that_fails_the_next_one_comes() -> None:
    here = Setting()
    before = here.poll()
    here.looks.error = DumpError("the kernel refused the dump")
    failed = here.poll()
    assert (failed.poll.success, failed.poll.snapshot, failed.poll.report.status) == (False, None, Status.UNKNOWN)
    assert failed.poll.report.gaps[0].why == "the kernel refused the dump"
    assert {alert.identity for alert in before.poll.alerts} < {alert.identity for alert in failed.poll.alerts}
    told = samples(failed)
    assert (told["sockwatch_poll_success"], told["sockwatch_polls_failed_total"]) == ("0.0", "1.0")
    assert not [name for name in told if name.startswith("sockwatch_sockets{")]
    here.looks.error = None
    assert here.poll().poll.success


def test_a_namespace_that_is_gone_is_a_look_that_failed() -> None:
    here = Setting()
    here.looks.error = UsageError("no network namespace blue")
    assert [gap.what for gap in here.poll().poll.report.gaps] == ["namespace"]
    assert here.health.errors.total() == 0


def test_an_error_nobody_foresaw_ends_nothing_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    here = Setting()
    here.looks.error = ZeroDivisionError("surprise")
    failed = [here.poll(), here.poll()]
    assert [one.poll.report.status for one in failed] == [Status.UNKNOWN] * 2
    assert here.health.errors == {Part.LOOK: 2}
    assert samples(failed[1])['sockwatch_internal_errors_total{part="look"}'] == "2.0"
    assert len([record for record in caplog.records if record.exc_info]) == 1
    here.looks.error = None
    assert here.poll().poll.success
    here.looks.error = ZeroDivisionError("surprise")
    here.poll()
    assert len([record for record in caplog.records if record.exc_info]) == 2


def test_a_page_that_cannot_be_made_takes_nothing_else_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Setting()

    def broken(*_: object) -> None:
        raise KeyError("label")

    with monkeypatch.context() as patched:
        patched.setattr(under_test, "render", broken)
        first = here.poll()
        second = here.poll()
    assert (first.poll.success, len(second.poll.alerts)) == (True, 1)
    assert samples(second)['sockwatch_internal_errors_total{part="metrics"}'] == "2.0"
    assert "sockwatch_poll_success" not in samples(second)  # nothing of an older poll
    assert samples(here.poll())["sockwatch_poll_success"] == "1.0"


def test_broken_alerts_take_nothing_else_with_them_and_resolve_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Setting()
    here.poll()

    def broken(*_: object, **__: object) -> None:
        raise KeyError("alert")

    with monkeypatch.context() as patched:
        patched.setattr(AlertBook, "take", broken)
        assert here.poll().poll.report.status is Status.WARNING
    assert here.health.errors == {Part.ALERTS: 1}
    assert len(here.poll().poll.alerts) == 1


@pytest.mark.parametrize("ignored", ["close_wait_leak", "close_wait_leak/not_closed"])
def test_what_is_ignored_is_neither_told_nor_counted(ignored: str) -> None:
    here = Setting(DaemonSettings(poll=PollSettings(ignore=(ignored,))))
    assert (here.poll().poll.report.findings, here.poll().poll.report.status) == ((), Status.OK)


def test_other_settings_hold_from_the_next_poll_on_and_nothing_is_forgotten() -> None:
    here = Setting()
    (pending,) = here.poll().poll.alerts
    patient = DaemonSettings(alerts=AlertSettings(for_=3600.0), poll=PollSettings(interval=5.0))
    here.poller.go_on_with(setup(patient))
    last = [here.poll() for _ in range(5)][-1]
    assert last.poll.interval == 5.0
    (alert,) = last.poll.alerts
    assert (str(alert.state), alert.began) == ("pending", pending.began)
    assert here.asked == ["all"]
    here.poller.go_on_with(setup(DaemonSettings(poll=PollSettings(namespaces="blue"))))
    assert here.asked == ["all", "blue"]
    assert here.poll().poll.alerts[0].began == pending.began


def test_settings_that_cannot_be_used_change_nothing() -> None:
    here = Setting()
    wrong = DaemonSettings(sinks={"x": WebhookSink(url="ftp://x")}, poll=PollSettings(interval=5.0))
    with pytest.raises(UsageError, match="sinks"):
        here.poller.go_on_with(setup(wrong))
    assert here.poll().poll.interval == 10.0


def test_a_detector_that_is_ignored_as_a_whole_asks_for_nothing() -> None:
    ignoring = DaemonSettings(poll=PollSettings(ignore=("dead_peer",)))
    watched = under_test._watched(setup(ignoring, detectors=("dead_peer", "close_wait_leak")))  # noqa: SLF001 - what it looks for is seen nowhere else
    assert list(watched) == ["close_wait_leak"]


def test_while_the_disk_hangs_polls_go_on_and_afterwards_the_newest_state_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = threading.Event(), threading.Semaphore(0)

    def fsync(_file: int) -> None:
        asked.release()
        assert answers.wait(60)

    monkeypatch.setattr("sockwatch.export.state_file.os.fsync", fsync)
    told = ExecSink(command=("/bin/sh", "-c", f"echo $SOCKWATCH_STATUS >> {tmp_path}/told"))
    here = Setting(DaemonSettings(sinks={"hook": told}), tmp_path)
    here.poller.start()
    here.poll()
    assert asked.acquire(timeout=20)
    polls = [here.poll() for _ in range(50)]
    assert [str(alert.state) for alert in polls[-1].poll.alerts] == ["firing"]
    assert samples(polls[-1])["sockwatch_outbox_write_success"] == "0.0"
    assert not (tmp_path / ALERTS).exists()
    eventually((tmp_path / "told").exists)
    answers.set()
    here.poller.stop(20)
    (alert,) = decode((tmp_path / ALERTS).read_bytes()).alerts.values()
    assert alert.state is AlertState.FIRING
    assert (tmp_path / "told").read_text() == "firing\n"


def test_a_look_that_the_history_cannot_keep_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("look")

    monkeypatch.setattr(Database, "write", broken)
    here = Setting(state=tmp_path)
    here.poller.start()
    here.poll()
    eventually(lambda: here.health.errors == {Part.HISTORY: 1})
    here.poller.stop(20)


def test_a_poll_is_as_long_as_its_look() -> None:
    here = Setting()
    here.looks.takes = 2.5
    assert here.poll().poll.took == 2.5


class BusySetting(Setting):
    """The looks take all of a core."""

    def __init__(self) -> None:
        super().__init__(DaemonSettings(poll=PollSettings(interval=10.0, seconds=1e6)))
        self.clock.cpu = lambda: self.clock.now  # type: ignore[method-assign] # this clock is for one test


def test_looks_that_cost_too_much_come_less_often_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    here = BusySetting()
    polls = [here.poll() for _ in range(20)]
    assert [message for message in caplog.messages if "costs" in message] == [
        f"looking costs more than it may: interval_{times}" for times in ("doubled", "fourfold", "eightfold")
    ]
    assert polls[0].poll.interval == 10.0
    assert polls[-1].poll.interval == 80.0
    told = samples(polls[-1])
    assert told["sockwatch_poll_interval_seconds"] == "80.0"
    assert told['sockwatch_poll_reduced{step="interval_doubled"}'] == "1.0"
    assert told['sockwatch_poll_reduced{step="time_wait_counted"}'] == "0.0"
    assert float(told["sockwatch_poll_cpu_seconds_total"]) > 0
    here.looks.error = DumpError("the kernel refused the dump")
    failed = here.poll()
    assert failed.poll.interval == 80.0
    assert "sockwatch_poll_cpu_seconds_total" in samples(failed)


def test_an_alert_goes_on_while_its_sockets_are_not_read() -> None:
    here = Setting()
    firing = [here.poll() for _ in range(5)][-1]
    assert [str(alert.state) for alert in firing.poll.alerts] == ["firing"]
    (space,) = here.looks.next.namespaces
    here.looks.next = replace(
        here.looks.next,
        sockets=here.looks.next.sockets.in_state(State.LISTEN),
        namespaces=(replace(space, counted={State.CLOSE_WAIT: LEAK}),),
    )
    unread = [here.poll() for _ in range(50)][-1]
    assert not unread.poll.report.findings
    assert [str(alert.state) for alert in unread.poll.alerts] == ["firing"]
