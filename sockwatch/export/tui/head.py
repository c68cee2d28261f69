"""The lines above the table: the verdict, what happens a second, the states, and the views."""

from collections.abc import Mapping

from rich.style import Style
from rich.text import Text

from sockwatch.export.diagram import rate_text
from sockwatch.export.layout import duration, number
from sockwatch.export.state_counts import state_counts
from sockwatch.export.tui.follow import clock_text
from sockwatch.export.tui.tables import STYLES, View
from sockwatch.export.wording import decisive, outcome
from sockwatch.model.finding import Severity
from sockwatch.model.printable import printable
from sockwatch.model.report import Report, Status

RATES: Mapping[str, str] = {
    "Tcp.ActiveOpens": "opened",
    "Tcp.PassiveOpens": "accepted",
    "TcpExt.TW": "closed here",
    "Tcp.EstabResets": "reset",
    "TcpExt.TCPSynRetrans": "SYN again",
    "TcpExt.ListenDrops": "dropped by listeners",
}
"""Counters, and what one event of each is called."""
TABS = (View.FINDINGS, View.STATES, View.PROCESSES, View.PEERS, View.PORTS, View.LISTENERS, View.BUDGETS)
_STATUS = {
    Status.OK: ("ok", "bold green"),
    Status.WARNING: ("! warning", "bold yellow"),
    Status.CRITICAL: ("!! critical", "bold red"),
    Status.UNKNOWN: ("? unknown", "bold magenta"),
}
_SIGNS = {Severity.CRITICAL: "!!", Severity.WARNING: "!"}


def verdict_text(report: Report, where: str, *, age: float, late: bool, failure: str, paused: bool) -> Text:
    """The status, and how far it is to be believed: `age` is seconds since that look."""
    word, style = _STATUS[report.status]
    text = Text(word, style, no_wrap=True, overflow="ellipsis")
    if failure:
        return text.append(f" before. Not seen for {duration(age)}: {printable(failure)}", "bold red")
    gap = decisive(report)
    said = f"{gap.what}: {gap.why}" if gap is not None else outcome(report) or "nothing wrong"
    text.append(f"  {printable(report.host)}: {printable(said)}", "bold")
    if late:
        text.append(f"  no new look for {duration(age)}", "bold red")
    if paused:
        text.append("  paused", "reverse")
    return text.append(f"  {printable(where)}", "dim")


def rates_text(report: Report, rates: Mapping[str, float]) -> Text:
    """How much was seen, and what the kernel counts; how much could not be seen."""
    parts = [f"{rate_text(rates[counter])} {word}" for counter, word in RATES.items() if counter in rates]
    unseen = f" ({number(len(report.gaps))} gaps)" if report.gaps else ""
    said = f"{number(report.total)} sockets{unseen} at {clock_text(report.time)}"
    return Text("  ".join([said, *parts]), "dim", no_wrap=True, overflow="ellipsis")


def states_text(report: Report) -> Text:
    """The states that have sockets, the worst first."""
    text = Text()
    known = [(state, about) for state, about in state_counts(report).items() if about.count]
    known.sort(key=lambda pair: (-pair[1].severity.rank if pair[1].severity else 0, -(pair[1].count or 0)))
    for state, about in known:
        sign = _SIGNS.get(about.severity, "") if about.severity else ""
        style = STYLES[about.severity] if about.severity else ""
        said = f"{state.label} {number(about.count or 0)}{sign}".replace(" ", "\N{NO-BREAK SPACE}")
        text.append(said, style).append("  ")
    return text


def tabs_text(current: View, findings: int) -> Text:
    """The views with their keys; a click on one opens it."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for key, view in enumerate(TABS, 1):
        count = f" {findings}" if view is View.FINDINGS and findings else ""
        click = Style(meta={"@click": f"app.view('{view.value}')"})
        style = Style.parse("reverse" if view is current else "none") + click
        text.append(f" {key} {view.value}{count} ", style)
    return text
