"""What the daemon counts about itself."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sockwatch.daemon.privileges import SEES

UNFORESEEN = "an error nobody foresaw; the log has its traceback"

_log = logging.getLogger(__name__)


class Part(StrEnum):
    """What the daemon consists of; each may fail by an error nobody foresaw, and takes no other with it."""

    LOOK = "look"
    LOG = "log"
    ALERTS = "alerts"
    SINKS = "sinks"
    METRICS = "metrics"
    HISTORY = "history"
    SERVER = "server"
    RELOAD = "reload"


class Health:
    """Numbers that only grow, and what holds now; written by the thread that knows, read when metrics are rendered."""

    def __init__(self, *, capabilities: frozenset[str] | None, state_usable: bool, reloaded: float) -> None:
        self.polls = 0
        self.failed = 0
        self.skipped = 0
        """Ticks on which nobody looked."""
        self.errors: Counter[Part] = Counter()
        self.reload_successful = True
        self.reloaded = reloaded
        """When the config that is in use was read, in seconds since 1970."""
        self._capabilities = capabilities
        self._state_usable = state_usable
        self._lock = threading.Lock()
        self._told: dict[tuple[Part, str], str] = {}
        self._process = ProcessCollector(registry=None)

    def broke(self, part: Part, error: BaseException | None, what: str = UNFORESEEN, where: str = "") -> None:
        """An error that nobody foresaw: counted, and logged with its traceback unless it is the same as last time.

        `where` tells threads of a part apart, which break and work again each for itself.
        """
        told = f"{what} {type(error).__name__}: {error}"
        with self._lock:
            new = self._told.get((part, where)) != told
            self._told[part, where] = told
            self.errors[part] += 1
        if new:
            _log.error("%s: %s", f"{part}: {where}" if where else part, what, exc_info=error)

    def works(self, part: Part, where: str = "") -> None:
        """There was no error this time."""
        with self._lock:
            self._told.pop((part, where), None)

    def listener(self, part: Part) -> Callable[[str, BaseException | None], None]:
        """What threads of this part call: where something broke and by what error, or with None that it works."""

        def hear(where: str, error: BaseException | None) -> None:
            if error is None:
                self.works(part, where)
            else:
                self.broke(part, error, where=where)

        return hear

    def metrics(self) -> Iterator[Metric]:
        """All of them, and those of the process."""
        yield CounterMetricFamily("sockwatch_polls_failed", "Looks that could not read the sockets.", value=self.failed)
        yield CounterMetricFamily(
            "sockwatch_polls_skipped", "Looks left out because the one before took too long.", value=self.skipped
        )
        errors = CounterMetricFamily(
            "sockwatch_internal_errors", "Errors that nobody foresaw; the log has the traceback.", labels=["part"]
        )
        for part in Part:
            errors.add_metric([part], self.errors[part])
        yield errors
        yield GaugeMetricFamily(
            "sockwatch_config_last_reload_successful",
            "Whether the last reload of the config succeeded; if not, the config before it is in use.",
            value=self.reload_successful,
        )
        yield GaugeMetricFamily(
            "sockwatch_config_last_reload_success_timestamp_seconds",
            "When the config in use was read.",
            value=self.reloaded,
        )
        yield GaugeMetricFamily(
            "sockwatch_state_directory_usable",
            "Whether alerts, outbox and history survive a restart.",
            value=self._state_usable,
        )
        if self._capabilities is not None:
            held = GaugeMetricFamily(
                "sockwatch_capability", "Whether the daemon has what lets it see more.", labels=["capability"]
            )
            for name in SEES:
                held.add_metric([name], name in self._capabilities)
            yield held
        yield from self._process.collect()
