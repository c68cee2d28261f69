"""One poll: look, then hand what was seen to everybody who does something with it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sockwatch.clock import Clock
from sockwatch.daemon.finding_log import FindingLog
from sockwatch.daemon.health import Health, Part
from sockwatch.diagnose.detector import Detector
from sockwatch.errors import DumpError, UsageError
from sockwatch.model.poll import Poll
from sockwatch.model.report import Report
from sockwatch.model.settings import DaemonSettings
from sockwatch.model.snapshot import Gap, Snapshot
from sockwatch.pipeline import Pipeline, Source, failed_report, status_of

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the daemon was told: by the config file, and by options, which win."""

    detectors: Mapping[str, Detector[Any]]
    settings: DaemonSettings


class Poller:
    """All that is called once a poll, on one thread. `source_of` gives the source for [poll] namespaces."""

    def __init__(self, setup: Setup, *, source_of: Callable[[str], Source], clock: Clock, health: Health) -> None:
        self._setup = setup
        self._source_of = source_of
        self._clock = clock
        self._health = health
        self._log = FindingLog()
        self._told: dict[Part, str] = {}
        self._source = source_of(setup.settings.poll.namespaces)
        self._pipeline = Pipeline(self._source, _watched(setup), clock)

    def go_on_with(self, setup: Setup) -> None:
        """From the next poll on these settings; what is known of sockets and alerts stays."""
        if setup.settings.poll.namespaces != self._setup.settings.poll.namespaces:
            self._source = self._source_of(setup.settings.poll.namespaces)
        self._pipeline.go_on_with(self._source, _watched(setup))
        self._setup = setup

    def poll(self) -> Poll:
        """The whole round. Raises nothing that could be foreseen or not: a failed look is a poll without success."""
        time, monotonic = self._clock.unixtime(), self._clock.monotonic()
        blind = failed_report(Gap(what="look", why="an error nobody foresaw; the log has it"), self._clock)
        seen: tuple[Report, Snapshot | None] = (blind, None)
        report, snapshot = self._guard(Part.LOOK, self._look, seen)
        self._health.polls += 1
        self._health.failed += snapshot is None
        poll = Poll(
            number=self._health.polls,
            time=time,
            monotonic=monotonic,
            ended=self._clock.monotonic(),
            interval=self._setup.settings.poll.interval,
            report=report,
            snapshot=snapshot,
        )
        self._guard(Part.LOG, lambda: self._log.take(report, success=poll.success, monotonic=monotonic), None)
        return poll

    def _look(self) -> tuple[Report, Snapshot | None]:
        try:
            report = self._pipeline.step()
        except DumpError as error:
            return failed_report(Gap(what="dump", why=str(error)), self._clock), None
        except UsageError as error:  # the namespace is not there, or may not be entered
            return failed_report(Gap(what="namespace", why=str(error)), self._clock), None
        ignored = {*self._setup.settings.poll.ignore}
        findings = tuple(f for f in report.findings if not ignored & {f.code, f.name})
        return replace(report, findings=findings, status=status_of(findings, report.gaps)), self._pipeline.snapshot

    def _guard(self, part: Part, function: Callable[[], T], otherwise: T) -> T:
        """What the function returns, or `otherwise`: an error in one exporter must not end the watching."""
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - the daemon goes on; the error is logged and counted
            told = f"{type(error).__name__}: {error}"
            if self._told.get(part) != told:  # not at every poll the same
                _log.exception("%s: an error nobody foresaw", part)
            self._told[part] = told
            self._health.errors[part] += 1
            return otherwise
        self._told.pop(part, None)
        return result


def _watched(setup: Setup) -> Mapping[str, Detector[Any]]:
    return {code: detector for code, detector in setup.detectors.items() if code not in setup.settings.poll.ignore}
