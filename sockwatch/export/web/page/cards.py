"""Findings as cards: what, who, what to do, and then all that the verdict rests on."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import chain, count

from sockwatch.export.layout import number
from sockwatch.export.markup import Child, Markup, tag
from sockwatch.export.web.finding_query import sockets_of
from sockwatch.export.web.live import Shown
from sockwatch.export.web.page.drill_down import PATH
from sockwatch.export.web.page.finding_parts import knobs, socket_rows
from sockwatch.export.web.page.parts import moment, more, section, sign
from sockwatch.export.wording import (
    command,
    evidence,
    oldest,
    other_end_text,
    where,
    who,
)
from sockwatch.model.alert import BLIND, Alert, AlertState
from sockwatch.model.finding import Finding, Severity

MOST_CARDS = 30
_REPORT = "/api/v1/report"


def findings(shown: Shown) -> Markup:
    """The cards, worst first; what is only worth knowing is folded; then what is no longer seen."""
    found = shown.poll.report.findings
    alerts = {id(alert.finding): alert for alert in shown.poll.alerts if alert.finding is not None}
    keys = _keys(found[:MOST_CARDS])
    cards = [_card(finding, key, alerts.get(id(finding))) for key, finding in keys.items()]
    if not found:
        said = "Nothing was found." if shown.poll.success else "Nothing could be looked at."
        cards = [tag("p", said, class_="nothing")]
    left = more(len(found) - MOST_CARDS, "the report as JSON", _REPORT)
    return section("findings", "Findings", cards, left, _over(shown))


def _card(finding: Finding, key: str, alert: Alert | None) -> Markup:
    serious = finding.severity is not Severity.INFO
    head = tag(
        "p",
        sign(finding.severity),
        tag("span", finding.severity.value, class_="word"),
        tag("code", finding.name),
        tag("span", "silenced", class_="chip") if alert and alert.silenced_by is not None else None,
        class_="kind",
    )
    heading = tag("h3", finding.summary, id=f"{key}-title")
    body = [
        _who(finding),
        _remedies(finding.remedies),
        _facts(finding, alert),
        knobs(finding),
        _sockets(finding),
    ]
    classes = f"card {finding.severity.value}"
    if serious:
        return tag("article", head, heading, body, class_=classes, id=key, aria_labelledby=f"{key}-title")
    return tag("details", tag("summary", head, heading), body, class_=classes, id=key)


def _keys(found: Sequence[Finding]) -> dict[str, Finding]:
    """Each finding by an id that it has from poll to poll; those that nothing but a pid tells apart are numbered."""
    keys: dict[str, Finding] = {}
    for finding in found:
        subject = finding.subject
        process = subject.process.name if subject.process else ""
        parts = (finding.name, subject.netns, subject.local or "", subject.remote or "", process)
        key = f"finding-{sha256(repr(parts).encode()).hexdigest()[:12]}"
        keys[next(k for k in chain([key], (f"{key}-{i}" for i in count(2))) if k not in keys)] = finding
    return keys


def _who(finding: Finding) -> Markup | None:
    process = finding.subject.process
    said = who(finding)
    if not said:
        return None
    if process is None:
        return tag("p", said, class_="who")
    name = f"{process.name}[{process.pid}]"
    return tag("p", tag("strong", name), said.removeprefix(name), class_="who")


def _remedies(remedies: Sequence[str]) -> Markup | None:
    if not remedies:
        return None
    steps: Child = tag("p", remedies[0]) if len(remedies) == 1 else tag("ol", [tag("li", step) for step in remedies])
    return tag("div", tag("h4", "What to do"), steps, class_="remedies")


def _facts(finding: Finding, alert: Alert | None) -> Markup:
    def pairs() -> Iterator[tuple[str, Child]]:
        if alert is not None:
            yield "seen since", [moment(alert.began, date=True), _silence(alert)]
        yield "oldest", oldest(finding)
        yield "where", where(finding)
        yield "other end", other_end_text(finding.other_end)
        yield "why", finding.cause
        yield "command", tag("code", text) if (text := command(finding.subject.process)) else ""
        shown = [
            tag("span", name.replace("_", " "), " ", tag("b", value), class_="evidence")
            for name, value in evidence(finding)
        ]
        yield "evidence", shown

    return tag("dl", [tag("div", tag("dt", name), tag("dd", said)) for name, said in pairs() if said], class_="facts")


def _silence(alert: Alert) -> str:
    if alert.silenced_by is not None:
        return f"; nobody is told: {alert.silenced_by or 'silenced'}"
    if alert.inhibited_by is not None:
        return f"; nobody is told, because {alert.inhibited_by.code} explains it"
    return "; not told yet" if alert.state is AlertState.PENDING else ""


def _sockets(finding: Finding) -> Markup | None:
    if not finding.sockets:
        return None
    few = len(finding.sockets)
    title = f"{number(few)} of {number(finding.count)} sockets" if finding.count > few else "Its sockets"
    every = tag("p", tag("a", "Look at all of them", href=sockets_of(finding).address(PATH), class_="drill"))
    return tag("details", tag("summary", title), socket_rows(finding, title), every)


def _over(shown: Shown) -> Markup | None:
    """What was there and is not in this look: over, or not yet certain to be.

    A look that failed tells nothing of it. That looks fail is said by the verdict.
    """
    present = {id(finding) for finding in shown.poll.report.findings}
    gone = [a for a in shown.poll.alerts if id(a.finding) not in present and a.identity.code != BLIND]
    if not gone:
        return None
    looked = shown.poll.success
    items = [
        tag("li", tag("code", alert.name), f" {alert.summary}: ", _end(alert, looked=looked), class_=alert.state.value)
        for alert in gone[:MOST_CARDS]
    ]
    heading = tag("h3", "No longer seen" if looked else "Last known")
    return tag("div", heading, tag("ul", items), class_="over", id="over")


def _end(alert: Alert, *, looked: bool) -> Child:
    if alert.state is AlertState.RESOLVED and alert.resolved is not None:
        return ["over since ", moment(alert.resolved)]
    if not looked:
        return "whether it is still so cannot be told now"
    return "not in the last look; it counts as over when it stays away"
