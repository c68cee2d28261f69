"""The last hours: the script draws them from /api/v1/history."""

from sockwatch.export.markup import Markup, tag
from sockwatch.export.web.page.parts import section

_SPANS = (("1 h", 3600), ("6 h", 21600), ("24 h", 86400), ("7 d", 604800))


def timeline() -> Markup:
    """Two empty charts and the choice of how far back; without the script there is the API."""
    buttons = [
        tag("button", text, type="button", data_span=seconds, aria_pressed="true" if i == 1 else "false")
        for i, (text, seconds) in enumerate(_SPANS)
    ]
    return section(
        "timeline",
        "The last hours",
        tag("div", buttons, class_="spans", role="group", aria_label="How far back", hidden=True),
        tag(
            "p",
            "The charts need JavaScript. The numbers are in ",
            tag("a", "/api/v1/history", href="/api/v1/history"),
            ".",
            class_="nothing",
            id="timeline-said",
        ),
        tag("h3", "Sockets in each state", id="chart-state-title", hidden=True),
        tag("div", id="chart-state", class_="chart", role="img", aria_labelledby="chart-state-title"),
        tag("h3", "Sockets in findings", id="chart-finding-title", hidden=True),
        tag("div", id="chart-finding", class_="chart", role="img", aria_labelledby="chart-finding-title"),
        tag("ol", id="past-findings", class_="past"),
    )
