"""The alert book: the alerts of all looks so far, kept over restarts."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sockwatch.export.alerts.state import MOST_BYTES, decode, encode
from sockwatch.export.alerts.tracked import Memory, Presence
from sockwatch.export.alerts.transitions import Look, advance
from sockwatch.export.state_file import StateFile
from sockwatch.model.alert import AlertRound, AlertState
from sockwatch.model.report import Report
from sockwatch.model.settings import AlertSettings

_LOG = logging.getLogger(__name__)
_SAVE_EVERY = 60.0
"""Seconds between two saves while nothing changes but the timers of alerts that fire."""


class AlertBook:
    """Turns looks into alerts. Without `path`, or where it cannot be written, all is kept in memory alone.

    For one thread, except `save`, which may be another's. Whoever takes a round first gives what is due to the sinks,
    durably, and then calls `save`: killed in between, the next start tells once more, and never not at all.
    """

    def __init__(self, settings: AlertSettings, path: Path | None = None) -> None:
        self._settings = settings
        self._file = None if path is None else StateFile(path.parent, path.name, most_bytes=MOST_BYTES)
        self._memory = Memory()
        self._round = AlertRound()
        self._told = 0
        self._discarded = False
        self._saved: object = None
        self._saved_at = 0.0
        self._failure = ""
        if self._file is not None:
            self._load(self._file)

    def configure(self, settings: AlertSettings) -> None:
        """Judge the next look by these settings."""
        self._settings = settings

    def take(self, report: Report, *, success: bool, time: float, monotonic: float) -> AlertRound:
        """What this look changes. `time` is seconds since 1970, `monotonic` seconds since boot (Clock.monotonic)."""
        look = Look(report=report, success=success, time=time, monotonic=monotonic)
        self._memory, self._round = advance(self._memory, look, self._settings)
        self._told += len(self._round.due)
        return self._round

    @property
    def memory(self) -> Memory:
        """All that a look has left behind; a value."""
        return self._memory

    def save(self, memory: Memory) -> None:
        """Write what a restart must know, where that has changed. A disk that refuses is said once and tried again."""
        if self._file is None or not self._is_stale(memory):
            return
        try:
            self._file.write(encode(memory))
        except OSError as error:
            self._fail(f"{self._file.path}: {error.strerror}")
            return
        if self._failure:
            _LOG.info("the alerts' state can be written again: %s", self._file.path)
            self._failure = ""
        self._saved, self._saved_at = _essence(memory), memory.looked or 0.0

    def metrics(self) -> Iterator[Metric]:
        """How many alerts there are, and whether they would survive a restart."""
        alerts = GaugeMetricFamily("sockwatch_alerts", "Alerts after the last poll.", labels=["state"])
        quiet = GaugeMetricFamily(
            "sockwatch_alerts_quiet", "Firing alerts that nobody is told of, and why.", labels=["by"]
        )
        firing = [alert for alert in self._round.alerts if alert.state is AlertState.FIRING]
        states = Counter(alert.state for alert in self._round.alerts)
        for state in (AlertState.PENDING, AlertState.FIRING):
            alerts.add_metric([state.value], states[state])
        quiet.add_metric(["silence"], sum(alert.silenced_by is not None for alert in firing))
        quiet.add_metric(["other_alert"], sum(alert.inhibited_by is not None for alert in firing))
        yield alerts
        yield quiet
        yield CounterMetricFamily(
            "sockwatch_alerts_due", "Times that sinks were to be told of an alert, its end included.", value=self._told
        )
        yield GaugeMetricFamily(
            "sockwatch_alerts_untracked",
            "Findings of the last poll that are not followed, because there are too many alerts.",
            value=self._memory.untracked,
        )
        if self._file is not None:
            yield GaugeMetricFamily(
                "sockwatch_alert_state_success",
                "Whether the state of the alerts could be written when it last had to be.",
                value=not self._failure,
            )
            yield GaugeMetricFamily(
                "sockwatch_alert_state_discarded",
                "Whether the state that was found at the start could not be used and was set aside.",
                value=self._discarded,
            )

    def _load(self, file: StateFile) -> None:
        try:
            data = file.read()
            self._memory = Memory() if data is None else decode(data)
        except OSError as error:
            self._fail(f"{file.path}: {error.strerror}")
        except ValueError as foreign:
            self._discarded = True
            try:
                aside = file.set_aside()
            except OSError as error:
                self._fail(f"{file.path}: {foreign}; it cannot be renamed: {error.strerror}")
            else:
                _LOG.warning("the alerts start anew: %s: %s; it is now %s", file.path, foreign, aside.name)
        else:
            self._saved = _essence(self._memory)
            self._tell_of_restored()

    def _tell_of_restored(self) -> None:
        firing = [one for one in self._memory.alerts.values() if one.state is AlertState.FIRING]
        if firing:
            worst = max(firing, key=lambda one: one.severity.rank)
            more = f" and {len(firing) - 1:,} more" if len(firing) > 1 else ""
            _LOG.info("still firing from before the restart: %s: %s%s", worst.identity.code, worst.summary, more)

    def _fail(self, why: str) -> None:
        if not self._failure:
            _LOG.error("a restart would forget alerts: %s", why)
        self._failure = why

    def _is_stale(self, memory: Memory) -> bool:
        """Whether what is written differs in more than timers, or in timers that a restart must not lose."""
        if self._failure or self._saved != _essence(memory):
            return True
        alerts = memory.alerts.values()
        if any(one.state is AlertState.PENDING or one.presence is Presence.GONE for one in alerts):
            return True
        return bool(alerts) and abs((memory.looked or 0.0) - self._saved_at) >= _SAVE_EVERY


def _essence(memory: Memory) -> object:
    return {key: (one.state, one.severity, one.told, one.inhibited_by) for key, one in memory.alerts.items()}
