"""The verdict: what the last poll says, since when, and how old it is."""

from sockwatch.export.layout import duration, number
from sockwatch.export.markup import Markup, tag
from sockwatch.export.web.live import Shown
from sockwatch.export.web.page.parts import moment, sign
from sockwatch.export.wording import decisive, outcome
from sockwatch.model.report import Status

_WORDS = {Status.OK: "Nothing wrong", Status.WARNING: "Warning", Status.CRITICAL: "Critical", Status.UNKNOWN: "Unknown"}
_STALE_INTERVALS = 3
"""A look that is older than so many intervals, and longer than it took, says nothing about now."""


def verdict(shown: Shown) -> Markup:
    """What is wrong, in one line, and since when. It is read aloud when it changes, so nothing in it counts time."""
    report = shown.poll.report
    gap = decisive(report)
    if gap is not None:
        said = f"{gap.what}: {gap.why}"
    else:
        said = f"{outcome(report) or 'no finding'} in {number(report.total)} TCP sockets"
    return tag(
        "div",
        sign(report.status),
        tag("div", tag("h1", _WORDS[report.status]), tag("p", said, class_="said"), _since(shown)),
        class_=f"verdict {report.status.value}",
        id="verdict-text",
    )


def stale_after(shown: Shown) -> float:
    """Seconds after which a poll is too old to be believed."""
    return _STALE_INTERVALS * shown.poll.interval + shown.poll.took + 1


def stale(shown: Shown, age: float) -> Markup:
    """A warning that what is shown is not about now; hidden while it is."""
    words = "What follows was so at the last look, and says nothing about now."
    return tag(
        "div",
        # An alert is read aloud whenever its text changes: what counts stands beside it.
        tag("p", tag("strong", "Not current. "), words, role="alert"),
        tag("p", "The last look is ", tag("span", duration(age), id="stale-age"), " old."),
        id="stale",
        class_="stale",
        hidden=age <= stale_after(shown),
    )


def freshness(shown: Shown, age: float) -> Markup:
    """When the last look was; the script says how long ago that is, which would be wrong as soon as it stands there."""
    poll = shown.poll
    return tag(
        "p",
        "looked at ",
        moment(poll.time, date=True, id_="looked"),
        tag("span", id="age"),
        f", every {duration(poll.interval) if poll.interval >= 1 else f'{poll.interval:g} s'}",
        id="freshness",
        data_age=f"{age:.2f}",
        data_stale_after=f"{stale_after(shown):.2f}",
        class_="freshness",
    )


def title(shown: Shown, age: float = 0.0) -> str:
    """What the browser's tab says of a look that is so many seconds old."""
    word = _WORDS[shown.status] if age <= stale_after(shown) else "Not current"
    return f"{word} · {shown.poll.report.host} · sockwatch"


def _since(shown: Shown) -> Markup:
    """When the status became what it is. Its alerts do not tell: one may have begun with another severity."""
    start = ", when sockwatch began to look" if shown.from_start else None
    return tag("p", "since ", moment(shown.since), start, class_="since")
