"""What several parts of the page are made of."""

from collections.abc import Iterable
from datetime import UTC, datetime

from sockwatch.export.markup import Child, Markup, tag
from sockwatch.model.finding import Severity
from sockwatch.model.report import Status

SIGNS = {
    "ok": "M4 12.5 L10 18.5 L20 6.5",
    "warning": "M12 2 L22 12 L12 22 L2 12 Z M12 7.5 V13 M12 16 V16.5",
    "critical": "M12 3 L22.5 21 H1.5 Z M12 9.5 V14.5 M12 17.5 V18",
    "unknown": "M8.5 9 A3.5 3.5 0 1 1 12 12.6 V15 M12 18.5 V19",
    "info": "M12 10 V18 M12 6 V6.5",
}
"""A drawing for each status and severity in a box of 24: none of them is told by its colour alone."""


def sign(of: Status | Severity) -> Markup:
    """Its drawing, which says nothing to those who listen: the word is beside it."""
    return tag("svg", tag("path", d=SIGNS[of.value]), viewBox="0 0 24 24", class_="sign", aria_hidden="true")


def section(name: str, title: str, *children: Child, note: str = "") -> Markup:
    """One part of the page, with a heading and an anchor."""
    heading = tag("h2", title, tag("small", note, class_="note") if note else None, id=f"{name}-title")
    return tag("section", heading, *children, id=name, aria_labelledby=f"{name}-title")


def moment(time: float, *, date: bool = False, id_: str | None = None) -> Markup:
    """A point in time, which the script shows in the reader's own zone."""
    when = datetime.fromtimestamp(time, UTC)
    text = when.strftime("%Y-%m-%d %H:%M:%S UTC" if date else "%H:%M:%S UTC")
    return tag("time", text, datetime=when.isoformat(timespec="seconds"), data_date="yes" if date else None, id_=id_)


def bar(share: float, severity: str) -> Markup:
    """A horizontal bar, filled so far; the number stands beside it."""
    filled = f"{100 * min(max(share, 0.0), 1.0):.1f}"
    return tag(
        "svg",
        tag("rect", width=100, height=8, class_="track"),
        tag("rect", width=filled, height=8, class_="fill"),
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        class_=f"bar {severity}",
        aria_hidden="true",
    )


def table(
    heads: Iterable[str], rows: Iterable[Iterable[Child]], *, caption: str, numbers: Iterable[int] = ()
) -> Markup:
    """A table; `numbers` are the columns that are aligned to the right."""
    right = set(numbers)

    def cells(name: str, row: Iterable[Child], **attributes: str) -> Iterable[Markup]:
        return [tag(name, cell, class_="number" if i in right else None, **attributes) for i, cell in enumerate(row)]

    head = tag("thead", tag("tr", cells("th", heads, scope="col")))
    body = tag("tbody", [tag("tr", cells("td", row)) for row in rows])
    # A region that scrolls must be reachable by keyboard.
    return tag(
        "div",
        tag("table", tag("caption", caption), head, body),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def more(count: int, what: str, where: str) -> Markup | None:
    """How many are not shown, and where they are; None where all are."""
    return tag("p", f"and {count:,} more: ", tag("a", what, href=where), class_="more") if count > 0 else None
