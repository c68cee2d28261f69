"""What was looked at: namespaces, what was not seen, and what was checked and is clean."""

from collections import Counter

from sockwatch.export.layout import number
from sockwatch.export.markup import Markup, tag
from sockwatch.export.web.live import Shown
from sockwatch.export.web.page.parts import more, section, table
from sockwatch.model.finding import Severity
from sockwatch.model.report import NamespaceCounts, Result

MOST_NAMESPACES = 12
MOST_GAPS = 12
_MOST_STATES = 3
_REPORT = "/api/v1/report"


def namespaces(shown: Shown) -> Markup:
    """Each with its sockets: those with findings first, then the largest."""
    report = shown.poll.report
    found = Counter(f.subject.netns for f in report.findings if f.severity is not Severity.INFO)
    ranked = sorted(report.namespaces, key=lambda n: (-found[n.namespace.name], -n.total))
    rows = [
        (n.namespace.name, number(n.total), _largest(n), number(found[n.namespace.name]) if found else "")
        for n in ranked[:MOST_NAMESPACES]
    ]
    heads = ("namespace", "sockets", "most are", "findings")
    listed = (
        table(heads, rows, caption="Network namespaces", numbers=(1, 3))
        if rows
        else tag("p", "Nothing could be looked at.", class_="nothing")
    )
    left = more(len(ranked) - MOST_NAMESPACES, "the report as JSON", _REPORT)
    return section("namespaces", "Namespaces", listed, left, note=number(len(ranked)) if ranked else "")


def not_seen(shown: Shown) -> Markup:
    """The gaps: "could not look" is never "fine"."""
    gaps = sorted(shown.poll.report.gaps, key=lambda gap: not gap.fatal)
    items = [
        tag(
            "li",
            tag("strong", gap.what),
            f" ({number(gap.count)})" if gap.count > 1 and not gap.why.startswith(number(gap.count)) else "",
            f": {gap.why}",
            class_="fatal" if gap.fatal else None,
        )
        for gap in gaps[:MOST_GAPS]
    ]
    listed = tag("ul", items, class_="gaps") if items else tag("p", "All that was asked was seen.", class_="nothing")
    left = more(len(gaps) - MOST_GAPS, "the report as JSON", _REPORT)
    return section("not-seen", "Not seen", listed, left, note=number(len(gaps)) if gaps else "")


def checked(shown: Shown) -> Markup:
    """Each detector with how it ended."""
    outcomes = shown.poll.report.outcomes
    count = Counter(outcome.result for outcome in outcomes)
    note = ", ".join(f"{count[result]} {result.value}" for result in Result if count[result])
    if not outcomes:
        return section("checked", "Checked", tag("p", "Nothing was checked.", class_="nothing"))
    by_result = {r: [o for o in outcomes if o.result is r] for r in (Result.FAILED, Result.NO_DATA)}
    open_ = [
        tag("li", tag("code", o.code), f" {o.result.value}: {o.why}", class_=r.name.lower())
        for r, every in by_result.items()
        for o in every
    ]
    return section(
        "checked",
        "Checked",
        tag("ul", open_, class_="outcomes") if open_ else None,
        _codes("Findings", [o.code for o in outcomes if o.result is Result.FINDINGS], "found"),
        _codes("Clean", [o.code for o in outcomes if o.result is Result.CLEAN], "clean"),
        note=note,
    )


def _codes(title: str, codes: list[str], class_: str) -> list[Markup]:
    if not codes:
        return []
    return [tag("h3", title), tag("ul", [tag("li", tag("code", code)) for code in codes], class_=class_)]


def _largest(counts: NamespaceCounts) -> str:
    known = sorted(((n, state.label) for state, n in counts.by_state.items() if n), reverse=True)
    return ", ".join(f"{label} {number(n)}" for n, label in known[:_MOST_STATES])
