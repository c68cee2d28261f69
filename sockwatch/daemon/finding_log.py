"""One line in the log for what comes, gets worse or better, grows tenfold, and goes; none for what stays."""

import logging

from sockwatch.model.finding import Finding, Severity
from sockwatch.model.report import Report

MOST_LINES = 60
"""In a window; of what flutters the rest is only counted."""
WINDOW_SECONDS = 600.0
GROWN = 10
"""So many times the sockets that the log told last are told again."""
_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}

_Key = tuple[str, str, str | None, str | None, str | None]

_log = logging.getLogger(__name__)


class FindingLog:
    """Compares each look with the last one that could look."""

    def __init__(self) -> None:
        self._open: dict[_Key, Finding] = {}
        self._told: dict[_Key, int] = {}
        """The most sockets that a line told."""
        self._blind: str | None = None
        self._window_began = 0.0
        self._lines = 0

    def take(self, report: Report, *, success: bool, monotonic: float) -> None:
        """Log what this look changed. One that failed changes nothing but says so, once."""
        if monotonic - self._window_began >= WINDOW_SECONDS:
            if self._lines > MOST_LINES:
                _log.warning("%d more lines about findings were left out", self._lines - MOST_LINES)
            self._window_began, self._lines = monotonic, 0
        blind = None if success else "; ".join(gap.why for gap in report.gaps if gap.fatal)
        if blind != self._blind:
            _log.log(
                logging.ERROR if blind else logging.INFO, "%s", f"cannot look: {blind}" if blind else "can look again"
            )
            self._blind = blind
        if success:
            self._compare(report)

    def _compare(self, report: Report) -> None:
        there = {_key(finding): finding for finding in report.findings}
        for key, finding in there.items():
            before = self._open.get(key)
            if before is None:
                self._line(finding, "opened")
            elif before.severity is not finding.severity:
                self._line(finding, f"was {before.severity}")
            elif finding.count >= GROWN * self._told[key] > 0:
                self._line(finding, "grown")
            else:
                continue
            self._told[key] = max(finding.count, self._told.get(key, 0))
        for key, finding in self._open.items():
            if key not in there:
                self._line(finding, "closed", logging.INFO)
        self._open = there
        self._told = {key: self._told[key] for key in there}

    def _line(self, finding: Finding, event: str, level: int | None = None) -> None:
        self._lines += 1
        if self._lines <= MOST_LINES:
            level = _LEVELS[finding.severity] if level is None else level
            _log.log(level, "%s, %s %s: %s", event, finding.severity, finding.name, finding.summary)


def _key(finding: Finding) -> _Key:
    subject = finding.subject
    return finding.name, subject.netns, subject.local, subject.remote, subject.process.name if subject.process else None
