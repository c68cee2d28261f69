"""A verdict in one line, for the service manager and the log."""

from collections import Counter

from sockwatch.model.finding import Severity
from sockwatch.model.report import Report


def verdict(report: Report) -> str:
    """As `warning: 1 warning, 2 info in 812 TCP sockets`, or why it is not known."""
    if why := [gap.why for gap in report.gaps if gap.fatal]:
        return f"{report.status}: {why[0]}" + (f" (and {len(why) - 1} more)" if len(why) > 1 else "")
    counts = Counter(finding.severity for finding in report.findings)
    found = ", ".join(f"{counts[s]} {s}" for s in reversed(Severity) if counts[s]) or "no findings"
    return f"{report.status}: {found} in {report.total} TCP sockets"
