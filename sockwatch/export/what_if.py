"""A supposition as text: both verdicts, then the findings that vanish, appear or change."""

from collections.abc import Iterator

from sockwatch.export.layout import BOLD, Line, ends_text, labelled, paint
from sockwatch.export.terminal import MAX_GAPS, SEVERITY_STYLE, STATUS_STYLE, not_seen
from sockwatch.export.wording import outcome
from sockwatch.model.finding import Finding
from sockwatch.model.report import Report, WhatIf

Identity = tuple[str, str, str | None, str | None, int | None]


def render_what_if(
    report: Report, what_if: WhatIf, *, width: int = 80, colour: bool = False, one_screen: bool = False
) -> str:
    """The whole text, newline at the end; `what_if` is what the report supposes."""
    gaps = not_seen(report.gaps, width, MAX_GAPS if one_screen else None)
    parts = (_supposed(what_if, width), _verdicts(report, what_if, width), _changes(report, what_if, width), gaps)
    lines = [line for part in parts if (told := [*part]) for line in (*told, Line())]
    return paint(lines[:-1], colour=colour)


def _supposed(what_if: WhatIf, width: int) -> Iterator[Line]:
    for name, value in what_if.sysctls.items():
        yield from labelled("what if", f"{name} = {_shown(value)}{_real(what_if.before, name)}", width, indent="")
        yield from labelled("", what_if.takes_effect[name], width, indent="")


def _verdicts(report: Report, what_if: WhatIf, width: int) -> Iterator[Line]:
    for label, one in (("before", what_if.before), ("after", report)):
        style = STATUS_STYLE[one.status] + BOLD
        yield from labelled(label, f"{one.status.value}: {outcome(one) or 'no finding'}", width, indent="", style=style)


def _changes(report: Report, what_if: WhatIf, width: int) -> Iterator[Line]:
    before, after = _by_identity(what_if.before), _by_identity(report)
    same = 0
    for identity, finding in before.items():
        if identity not in after:
            yield from _told("vanishes", finding, width)
        elif (now := after[identity]) == finding or _gist(now) == _gist(finding):
            same += 1
        elif now.severity is finding.severity:
            yield from _told("changes", now, width)
        else:
            yield from _told("changes", now, width, was=f"{finding.severity.value}, now ")
    for identity, finding in after.items():
        if identity not in before:
            yield from _told("appears", finding, width)
    if same == len(before) == len(after):
        yield from labelled("same", "It changes no finding.", width, indent="")
    elif same:
        yield from labelled("same", f"{same} more, unchanged.", width, indent="")


def _told(label: str, finding: Finding, width: int, was: str = "") -> Iterator[Line]:
    ends = ends_text(finding.subject)
    text = f"{was}{finding.severity.value} {finding.name}: {finding.summary}" + (f" ({ends})" if ends else "")
    yield from labelled(label, text, width, indent="", style=SEVERITY_STYLE[finding.severity])


def _by_identity(report: Report) -> dict[Identity, Finding]:
    return {_identity(finding): finding for finding in report.findings}


def _identity(finding: Finding) -> Identity:
    subject = finding.subject
    return (
        finding.name,
        subject.netns,
        subject.local,
        subject.remote,
        subject.process.pid if subject.process else None,
    )


def _gist(finding: Finding) -> tuple[str, str, int]:
    """What a reader would call a change; the values of sysctls in its advice are none."""
    return (finding.severity.value, finding.summary, finding.count)


def _real(before: Report, sysctl: str) -> str:
    values = {counts.namespace.sysctls[sysctl] for counts in before.namespaces if sysctl in counts.namespace.sysctls}
    return f" (is {', '.join(sorted(_shown(value) for value in values))})"


def _shown(value: str) -> str:
    return " ".join(value.split()) or "empty"
