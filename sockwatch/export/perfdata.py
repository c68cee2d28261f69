"""The report as a Nagios plugin says it: one status line with perfdata, then detail lines.

Monitoring Plugins guidelines: text, then `|`, then `'label'=value[unit];warn;crit;min`. There are no thresholds: a
verdict is not one. All perfdata stands in the first line, where a cut answer still has it.
"""

from collections.abc import Iterator

from sockwatch.export.layout import where_text
from sockwatch.model.finding import Severity
from sockwatch.model.printable import printable
from sockwatch.model.report import Report, Status

MAX_DETAILS = 20
"""Findings with detail lines; Nagios cuts long answers."""


def render(report: Report) -> str:
    """All lines, newline at the end."""
    lines = [f"{_status_line(report)} | {' '.join(_perfdata(report))}", *_details(report)]
    return "\n".join(lines) + "\n"


def unknown_line(message: str) -> str:
    """The answer of a check that could not even start."""
    return f"SOCKWATCH UNKNOWN - {_safe(message)}\n"


def _status_line(report: Report) -> str:
    lead = f"SOCKWATCH {report.status.value.upper()} - "
    serious = [f for f in report.findings if f.severity is not Severity.INFO]
    if serious:
        more = f" (and {len(serious) - 1} more)" if len(serious) > 1 else ""
        netns = serious[0].subject.netns
        inside = "" if netns == "host" else f" in namespace {netns}"
        return lead + _safe(f"{serious[0].name}: {serious[0].summary}{inside}{more}")
    if report.status is Status.UNKNOWN:
        fatal = [gap for gap in report.gaps if gap.fatal]
        return lead + _safe("; ".join(f"{gap.what}: {gap.why}" for gap in fatal))
    return lead + f"nothing wrong in {report.total} TCP sockets"


def _perfdata(report: Report) -> Iterator[str]:
    for state, count in report.by_state.items():
        if count is not None:
            yield f"'{state.label}'={count};;;0"
    # Without a single state there was no look, and no findings is not a number of them.
    for severity in Severity if any(count is not None for count in report.by_state.values()) else ():
        yield f"'findings_{severity.value}'={sum(f.severity is severity for f in report.findings)};;;0"
    for stage, milliseconds in report.timings_ms.items():
        yield f"'time_{stage}'={milliseconds / 1000:.4f}s;;;0"


def _details(report: Report) -> Iterator[str]:
    for finding in report.findings[:MAX_DETAILS]:
        where = where_text(finding.subject)
        yield _safe(f"{finding.severity.value} {finding.name}: {finding.summary}" + (f" ({where})" if where else ""))
        if finding.severity is not Severity.INFO:
            for remedy in finding.remedies[:1]:
                yield _safe(f"  do: {remedy}")
    if len(report.findings) > MAX_DETAILS:
        yield f"and {len(report.findings) - MAX_DETAILS} more findings"
    for gap in report.gaps[:MAX_DETAILS]:
        yield _safe(f"not seen: {gap.what}: {gap.why}" + (f" ({gap.count})" if gap.count > 1 else ""))


def _safe(text: str) -> str:
    """On one line, printable, and without the `|` that starts perfdata."""
    return printable(text).replace("|", "\\x7c")
