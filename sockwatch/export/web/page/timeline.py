"""The last hours: the script draws them from /api/v1/history."""

from sockwatch.export.markup import Markup, tag
from sockwatch.export.web.page.parts import section

_TITLE = "The last hours"
_SPANS = (("2 h", 7200), ("6 h", 21600), ("24 h", 86400), ("7 d", 604800))


def timeline(*, kept: bool) -> Markup:
    """Two empty charts and the choice of how far back; without the script there is the API."""
    if not kept:
        said = "No history is kept: the daemon has no state directory."
        return section("timeline", _TITLE, tag("p", said, class_="nothing"))
    buttons = [
        tag("button", text, type="button", data_span=seconds, aria_pressed="true" if i == 0 else "false")
        for i, (text, seconds) in enumerate(_SPANS)
    ]
    return section(
        "timeline",
        _TITLE,
        tag("div", buttons, class_="spans", role="group", aria_label="How far back", hidden=True),
        tag(
            "p",
            "The charts need JavaScript. The numbers are in ",
            tag("a", "/api/v1/history", href="/api/v1/history"),
            ".",
            class_="nothing",
            id="timeline-said",
        ),
        tag("div", _chart("state", "Sockets in each state"), _chart("finding", "Sockets in findings"), class_="charts"),
        tag("ol", id="past-findings", class_="past"),
    )


def _chart(name: str, title: str) -> Markup:
    heading = tag("h3", title, id=f"chart-{name}-title", hidden=True)
    return tag(
        "div",
        heading,
        tag("div", id=f"chart-{name}", class_="chart", role="img", aria_labelledby=f"chart-{name}-title"),
    )
