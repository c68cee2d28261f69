"""The state diagram, and the same numbers as a table for those who cannot see it."""

from collections.abc import Mapping
from urllib.parse import urlencode

from sockwatch.export.diagram import RATES, rate_text, state_diagram
from sockwatch.export.layout import number
from sockwatch.export.markup import Markup, tag
from sockwatch.export.state_counts import StateCount, state_counts
from sockwatch.export.web.live import Shown
from sockwatch.export.web.page.parts import section, table
from sockwatch.model.state import State


def states(shown: Shown) -> Markup:
    """The figure, what happens a second, and a table."""
    counts = state_counts(shown.poll.report)
    total = f"{number(shown.poll.report.total)} TCP sockets" if shown.poll.success else "not counted"
    return section(
        "states",
        "States",
        tag("figure", state_diagram(counts, shown.rates, link_to_state), _legend()),
        _rates(shown),
        _table(counts),
        note=total,
    )


def link_to_state(state: State) -> str:
    """Where its sockets are listed."""
    return f"/sockets?{urlencode({'state': state.label})}"


def _legend() -> Markup:
    return tag(
        "figcaption",
        "The stripe of a box is the share of its sockets that are in findings, or that have been closing for long. "
        "Choose a state to see its sockets.",
    )


def _rates(shown: Shown) -> Markup:
    known = [
        tag("div", tag("dt", what), tag("dd", rate_text(shown.rates[counter]), " ", tag("code", counter)))
        for counter, what in RATES.items()
        if counter in shown.rates
    ]
    if not known:
        said = "What happens a second takes two looks one after the other that did not fail."
        return tag("p", said, class_="nothing")
    return tag("details", tag("summary", "What happens a second"), tag("dl", known, class_="rates"))


def _table(counts: Mapping[State, StateCount]) -> Markup:
    rows = [
        (
            tag("a", state.label, href=link_to_state(state), class_="drill"),
            "?" if about.count is None else number(about.count),
            number(about.suspicious) if about.suspicious else "",
            number(about.aged) if about.aged else "",
            about.severity.value if about.severity else "",
        )
        for state, about in counts.items()
    ]
    heads = ("state", "sockets", "in findings", "old", "severity")
    return tag(
        "details",
        tag("summary", "As a table"),
        table(heads, rows, caption="Sockets in each state", numbers=(1, 2, 3)),
    )
