"""Findings whole: on paper nothing can be unfolded."""

from collections.abc import Iterator

from sockwatch.export.layout import number
from sockwatch.export.markup import Child, Markup, tag
from sockwatch.export.web.page.finding_parts import knobs, socket_rows
from sockwatch.export.web.page.parts import sign
from sockwatch.export.wording import (
    command,
    evidence,
    oldest,
    other_end_text,
    where,
    who,
)
from sockwatch.model.finding import Finding


def card(finding: Finding, *, note: str = "", past: bool = False) -> Markup:
    """All that is known of it; `note` says what became of it. A `past` one cannot be looked at again."""
    head = tag(
        "p",
        sign(finding.severity),
        tag("span", finding.severity.value, class_="word"),
        tag("code", finding.name),
        tag("span", note, class_="chip") if note else None,
        class_="kind",
    )
    return tag(
        "article",
        head,
        tag("h3", finding.summary),
        tag("p", who(finding), class_="who") if who(finding) else None,
        _remedies(finding),
        tag(
            "dl",
            [tag("div", tag("dt", name), tag("dd", said)) for name, said in _facts(finding, past=past)],
            class_="facts",
        ),
        knobs(finding),
        _sockets(finding),
        class_=f"card {finding.severity.value}",
    )


def _remedies(finding: Finding) -> Markup | None:
    if not finding.remedies:
        return None
    steps = tag("ol", [tag("li", step) for step in finding.remedies])
    return tag("div", tag("h4", "What to do"), steps, class_="remedies")


def _facts(finding: Finding, *, past: bool) -> Iterator[tuple[str, Child]]:
    known = {
        "sockets": number(finding.count),
        "oldest": oldest(finding, past=past),
        "where": where(finding),
        "other end": other_end_text(finding.other_end),
        "why": finding.cause,
        "command": command(finding.subject.process),
    }
    yield from ((name, said) for name, said in known.items() if said)
    numbers = [
        tag("span", name.replace("_", " "), " ", tag("b", value), class_="evidence")
        for name, value in evidence(finding)
    ]
    if numbers:
        yield "evidence", numbers


def _sockets(finding: Finding) -> Markup | None:
    if not finding.sockets:
        return None
    few = len(finding.sockets)
    some = finding.count > few
    title = f"{number(few)} of {number(finding.count)} sockets" if some else "its sockets"
    return tag("div", tag("h4", title), socket_rows(finding, title))
