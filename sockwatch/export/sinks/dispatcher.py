"""Hands alerts to the sinks: one thread for each, so that none waits for another, and the poll for none of them."""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from prometheus_client.core import Metric

from sockwatch.clock import Clock
from sockwatch.errors import ConfigError
from sockwatch.export.metrics.family import Family
from sockwatch.export.sinks.alertmanager import Alertmanager
from sockwatch.export.sinks.courier import Courier, Receiver
from sockwatch.export.sinks.hook import GRACE, MOST_HOOKS, Hook
from sockwatch.export.sinks.mistakes import mistakes
from sockwatch.export.sinks.notice import notice_of
from sockwatch.export.sinks.outbox import Outbox
from sockwatch.export.sinks.outcome import Loss, Reason
from sockwatch.export.sinks.state_writer import StateWriter
from sockwatch.export.sinks.tally import Tally
from sockwatch.export.sinks.trial import Trial, trial
from sockwatch.export.sinks.webhook import Webhook
from sockwatch.export.sinks.worker import Work, Worker
from sockwatch.model.alert import Alert, AlertState
from sockwatch.model.settings import AlertmanagerSink, ExecSink, Sink, WebhookSink

KILL_SECONDS = 2.0
"""Of the time to stop, what is left for those that have to be cut off."""
WRITE_SECONDS = 2.0
"""After that, what the last write of the outbox may take."""
DISK_PATIENCE = 10.0
"""Seconds after which a disk that does not answer is treated as one that refuses."""
_HOOK_REASONS = (Reason.PROGRAM, Reason.TIMEOUT, Reason.EXIT_STATUS, Reason.SIGNAL, Reason.STOPPED, Reason.INTERNAL)
_HTTP_REASONS = (
    Reason.NETWORK,
    Reason.TIMEOUT,
    Reason.TLS,
    Reason.TOKEN,
    Reason.REDIRECT,
    Reason.RATE_LIMIT,
    Reason.CLIENT_ERROR,
    Reason.SERVER_ERROR,
    Reason.STOPPED,
    Reason.INTERNAL,
)
_PENDING = Family(
    name="sockwatch_outbox_pending",
    labels=("sink",),
    meaning="Alerts that a sink has not been told of as they are now",
    source="the outbox of sockwatch",
)
_DURABLE = Family(
    name="sockwatch_outbox_write_success",
    meaning="Whether what sinks are to be told would outlive the daemon: 1 if the last write of the outbox succeeded",
    source="the outbox of sockwatch",
)


_log = logging.getLogger(__name__)


def log_error(where: str, error: BaseException | None) -> None:
    """Say that something broke by an error that nobody foresaw."""
    if error is not None:
        _log.error("%s: an error nobody foresaw", where, exc_info=error)


class Dispatcher:
    """Tells sinks of alerts, at least once of how each is now; what is not yet told outlives the daemon.

    `directory` is the state directory, None if there is none. Nothing is sent before start(). `broke` gets what broke
    by an error that nobody foresaw, with the error; with None when it works again. Raises ConfigError where sinks
    cannot be as they are configured.
    """

    def __init__(
        self, sinks: Mapping[str, Sink], directory: Path | None, clock: Clock, *, host: str | None = None,
        grace: float = GRACE, broke: Callable[[str, BaseException | None], None] = log_error,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._host = os.uname().nodename if host is None else host
        self._grace = grace
        self._slots = threading.Semaphore(MOST_HOOKS)
        self._tally = Tally(clock)
        self._broke = broke
        self._outbox = Outbox(directory)
        self._writer = StateWriter(self._outbox.save, self._wake, clock, self._writing_broke)
        self._sinks: dict[str, Sink] = {}
        self._couriers: dict[str, Courier] = {}
        self._alertmanagers: dict[str, list[Alertmanager]] = {}
        self._workers: list[Worker] = []
        self._started = False
        self.configure(sinks)

    def start(self) -> None:
        """Begin to send, what an earlier daemon left first."""
        self._started = True
        self._start_workers()

    def configure(self, sinks: Mapping[str, Sink]) -> None:
        """Go on with these; a sink that keeps its name keeps what waits for it. For the thread that calls take().

        Raises ConfigError, and then nothing has changed.
        """
        wrong = tuple(mistakes(sinks))
        if wrong:
            raise ConfigError(*wrong)
        new = {name: self._made(name, sink) for name, sink in sinks.items() if self._sinks.get(name) != sink}
        for name in self._sinks.keys() - sinks.keys() | new.keys():
            for alertmanager in self._alertmanagers.pop(name, []):
                self._retire(alertmanager)
            if not isinstance(sinks.get(name), ExecSink | WebhookSink) and name in self._couriers:
                self._retire(self._couriers.pop(name))
        for name, made in new.items():
            if isinstance(made, list):
                self._alertmanagers[name] = made
            elif name in self._couriers:
                self._couriers[name].go_on_with(made)
            else:
                self._couriers[name] = Courier(
                    name, made, outbox=self._outbox, clock=self._clock, tally=self._tally, changed=self._writer.ask_soon
                )
        self._sinks = dict(sinks)
        for name, lost in self._outbox.keep_only(self._couriers.keys()).items():
            self._tally.drop(name, Loss.NO_SINK, lost, "there is no such sink any more")
        if self._started:
            self._start_workers()

    def take(self, alerts: Sequence[Alert], due: Sequence[Alert], then: Callable[[], None] | None = None) -> None:
        """All alerts as they are now, and those that hooks and webhooks must be told of now.

        It waits for no sink and no disk. Another thread writes what is due, then has hooks and webhooks told, and then
        calls `then`; of several that come while the disk is slow, the last one only. Where the disk does not answer,
        they are told all the same.
        """
        notices = [notice_of(alert) for alert in due]
        for courier in self._couriers.values():
            courier.take(notices)
        if self._alertmanagers:
            fire = [alert for alert in alerts if alert.state is AlertState.FIRING]
            current = {alert.identity: alert for alert in (*(one for one in fire if one.told), *due)}
            told = [notice_of(_as_told(alert), whole=False) for alert in current.values()]
            quiet = {notice_of(alert, whole=False).identity for alert in fire if not alert.told}
            for alertmanager in self._all_alertmanagers():
                alertmanager.take(told, quiet)
        self._writer.ask(then)
        if self._writer.hangs_for > DISK_PATIENCE:
            self._outbox.go_on_without_disk()
        self._wake()

    def stop(self, deadline: float) -> bool:
        """Let what is under way end, for so many seconds; cut off the rest, and say whether all has ended.

        What is left is written after that, in WRITE_SECONDS at most.
        """
        until = self._clock.monotonic() + deadline
        for worker in self._workers:
            worker.stop()
        self._join(until - min(KILL_SECONDS, deadline / 2))
        for worker in self._workers:
            worker.work.abort()
        self._join(until)
        if not self._writer.stop(WRITE_SECONDS):
            _log.warning("what sinks were told last is not written down: the disk is slow; they may be told again")
        return not any(worker.alive for worker in self._workers)

    def test(self, name: str) -> Trial:
        """Send a test alert to the sink, and wait for what becomes of it. Raises KeyError where there is no such sink.

        A hook or a webhook that wants to know is told of its end too. An Alertmanager is not: it would notify nobody of
        what is over at once, and ends the alert by itself. Nothing is tried twice or kept.
        """
        made = self._made(name, self._sinks[name])
        if isinstance(made, list):
            tells, resolved = [alertmanager.post for alertmanager in made], False
        else:
            tells, resolved = [made.deliver], made.send_resolved
        return trial(name, tells, send_resolved=resolved, host=self._host, clock=self._clock)

    def metrics(self) -> Iterator[Metric]:
        """What became of the notifications, and what waits."""
        reasons = {n: _HOOK_REASONS if isinstance(s, ExecSink) else _HTTP_REASONS for n, s in self._sinks.items()}
        yield from self._tally.metrics(reasons)
        pending = {name: courier.pending for name, courier in self._couriers.items()}
        pending |= {name: max(am.pending for am in each) for name, each in self._alertmanagers.items()}
        yield _PENDING.fill([((name,), pending[name]) for name in self._sinks])
        if self._outbox.durable is not None:
            yield _DURABLE.fill([((), self._outbox.durable)])

    def _made(self, name: str, sink: Sink) -> Receiver | list[Alertmanager]:
        match sink:
            case ExecSink():
                return Hook(name, sink, host=self._host, slots=self._slots, clock=self._clock, grace=self._grace)
            case WebhookSink():
                return Webhook(name, sink, host=self._host, clock=self._clock)
            case AlertmanagerSink():
                return [
                    Alertmanager(name, url, sink, host=self._host, clock=self._clock, tally=self._tally)
                    for url in dict.fromkeys(sink.urls)
                ]

    def _all_alertmanagers(self) -> Iterator[Alertmanager]:
        for each in self._alertmanagers.values():
            yield from each

    def _start_workers(self) -> None:
        self._workers = [worker for worker in self._workers if worker.alive]
        busy = {worker.work for worker in self._workers}
        works: list[Work] = [*self._couriers.values(), *self._all_alertmanagers()]
        self._workers += [Worker(work, partial(self._sink_broke, work.name)) for work in works if work not in busy]

    def _wake(self) -> None:
        for worker in self._workers:
            worker.wake()

    def _sink_broke(self, name: str, error: BaseException | None) -> None:
        if error is not None:
            self._tally.unforeseen(name)
        self._broke(f"sink {name}", error)

    def _writing_broke(self, error: BaseException | None) -> None:
        self._broke("outbox", error)
        if error is not None:
            self._outbox.go_on_without_disk()
            self._wake()

    def _retire(self, work: Work) -> None:
        for worker in self._workers:
            if worker.work is work:
                worker.stop()

    def _join(self, until: float) -> None:
        for worker in self._workers:
            worker.join(max(until - self._clock.monotonic(), 0.0))


def _as_told(alert: Alert) -> Alert:
    """With the severity that hooks and webhooks know: what wobbles is one alert for Alertmanager too."""
    return replace(alert, severity=alert.told_severity or alert.severity)
