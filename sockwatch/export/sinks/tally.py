"""What became of all that sinks were told, counted for /metrics; and a log line when a sink's luck turns."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric

from sockwatch.clock import Clock
from sockwatch.export.metrics.family import Family
from sockwatch.export.sinks.outcome import Loss, Outcome, Reason, Result

_SOURCE = "the alert sinks of sockwatch"
SENT = Family(
    name="sockwatch_notifications_total",
    labels=("sink",),
    meaning="Alerts that a sink was told of, tries that failed included",
    source=_SOURCE,
)
FAILED = Family(
    name="sockwatch_notifications_failed_total",
    labels=("sink", "reason"),
    meaning="Alerts that a sink was told of in a try that failed",
    source=_SOURCE,
)
DROPPED = Family(
    name="sockwatch_notifications_dropped_total",
    labels=("sink", "reason"),
    meaning="Alerts that a sink will not be told of any more",
    source=_SOURCE,
)
LAST_SUCCESS = Family(
    name="sockwatch_notification_last_success_timestamp_seconds",
    labels=("sink",),
    meaning="When a sink took an alert last, as seconds since 1970",
    source=_SOURCE,
)

_log = logging.getLogger(__name__)


class Tally:
    """Counts of all sinks; its methods may be called from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: Counter[str] = Counter()
        self._failed: Counter[tuple[str, Reason]] = Counter()
        self._dropped: Counter[tuple[str, Loss]] = Counter()
        self._success: dict[str, float] = {}
        self._trouble: dict[tuple[str, str], Reason] = {}

    def count(self, sink: str, where: str, outcome: Outcome, notices: int) -> None:
        """One try. `where` tells several receivers of a sink apart."""
        with self._lock:
            self._sent[sink] += notices
            trouble = self._trouble.pop((sink, where), None)
            if outcome.result is Result.DELIVERED:
                self._success[sink] = self._clock.unixtime()
            if outcome.reason is not None:
                self._failed[sink, outcome.reason] += notices
                self._trouble[sink, where] = outcome.reason
        if outcome.reason is None and trouble is not None:
            _log.warning("sink %s: works again: %s", sink, outcome.detail)
        elif outcome.reason not in {trouble, Reason.STOPPED}:
            _log.error("sink %s: %s", sink, outcome.detail)

    def unforeseen(self, sink: str) -> None:
        """A try ended in an error that nobody foresaw; whoever caught it logs it."""
        with self._lock:
            self._failed[sink, Reason.INTERNAL] += 1

    def drop(self, sink: str, loss: Loss, notices: int, why: str) -> None:
        """A sink will never be told of so many alerts."""
        if notices:
            _log.error("sink %s: %d alerts dropped: %s", sink, notices, why)
            with self._lock:
                self._dropped[sink, loss] += notices

    def metrics(self, sinks: Mapping[str, tuple[Reason, ...]]) -> Iterator[Metric]:
        """All families; for each of the sinks also what is still 0."""
        with self._lock:
            yield SENT.fill([((sink,), self._sent[sink]) for sink in sinks])
            yield FAILED.fill(
                [((sink, reason), self._failed[sink, reason]) for sink, reasons in sinks.items() for reason in reasons]
            )
            yield DROPPED.fill([((sink, loss), self._dropped[sink, loss]) for sink in sinks for loss in Loss])
            yield LAST_SUCCESS.fill([((sink,), self._success[sink]) for sink in sinks if sink in self._success])
