"""A book that is given looks: the clocks go on by themselves."""

from dataclasses import dataclass, field
from typing import Any

from reports import TIME, failed, report
from sockwatch.export.alerts.book import AlertBook
from sockwatch.model.alert import Alert, AlertRound
from sockwatch.model.finding import Finding
from sockwatch.model.report import Report
from sockwatch.model.settings import AlertSettings

INTERVAL = 10.0


@dataclass(kw_only=True)
class Looker:
    """Hands one look after the other to a book, `INTERVAL` apart."""

    book: AlertBook = field(default_factory=lambda: AlertBook(AlertSettings()))
    monotonic: float = 1000.0
    time: float = TIME
    last: AlertRound = field(default_factory=AlertRound)

    def see(self, *findings: Finding, after: float = INTERVAL, **fields: Any) -> list[str]:
        """A look that succeeds; who is to be told, as `state code`."""
        return self.take(report(*findings, **fields), success=True, after=after)

    def fail(self, after: float = INTERVAL) -> list[str]:
        """A look that fails."""
        return self.take(failed(), success=False, after=after)

    def take(self, given: Report, *, success: bool, after: float = INTERVAL) -> list[str]:
        self.monotonic += after
        self.time += after
        self.last = self.book.take(given, success=success, time=self.time, monotonic=self.monotonic)
        return [f"{alert.state} {alert.name}" for alert in self.last.due]

    def save(self) -> None:
        """As the daemon does after each look."""
        self.book.save(self.book.memory)

    @property
    def states(self) -> list[str]:
        return [f"{alert.state} {alert.name}" for alert in self.last.alerts]

    @property
    def only(self) -> Alert:
        (alert,) = self.last.alerts
        return alert


def firing(looker: Looker, *findings: Finding) -> Looker:
    """Four looks: it has been there for 30 s, and everybody was told."""
    for _ in range(4):
        looker.see(*findings)
    return looker


def gone(looker: Looker, looks: int, *findings: Finding) -> list[str]:
    """Everything that is told in so many looks."""
    return [line for _ in range(looks) for line in looker.see(*findings)]


def book(**fields: Any) -> Looker:
    return Looker(book=AlertBook(AlertSettings(**fields)))
