"""The report as text for a person: verdict first, then findings by severity, then counts and what was not seen.

On a terminal the text is kept to one screen (SCREEN_LINES): the worst findings are told in full as far as they fit, at
least one of them; the others in short, and what is beyond MAX_SHORT is counted. Everywhere else every warning and
critical finding is told in full, because a file has no screen. Info findings are always short.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain

from sockwatch.export.layout import (
    BOLD,
    DIM,
    GREEN,
    INDENT,
    LABEL_WIDTH,
    RED,
    YELLOW,
    Line,
    labelled,
    number,
    paint,
    where_text,
    wrap,
)
from sockwatch.export.wording import EFFECT_LABEL, advice_text, by_effect, decisive, facts, outcome, plural
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.report import Report, Status
from sockwatch.model.snapshot import Gap
from sockwatch.model.state import State

SCREEN_LINES = 45
MAX_SHORT = 12
"""Findings told in short on one screen; what is beyond is counted."""
SHORT_LINES = 3
MAX_GAPS = 5
MAX_NAMESPACES = 8
MAX_STATES = 4

STATUS_STYLE = {Status.OK: GREEN, Status.WARNING: YELLOW, Status.CRITICAL: RED, Status.UNKNOWN: YELLOW}
SEVERITY_STYLE = {Severity.INFO: DIM, Severity.WARNING: YELLOW, Severity.CRITICAL: RED}


def render_report(report: Report, *, width: int = 80, colour: bool = False, one_screen: bool = False) -> str:
    """The whole text, newline at the end; `one_screen` where people look at a terminal."""
    head = [*_verdict(report, width), Line()]
    told = decisive(report)
    gaps = [gap for gap in report.gaps if gap is not told]
    unseen = not_seen(gaps, width, MAX_GAPS if one_screen else None)
    foot = [*_counts(report, width), *_namespaces(report, width), *_young(report, width), *unseen]
    room = SCREEN_LINES - len(head) - len(foot) if one_screen else None
    body = _findings(report.findings, width, room)
    return paint([*head, *body, *foot] if body else [*head[:-1], *foot], colour=colour)


def render_finding(finding: Finding, *, width: int = 80, colour: bool = False) -> str:
    """One finding in full, newline at the end."""
    return paint(_full(finding, width), colour=colour)


def _verdict(report: Report, width: int) -> list[Line]:
    when = datetime.fromtimestamp(report.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    found = outcome(report)
    looked = f"in {plural(report.total, 'TCP socket') or '0 TCP sockets'}, {when}"
    if (gap := decisive(report)) is not None:
        text = f"{report.host}: {gap.what}: {gap.why}; {found or 'nothing else'} {looked}"
    elif report.status is Status.OK:
        text = f"{report.host}: nothing wrong{', ' if found else ''}{found} {looked}"
    else:
        text = f"{report.host}: {found} {looked}"
    label = report.status.value
    return labelled(label, text, width, at=len(label) + 2, indent="", style=STATUS_STYLE[report.status] + BOLD)


def _findings(findings: tuple[Finding, ...], width: int, room: int | None) -> list[Line]:
    """Blocks for the worst, lines for the rest; `room` lines for all of them, or None for no limit."""
    serious = [f for f in findings if f.severity is not Severity.INFO]
    notes = [f for f in findings if f.severity is Severity.INFO]
    blocks = [[*_full(finding, width), Line()] for finding in serious]
    with_reasons = [_short(finding, width, reason=finding.severity is Severity.INFO) for finding in [*serious, *notes]]
    if room is None:
        return [*chain(*blocks), *_rest(with_reasons[len(serious) :], len(notes), cut=False)]
    brief = [_short(finding, width)[:SHORT_LINES] for finding in [*serious, *notes]]
    one = min(1, len(serious))
    # As many as possible in full, then the notes' reasons; where not even one leaves room, fewer of the others.
    ways = chain(
        ((full, short, MAX_SHORT) for full in range(len(serious), one - 1, -1) for short in (with_reasons, brief)),
        ((one, brief, most) for most in range(MAX_SHORT - 1, -1, -1)),
    )
    chosen: list[Line] = []
    for full, short, most in ways:
        cut = full < len(serious) or (short is brief and bool(notes))
        chosen = [*chain(*blocks[:full]), *_rest(short[full:], most, cut=cut)]
        if len(chosen) <= room:
            break
    return chosen


def _rest(short: list[list[Line]], most: int, *, cut: bool) -> list[Line]:
    """The first of the short ones, how many more there are, and how to see all."""
    lines = [*chain(*short[:most])]
    if len(short) > most:
        lines.append(Line(f"and {len(short) - most} more"))
    if cut or len(short) > most:
        lines.append(Line("In full: the same command, piped into less.", style=DIM))
    return [*lines, Line()] if lines else []


def _short(finding: Finding, width: int, *, reason: bool = False) -> list[Line]:
    """The kind, the summary and the ends; with `reason` also why."""
    where = where_text(finding.subject)
    text = f"{finding.name}: {finding.summary}" + (f" ({where})" if where else "")
    if reason and finding.cause:
        text += f". {finding.cause}"
    label = finding.severity.value
    return labelled(label, text, width, at=10, indent="", style=SEVERITY_STYLE[finding.severity])


def _full(finding: Finding, width: int) -> list[Line]:
    label = finding.severity.value
    return [
        Line(label, f"  {finding.name}", SEVERITY_STYLE[finding.severity] + BOLD, BOLD),
        *wrap(finding.summary, width, INDENT),
        *_fields(facts(finding), width),
        *_remedies(finding.remedies, width),
        *_fields(((EFFECT_LABEL[s.effect], advice_text(s)) for s in by_effect(finding.sysctls)), width),
    ]


def _remedies(remedies: tuple[str, ...], width: int) -> list[Line]:
    if len(remedies) == 1:
        return list(_fields([("do", remedies[0])], width))
    lines: list[Line] = []
    for i, remedy in enumerate(remedies, 1):
        lines += labelled("do" if i == 1 else "", f"{i}. {remedy}", width, style=BOLD, hang=3)
    return lines


def _young(report: Report, width: int) -> list[Line]:
    """A leak that has just begun is no verdict yet, but nobody shall read it as health."""
    count = report.by_state[State.CLOSE_WAIT] or 0
    if not count or any(finding.code == "close_wait_leak" for finding in report.findings):
        return []
    text = f"{number(count)} in close_wait, where the peer has closed: not old enough for a verdict (--min-age)"
    return labelled("not yet", text, width, indent="")


def _counts(report: Report, width: int) -> list[Line]:
    known = [(s.label, n) for s, n in report.by_state.items() if n]
    known.sort(key=lambda pair: -pair[1])
    parts = [f"{label} {number(n)}" for label, n in known]
    parts += [f"{s.label} ?" for s, n in report.by_state.items() if n is None]
    return labelled("sockets", ", ".join(parts) or "none", width, indent="")


def _namespaces(report: Report, width: int) -> list[Line]:
    """The namespaces where there are several: those with findings first, then those with most sockets, a few of them.

    What the verdict's total is made of is told of these; of the others only how many sockets they have together.
    """
    if len(report.namespaces) < 2:  # noqa: PLR2004 - one is where the check runs, and all is about it
        return []
    found = Counter(f.subject.netns for f in report.findings if f.severity is not Severity.INFO)
    ranked = sorted(report.namespaces, key=lambda n: (-found[n.namespace.name], -n.total))
    lines: list[Line] = []
    for counted in ranked[:MAX_NAMESPACES]:
        states = sorted(((n, s.label) for s, n in counted.by_state.items() if n), reverse=True)
        parts = [", ".join(f"{label} {number(n)}" for n, label in states[:MAX_STATES]) or "no sockets"]
        if found[counted.namespace.name]:
            parts.append(plural(found[counted.namespace.name], "finding"))
        text = f"{counted.namespace.name}: {'; '.join(parts)}"
        lines += labelled("" if lines else "namespaces", text, width, indent="", hang=2)
    left = ranked[MAX_NAMESPACES:]
    if left:
        text = f"and {number(len(left))} more with {plural(sum(n.total for n in left), 'socket') or 'no sockets'}"
        lines += labelled("", text, width, indent="")
    return lines


def not_seen(gaps: Sequence[Gap], width: int, most: int | None) -> list[Line]:
    """The gaps, at most so many of them."""
    lines: list[Line] = []
    for gap in gaps[:most]:
        said = gap.why.startswith(f"{number(gap.count)} ")
        count = f" ({number(gap.count)})" if gap.count > 1 and not said else ""
        style = YELLOW if gap.fatal else DIM
        lines += labelled("" if lines else "not seen", f"{gap.what}{count}: {gap.why}", width, indent="", style=style)
    if most is not None and len(gaps) > most:
        lines.append(Line("".ljust(LABEL_WIDTH), f"and {len(gaps) - most} more"))
    return lines


def _fields(pairs: Iterable[tuple[str, str]], width: int) -> Iterator[Line]:
    for label, text in pairs:
        if text:
            yield from labelled(label, text, width, style=DIM)
