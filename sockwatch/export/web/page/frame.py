"""The whole page: its head, its parts in order, and what is the same on every page."""

from sockwatch import __version__
from sockwatch.export.markup import Child, Markup, document, tag
from sockwatch.export.web.live import Shown
from sockwatch.export.web.page.cards import findings
from sockwatch.export.web.page.coverage import checked, namespaces, not_seen
from sockwatch.export.web.page.figure import states
from sockwatch.export.web.page.listeners import listeners
from sockwatch.export.web.page.ports import budgets
from sockwatch.export.web.page.timeline import timeline
from sockwatch.export.web.page.verdict import freshness, stale, title, verdict
from sockwatch.export.web.per_poll import PerPoll

_PARTS = {
    "verdict-text": verdict,
    "findings": findings,
    "states": states,
    "budgets": budgets,
    "listeners": listeners,
    "namespaces": namespaces,
    "not-seen": not_seen,
    "checked": checked,
}
"""What changes from poll to poll, by the id of its element."""


class StatusPage:
    """Belongs to one thread. `history` says whether there is one to draw."""

    def __init__(self, *, history: bool) -> None:
        self._history = history
        self._parts = PerPoll(lambda shown: {name: part(shown) for name, part in _PARTS.items()})

    def parts(self, shown: Shown) -> dict[str, Markup]:
        """What a page that is open replaces, by id."""
        return self._parts.of(shown)

    def text(self, shown: Shown, age: float) -> str:
        """The page; `age` is how many seconds ago that poll began."""
        parts = self.parts(shown)
        rest = [parts[name] for name in ("budgets", "listeners", "namespaces", "not-seen", "checked")]
        main = tag(
            "main",
            tag("div", parts["verdict-text"], id="verdict", role="status", aria_live="polite"),
            tag("div", parts["findings"], parts["states"], class_="columns"),
            tag("section", id="sockets", aria_label="Sockets", tabindex=-1, hidden=True),
            timeline(kept=self._history),
            tag("div", rest, class_="grid"),
            id="main",
        )
        return frame(shown, age, title(shown, age), main)


def frame(shown: Shown, age: float, heading: str, main: Markup) -> str:
    """A page around its main part."""
    report = shown.poll.report
    return _document(
        heading,
        tag(
            "header",
            tag("a", "Skip to the verdict", href="#main", class_="skip"),
            tag("p", tag("a", "sockwatch", href="/"), class_="name"),
            tag(
                "p",
                tag("b", report.host, id="host"),
                " ",
                tag("span", f"Linux {report.kernel}", class_="kernel"),
                class_="host",
            ),
            freshness(shown, age),
        ),
        stale(shown, age),
        main,
    )


def waiting() -> str:
    """The page until the first poll is over; the script asks again."""
    main = tag("main", tag("h1", "sockwatch has not looked yet."), tag("p", "The first look takes a moment; reload."))
    return _document("sockwatch", tag("header", tag("p", "sockwatch", class_="name")), main)


def _document(heading: str, *body: Child) -> str:
    links = (("Metrics", "/metrics"), ("Report (JSON)", "/api/v1/report"), ("API", "/api/v1/openapi.json"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", heading),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
        tag("link", rel="stylesheet", href="/static/uPlot.min.css"),
        tag("link", rel="stylesheet", href="/static/page.css"),
        tag("script", src="/static/uPlot.iife.min.js", defer=True),
        tag("script", src="/static/page.js", type="module"),
    )
    foot = tag(
        "footer",
        tag("nav", tag("ul", [tag("li", tag("a", text, href=path)) for text, path in links]), aria_label="Data"),
        tag("p", f"sockwatch {__version__}"),
    )
    return document(tag("html", head, tag("body", *body, foot), lang="en"))
