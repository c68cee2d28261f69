"""One poll: look, then hand what was seen to everybody who does something with it."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.core import Metric

from sockwatch.clock import Clock
from sockwatch.daemon.finding_log import FindingLog
from sockwatch.daemon.health import UNFORESEEN, Health, Part
from sockwatch.diagnose.detector import Detector
from sockwatch.errors import DumpError, UsageError
from sockwatch.export.alerts.book import AlertBook
from sockwatch.export.history.store import Store
from sockwatch.export.metrics.exposition import Exposition, expose
from sockwatch.export.metrics.page import render
from sockwatch.export.sinks.dispatcher import WRITE_SECONDS, Dispatcher, log_error
from sockwatch.export.web.published import Published
from sockwatch.model.effort import Effort, Step
from sockwatch.model.poll import Poll
from sockwatch.model.report import Report
from sockwatch.model.settings import DaemonSettings
from sockwatch.model.snapshot import Gap, Snapshot
from sockwatch.pipeline import Pipeline, Source, failed_report, status_of

T = TypeVar("T")

ALERTS, HISTORY = "alerts.json", "history.db"
"""In the state directory."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the daemon was told: by the config file, and by options, which win."""

    detectors: Mapping[str, Detector[Any]]
    settings: DaemonSettings


class Poller:
    """All that is called once a poll, on one thread. `source_of` gives the source for [poll] namespaces.

    `more` are metrics of parts that this one does not call.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        source_of: Callable[[str], Source],
        clock: Clock,
        health: Health,
        state: Path | None = None,
        more: Callable[[], Iterable[Metric]] = tuple,
    ) -> None:
        self._setup = setup
        self._source_of = source_of
        self._clock = clock
        self._health = health
        self._more = more
        self._findings = FindingLog()
        self._steps: tuple[Step, ...] = ()
        self._source = source_of(setup.settings.poll.namespaces)
        self._pipeline = Pipeline(self._source, _watched(setup), clock, watching=True, limits=setup.settings.poll)
        self._book = AlertBook(setup.settings.alerts, state and state / ALERTS)
        self._dispatcher = open_dispatcher(setup.settings, state, clock, health.listener(Part.SINKS))
        history_broke = partial(health.listener(Part.HISTORY), "writing")
        self._store = None if state is None else Store(state / HISTORY, setup.settings.history, history_broke)

    def start(self) -> None:
        """Let the sinks begin, with what an earlier daemon could not tell them, and the history."""
        self._dispatcher.start()
        if self._store is not None:
            self._store.start()

    def stop(self, within: float) -> None:
        """Let the sinks end within so many seconds, and what is written in WRITE_SECONDS after that."""
        until = self._clock.monotonic() + within + WRITE_SECONDS
        if not self._dispatcher.stop(within):
            _log.warning("a sink did not end in time and is left behind")
        left = min(until - self._clock.monotonic(), WRITE_SECONDS)
        if self._store is not None and not self._store.stop(max(left, 0.0)):
            _log.warning("the last looks are missing in the history: the disk is slow")

    def go_on_with(self, setup: Setup) -> None:
        """From the next poll on these settings; what is known of sockets and alerts stays.

        Raises UsageError, and then goes on with the old ones.
        """
        source = self._source
        if setup.settings.poll.namespaces != self._setup.settings.poll.namespaces:
            source = self._source_of(setup.settings.poll.namespaces)
        try:
            self._dispatcher.configure(setup.settings.sinks)
        except ValueError as error:
            raise UsageError(f"[sinks] {error}") from None
        self._source = source
        self._pipeline.go_on_with(source, _watched(setup), setup.settings.poll)
        self._book.configure(setup.settings.alerts)
        if self._store is not None:
            self._store.configure(setup.settings.history)
        self._setup = setup

    def poll(self) -> Published:
        """The whole round; a look that fails, for whatever reason, is a poll without success."""
        time, monotonic = self._clock.unixtime(), self._clock.monotonic()
        report, snapshot = self._guard(Part.LOOK, self._look) or (self._blind("internal error", UNFORESEEN), None)
        ended = self._clock.monotonic()
        self._tell_of_steps(report.effort)
        self._health.polls += 1
        self._health.failed += snapshot is None
        success = snapshot is not None
        self._guard(Part.LOG, lambda: self._findings.take(report, success=success, monotonic=monotonic))
        alerts = self._guard(
            Part.ALERTS, lambda: self._book.take(report, success=success, time=time, monotonic=monotonic)
        )
        poll = Poll(
            number=self._health.polls,
            time=time,
            monotonic=monotonic,
            ended=ended,
            interval=self._setup.settings.poll.interval if report.effort is None else report.effort.interval,
            report=report,
            snapshot=snapshot,
            alerts=alerts.alerts if alerts else (),
        )
        if alerts is not None:
            # The book after the outbox: killed in between, the next start tells once more, and never not at all.
            save = partial(self._book.save, self._book.memory)
            self._guard(Part.SINKS, lambda: self._dispatcher.take(alerts.alerts, alerts.due, save))
        if self._store is not None:
            self._guard(Part.HISTORY, partial(self._store.take, poll))
        return Published(poll=poll, exposition=self._render(poll))

    def _tell_of_steps(self, effort: Effort | None) -> None:
        steps = () if effort is None else effort.steps
        for step in set(steps).symmetric_difference(self._steps):
            taken, done = (logging.WARNING, "costs") if step in steps else (logging.INFO, "no longer costs")
            _log.log(taken, "looking %s more than it may: %s", done, step.label)
        self._steps = steps

    def _render(self, poll: Poll) -> Exposition:
        def page() -> Exposition:
            ours = (self._health.metrics(), self._book.metrics(), self._dispatcher.metrics())
            more = chain(*ours, self._store.metrics() if self._store else (), self._more())
            return render(poll, self._setup.settings.metrics, more)

        # What is wrong with the page cannot be on it; what is counted about that can.
        return self._guard(Part.METRICS, page) or expose(self._health.metrics())

    def _look(self) -> tuple[Report, Snapshot | None]:
        try:
            report = self._pipeline.step()
        except DumpError as error:
            return self._blind("dump", str(error)), None
        except UsageError as error:  # the namespace is not there, or may not be entered
            return self._blind("namespace", str(error)), None
        ignored = {*self._setup.settings.poll.ignore}
        findings = tuple(f for f in report.findings if not ignored & {f.code, f.name})
        return replace(report, findings=findings, status=status_of(findings, report.gaps)), self._pipeline.snapshot

    def _blind(self, what: str, why: str) -> Report:
        return replace(failed_report(Gap(what=what, why=why), self._clock), effort=self._pipeline.effort)

    def _guard(self, part: Part, function: Callable[[], T]) -> T | None:
        """What the function returns; None after an error nobody foresaw, which must not end the watching."""
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - one broken exporter must not blind the others; logged and counted
            self._health.broke(part, error)
            return None
        self._health.works(part)
        return result


def open_dispatcher(
    settings: DaemonSettings,
    state: Path | None,
    clock: Clock,
    broke: Callable[[str, BaseException | None], None] = log_error,
) -> Dispatcher:
    """The sinks of these settings, not started. Raises UsageError."""
    try:
        return Dispatcher(settings.sinks, state, clock, broke=broke)
    except ValueError as error:
        raise UsageError(f"[sinks] {error}") from None


def _watched(setup: Setup) -> Mapping[str, Detector[Any]]:
    return {code: detector for code, detector in setup.detectors.items() if code not in setup.settings.poll.ignore}
