"""What happened, as text for people and as JSON, schema "sockwatch.history/1"."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sockwatch.export.history.episode_table import SEEN_EVERY
from sockwatch.export.history.episodes import EventKind
from sockwatch.export.history.reader import History
from sockwatch.export.history.records import Interval, PastEvent, PastFinding
from sockwatch.export.layout import BOLD, DIM, RED, YELLOW, Line, duration, labelled, paint, wrap
from sockwatch.model.finding import Severity

SCHEMA = "sockwatch.history/1"
MOST_FINDINGS = 1000
"""The newest are shown."""
_MOST_EVENTS = 10_000
_STYLE = {Severity.INFO: DIM, Severity.WARNING: YELLOW, Severity.CRITICAL: RED}
_DATE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What happened from `since` to `until`, in seconds since 1970; the oldest first."""

    since: float
    until: float
    findings: tuple[PastFinding, ...]
    events: tuple[PastEvent, ...]
    gaps: tuple[Interval, ...]
    span: tuple[float, float] | None
    """From the first to the last look that succeeded and is kept."""

    def end(self, past: PastFinding) -> float:
        """When a finding was gone; of one that is open, when it was seen last, which no later time is known of."""
        if past.closed is not None:
            return past.closed
        last = past.seen if self.span is None else self.span[1]
        return last if 0 <= last - past.seen <= SEEN_EVERY else past.seen


def read_timeline(history: History, since: float, until: float) -> Timeline:
    """All of it. Raises HistoryError."""
    return Timeline(
        since=since,
        until=until,
        findings=history.findings(since, until, limit=MOST_FINDINGS)[::-1],
        events=history.events(since, until, limit=_MOST_EVENTS)[::-1],
        gaps=history.gaps(since, until),
        span=history.span(),
    )


def timeline_text(timeline: Timeline, *, width: int = 80, colour: bool = False) -> str:
    """Findings and gaps in the order in which they began, newline at the end."""
    began: list[tuple[float, list[Line]]] = [(gap.began, _gap(gap, timeline.until, width)) for gap in timeline.gaps]
    events = _by_number(timeline)
    began += [(past.opened, list(_finding(past, events[past.number], timeline, width))) for past in timeline.findings]
    lines = [Line("", _head(timeline), text_style=BOLD)]
    for _, part in sorted(began, key=lambda pair: pair[0]):
        lines += [Line(), *part]
    return paint(lines, colour=colour)


def timeline_json(timeline: Timeline) -> str:
    """One JSON object and a newline; each finding with what happened to it."""
    events = _by_number(timeline)
    made = {
        "schema": SCHEMA,
        "since": _rfc3339(timeline.since),
        "until": _rfc3339(timeline.until),
        "first_look": None if timeline.span is None else _rfc3339(timeline.span[0]),
        "last_look": None if timeline.span is None else _rfc3339(timeline.span[1]),
        "findings": [_finding_object(past, events[past.number]) for past in timeline.findings],
        "gaps": [{"began": _rfc3339(gap.began), "ended": _rfc3339(gap.ended), "why": gap.why} for gap in timeline.gaps],
    }
    return json.dumps(made, allow_nan=False) + "\n"


def _by_number(timeline: Timeline) -> Mapping[int, Sequence[PastEvent]]:
    """What happened to each finding."""
    found: dict[int, list[PastEvent]] = {past.number: [] for past in timeline.findings}
    for event in timeline.events:
        if event.number in found:
            found[event.number].append(event)
    return found


def _head(timeline: Timeline) -> str:
    if timeline.span is None:
        return "no looks are kept"
    count = len(timeline.findings)
    how_many = "no findings" if not count else "1 finding" if count == 1 else f"{count:,} findings"
    least = "at least " if count >= MOST_FINDINGS else ""
    return f"{least}{how_many} since {_time(timeline.since)}; the last look was at {_time(timeline.span[1])}"


def _finding(past: PastFinding, events: Iterable[PastEvent], timeline: Timeline, width: int) -> Iterator[Line]:
    identity = past.identity
    name = f"{identity.code}/{identity.variant}" if identity.variant else identity.code
    yield Line(f"{past.worst.value:<10}", name, _STYLE[past.worst], BOLD)
    yield from labelled("when", _seen(past, timeline.end(past)), width)
    who = " ".join(part for part in (identity.process, identity.unit or identity.container) if part)
    ends = " to ".join(end for end in (identity.local, identity.remote) if end)
    where = ", ".join(part for part in (who, ends, identity.netns if identity.netns != "host" else "") if part)
    yield from labelled("who", where, width) if where else ()
    most = "" if past.most == past.count else f", {past.most:,} at most"
    yield from labelled("sockets", f"{past.count:,}{most}", width)
    yield from wrap(past.summary, width, "  ")
    for event in events:
        if event.kind is EventKind.CHANGED:
            yield from labelled("changed", f"{_time(event.time)}: {event.severity}, {event.count:,} sockets", width)


def _gap(gap: Interval, until: float, width: int) -> list[Line]:
    return [
        Line("unknown   ", "nothing was seen", DIM, DIM),
        *labelled("when", _when(gap.began, gap.ended, until), width),
        *labelled("why", gap.why, width),
    ]


def _seen(past: PastFinding, end: float) -> str:
    if past.closed is not None:
        return _when(past.opened, end, end)
    return f"since {_time(past.opened)}, last seen {_until(past.opened, end)}"


def _when(began: float, ended: float | None, until: float) -> str:
    if ended is None:
        return f"since {_time(began)} ({duration(max(until - began, 0.0))})"
    return f"{_time(began)} to {_until(began, ended)}"


def _until(began: float, ended: float) -> str:
    end = _time(ended)
    same_day = end[:_DATE] == _time(began)[:_DATE]
    return f"{end[_DATE + 1 :] if same_day else end} ({duration(max(ended - began, 0.0))})"


def _finding_object(past: PastFinding, events: Iterable[PastEvent]) -> dict[str, Any]:
    return {
        "number": past.number,
        **asdict(past.identity),
        "opened": _rfc3339(past.opened),
        "seen": _rfc3339(past.seen),
        "closed": _rfc3339(past.closed),
        "severity": past.severity.value,
        "worst": past.worst.value,
        "count": past.count,
        "most": past.most,
        "summary": past.summary,
        "events": [
            {
                "time": _rfc3339(event.time),
                "kind": event.kind.value,
                "severity": event.severity.value,
                "count": event.count,
                "finding": event.finding,
            }
            for event in events
        ],
    }


def _time(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _rfc3339(time: float | None) -> str | None:
    if time is None:
        return None
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
