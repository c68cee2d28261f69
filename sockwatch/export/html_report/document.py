"""The file: style and pictures are in it, and nothing else is needed to read it."""

from collections.abc import Iterator
from pathlib import Path

from sockwatch import __version__
from sockwatch.export.diagram import rate_text, state_diagram
from sockwatch.export.html_report.chart import MOST_BARS, finding_bars, state_chart
from sockwatch.export.html_report.findings import card
from sockwatch.export.html_report.story import Change, Fate, Past, Story, compare
from sockwatch.export.layout import duration, number
from sockwatch.export.markup import Child, Markup, document, style_sheet, tag
from sockwatch.export.state_counts import state_counts
from sockwatch.export.web.page.parts import moment, section, sign, table
from sockwatch.export.wording import decisive, outcome, plural
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.report import Report, Result, Status

_PAGE_CSS = Path(__file__).parents[1] / "web" / "static" / "page.css"
_CSS = """
body { max-width: 1000px; }
.plot { display: block; width: 100%; height: auto; }
.plot text { font-size: 12px; fill: var(--soft); }
.plot .level { stroke: var(--line); stroke-width: 1; }
.plot .unseen { fill: var(--track); }
.plot .line { fill: none; stroke-width: 2; }
.episode rect { fill: var(--tone); }
.episode text { fill: var(--ink); paint-order: stroke; stroke: var(--sheet); stroke-width: 3px; }
.line.s0 { stroke: #2f6fb0; } .key.s0 { background: #2f6fb0; }
.line.s1 { stroke: #c2571a; stroke-dasharray: 7 3; } .key.s1 { background: #c2571a; }
.line.s2 { stroke: #2e8540; stroke-dasharray: 2 3; } .key.s2 { background: #2e8540; }
.line.s3 { stroke: #8a4fbf; stroke-dasharray: 9 3 2 3; } .key.s3 { background: #8a4fbf; }
.line.s4 { stroke: #b03060; stroke-dasharray: 4 4; } .key.s4 { background: #b03060; }
.line.s5 { stroke: #7a7a20; stroke-dasharray: 12 4; } .key.s5 { background: #7a7a20; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; font-size: .88rem; }
.key { display: inline-block; width: 14px; height: 4px; margin-right: 6px; vertical-align: middle; }
section { margin-bottom: 26px; }
#reading p { margin-bottom: 6px; max-width: 75ch; }
@media print { .diagram { max-width: 480px; } .scroll { overflow: visible; } h2 { break-after: avoid; } }
"""
_WORDS = {Status.OK: "Nothing wrong", Status.WARNING: "Warning", Status.CRITICAL: "Critical", Status.UNKNOWN: "Unknown"}
_HAPPENED = "What happened"
_STATUS = {Severity.CRITICAL: Status.CRITICAL, Severity.WARNING: Status.WARNING}
_READING = """\
A finding is a verdict about sockets that have something in common. Critical is what refuses connections, or soon \
will; a warning is a bug that has not got that far; info is worth knowing, and nothing to act on.
Ages are bounds: a socket has been in its state for at least the first and at most the second.
The stripe of a box in the figure is the share of its sockets that are in warnings or worse, or that have been closing \
for long.
What is under Not seen could not be looked at: nothing in this file says that it is fine.
All times are UTC. `sockwatch explain NAME` tells more of every finding, state and sysctl.
"""


def render_document(story: Story) -> str:
    """The whole file."""
    title = f"{_title(story)} · sockwatch"
    return document(
        tag(
            "html",
            tag(
                "head",
                tag("meta", charset="utf-8"),
                tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
                tag(
                    "meta",
                    http_equiv="Content-Security-Policy",
                    content="default-src 'none'; style-src 'unsafe-inline'",
                ),
                tag("title", title),
                style_sheet(_PAGE_CSS.read_text(encoding="utf-8") + _CSS),
            ),
            tag("body", _header(story), tag("main", list(_parts(story))), _footer(story)),
            lang="en",
        )
    )


def _title(story: Story) -> str:
    report = story.report
    said = _WORDS[report.status] if report is not None else _HAPPENED
    host = report.host if report is not None else story.host
    return f"{said}: {host}" if host else said


def _header(story: Story) -> Markup:
    report = story.report
    host = f"{report.host}, Linux {report.kernel}" if report is not None else story.host
    return tag(
        "header",
        tag("span", "sockwatch", class_="name"),
        tag("span", host, class_="kernel"),
        tag("span", story.source, class_="freshness"),
    )


def _parts(story: Story) -> Iterator[Markup]:
    report, past = story.report, story.past
    if report is not None:
        yield _verdict(report)
        yield from _changes(story, report)
        yield from _findings(report)
    if past is not None:
        yield from _past(past)
    if report is not None:
        yield _states(story, report)
        yield from _sysctls(report)
        yield from _namespaces(report)
        yield _not_seen(report)
        yield from _checked(report)
    yield section("reading", "How to read this", [tag("p", text) for text in _READING.splitlines()])


def _verdict(report: Report) -> Markup:
    gap = decisive(report)
    said = f"{outcome(report) or 'no finding'}, in {number(report.total)} TCP sockets"
    text = tag("p", said if gap is None else f"{gap.what}: {gap.why}", class_="said")
    when = tag("p", "looked at ", moment(report.time, date=True), class_="since")
    return _banner(report.status, _WORDS[report.status], text, when)


def _banner(status: Status, word: str, *said: Child) -> Markup:
    return tag("div", sign(status), tag("div", tag("h1", word), *said), class_=f"verdict {status.value}", id="verdict")


def _findings(report: Report) -> Iterator[Markup]:
    said = "Nothing was found." if not any(gap.fatal for gap in report.gaps) else "Nothing could be looked at."
    cards = [card(finding) for finding in report.findings] or [tag("p", said, class_="nothing")]
    yield section("findings", "Findings", cards)


def _changes(story: Story, report: Report) -> Iterator[Markup]:
    if story.before is None:
        return
    changes = compare(story.before, report)
    rows = [_change_row(change) for change in changes]
    heads = ("", "finding", "before", "after", "what")
    listed = table(heads, rows, caption="Findings before and after") if rows else tag("p", "No findings in either.")
    gone = [card(c.before, note="gone") for c in changes if c.fate is Fate.GONE and c.before is not None]
    before = tag("p", "Before: ", moment(story.before.time, date=True), f", {_WORDS[story.before.status].lower()}.")
    other = story.before.host != report.host
    yield section(
        "changes",
        "Before and after",
        before,
        tag("p", f"That was another host: {story.before.host}.") if other else None,
        tag("p", "The host was booted in between, or its clock was set.") if story.booted_between else None,
        listed,
        [tag("h3", "As it was, and is no longer"), gone] if gone else None,
    )


def _change_row(change: Change) -> tuple[Child, ...]:
    finding = change.after or change.before
    if finding is None:
        return ()

    return (
        change.fate.value,
        tag("code", finding.name),
        _side(change.before),
        _side(change.after),
        finding.summary,
    )


def _side(finding: Finding | None) -> str:
    return "-" if finding is None else f"{finding.severity.value}, {number(finding.count)}"


def _states(story: Story, report: Report) -> Markup:
    counts = state_counts(report)
    then = story.before.by_state if story.before is not None else None
    rows = [
        (
            state.label,
            *(() if then is None else ("?" if then.get(state) is None else number(then[state] or 0),)),
            "?" if about.count is None else number(about.count),
            number(about.suspicious) if about.suspicious else "",
            about.severity.value if about.severity else "",
        )
        for state, about in counts.items()
    ]
    heads = ("state", *(() if then is None else ("before",)), "sockets", "in findings", "severity")
    rates = [tag("li", tag("code", name), " ", rate_text(rate)) for name, rate in sorted(story.rates.items()) if rate]
    return section(
        "states",
        "States",
        tag("figure", state_diagram(counts, story.rates)),
        table(heads, rows, caption="Sockets in each state", numbers=range(1, len(heads) - 1)),
        tag("p", f"What happened a second, the mean over {duration(story.mean_over)}:") if rates else None,
        tag("ul", rates, class_="found") if rates else None,
    )


def _sysctls(report: Report) -> Iterator[Markup]:
    """Those that findings name, with what they do about them, and then all others that were read."""
    named = {advice.name: advice for finding in report.findings for advice in finding.sysctls}
    rows = []
    for counts in report.namespaces[:1]:
        values = counts.namespace.sysctls
        for name in sorted(values, key=lambda one: (one not in named, one)):
            effect = named[name].effect.value if name in named else ""
            rows.append((tag("code", name), tag("code", " ".join(values[name].split()) or "(empty)"), effect))
    if rows:
        heads = ("sysctl", "value", "about these findings")
        yield section("sysctls", "Sysctls", table(heads, rows, caption="Sysctls"))


def _namespaces(report: Report) -> Iterator[Markup]:
    if len(report.namespaces) > 1:
        rows = [
            (
                one.namespace.name,
                number(one.total),
                ", ".join(f"{s.label} {number(n)}" for s, n in one.by_state.items() if n),
            )
            for one in sorted(report.namespaces, key=lambda one: -one.total)
        ]
        heads = ("namespace", "sockets", "states")
        yield section("namespaces", "Namespaces", table(heads, rows, caption="Network namespaces", numbers=(1,)))


def _not_seen(report: Report) -> Markup:
    items = [
        tag(
            "li",
            tag("strong", gap.what),
            f" ({number(gap.count)})" if gap.count > 1 and not gap.why.startswith(number(gap.count)) else "",
            f": {gap.why}",
            class_="fatal" if gap.fatal else None,
        )
        for gap in report.gaps
    ]
    none = tag("p", "All that was asked was seen.", class_="nothing")
    return section("not-seen", "Not seen", tag("ul", items, class_="gaps") if items else none)


def _checked(report: Report) -> Iterator[Markup]:
    clean = [o.code for o in report.outcomes if o.result is Result.CLEAN]
    if clean:
        yield section(
            "checked", "Checked and clean", tag("ul", [tag("li", tag("code", c)) for c in clean], class_="clean")
        )


def _past(past: Past) -> Iterator[Markup]:
    timeline = past.timeline
    since, until = timeline.since, timeline.until
    if timeline.span is not None:
        since, until = max(since, timeline.span[0]), min(until, timeline.span[1])
    still = [one for one in timeline.findings if one.closed is None]
    worst = max((one.worst for one in timeline.findings), key=lambda severity: severity.rank, default=None)
    status = Status.UNKNOWN if timeline.span is None else _STATUS.get(worst, Status.OK) if worst else Status.OK
    count = plural(len(timeline.findings), "finding") or "no findings"
    count += f", {number(len(still))} of them open at the last look" if still else ""
    said = "no looks are kept" if timeline.span is None else count
    asked = _asked(timeline.since, since)
    yield _banner(status, _HAPPENED, tag("p", said, class_="said"), _span(since, until), asked)
    yield section(
        "timeline",
        "Timeline",
        tag("h3", "Findings"),
        finding_bars(timeline, since, until) or tag("p", "None.", class_="nothing"),
        _more(len(timeline.findings)),
        tag("h3", "Sockets in each state"),
        state_chart(past.counts, timeline.gaps) or tag("p", "Not known.", class_="nothing"),
        _unseen(past),
    )
    cards = []
    for one in timeline.findings:
        word = " to " if one.closed is not None else ", last seen "
        when = tag("p", moment(one.opened, date=True), word, moment(timeline.end(one), date=True), class_="since")
        finding = past.findings.get(one.number)
        cards.append(tag("div", when, card(finding, past=True) if finding is not None else tag("p", one.summary)))
    yield section("past-findings", "What was found", cards or [tag("p", "Nothing.", class_="nothing")])


def _span(since: float, until: float) -> Markup:
    if until < since:
        return tag(
            "p", "no look since ", moment(since, date=True), "; the last at ", moment(until, date=True), class_="since"
        )
    return tag("p", moment(since, date=True), " to ", moment(until, date=True), class_="since")


def _asked(asked: float, first: float) -> Markup | None:
    """That the history begins later than what was asked for."""
    if asked >= first:
        return None
    return tag("p", "asked for from ", moment(asked, date=True), "; no earlier look is kept", class_="since")


def _more(count: int) -> Markup | None:
    return tag("p", f"and {number(count - MOST_BARS)} more, below", class_="more") if count > MOST_BARS else None


def _unseen(past: Past) -> Markup | None:
    if not past.timeline.gaps:
        return None
    items = [
        tag(
            "li", moment(g.began, date=True), " to ", moment(g.ended, date=True) if g.ended else "the end", f": {g.why}"
        )
        for g in past.timeline.gaps
    ]
    return tag("div", tag("h3", "Nothing is known of"), tag("ul", items, class_="gaps"))


def _footer(story: Story) -> Markup:
    return tag(
        "footer",
        tag("span", "made by sockwatch ", __version__, " at ", moment(story.made, date=True)),
        tag("span", story.source),
    )
