"""Port budgets: how many source ports are used towards a destination, and when the last one is."""

from sockwatch.export.layout import duration, number
from sockwatch.export.markup import Markup, tag
from sockwatch.export.web.live import Shown
from sockwatch.export.web.page.parts import bar, more, section
from sockwatch.model.report import BudgetUse

MOST_BUDGETS = 12
_CRITICAL, _WARNING = 0.95, 0.8
"""Colours only; the findings judge."""
_SOON = 300


def budgets(shown: Shown) -> Markup:
    """The fullest, as bars."""
    every = shown.poll.report.budgets
    items = [_budget(use) for use in every[:MOST_BUDGETS]]
    listed = tag("ul", items, class_="bars") if items else tag("p", _none(shown), class_="nothing")
    return section("budgets", "Port budgets", listed, more(len(every) - MOST_BUDGETS, "the metrics", "/metrics"))


def _none(shown: Shown) -> str:
    return "No budget of source ports is used to a tenth." if shown.poll.success else "Nothing could be looked at."


def _budget(use: BudgetUse) -> Markup:
    soon = use.seconds_left is not None and use.seconds_left <= _SOON
    severity = "critical" if soon or use.ratio >= _CRITICAL else "warning" if use.ratio >= _WARNING else "calm"
    to = "all destinations (bind)" if use.destination == "*" else use.destination
    left = f"none left in {duration(use.seconds_left)} at this rate" if use.seconds_left is not None else ""
    return tag(
        "li",
        tag("span", use.source, " → ", to, class_="what"),
        tag("span", f"{100 * use.ratio:.0f} %", class_="number"),
        bar(use.ratio, severity),
        tag("small", f"{number(use.used)} of {number(use.usable)} ports", f"; {left}" if left else "", _in(use.netns)),
    )


def _in(netns: str) -> str:
    return "" if netns == "host" else f"; namespace {netns}"
