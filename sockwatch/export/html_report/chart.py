"""Lines over time, and findings as bars below them, as SVG without a script."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sockwatch.export.history.records import Chart, Interval, Line
from sockwatch.export.history.timeline import Timeline
from sockwatch.export.layout import number
from sockwatch.export.markup import Markup, tag

MOST_LINES = 6
MOST_BARS = 40
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 260, 70, 10, 10, 26
_BAR, _PAD = 24, 8
_TICKS = 7
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEPS = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE * many for many in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * many for many in (1, 2, 3, 4, 6, 12)),
    *(_DAY * many for many in (1, 2, 7, 14, 28)),
)
"""Seconds between two marks of the time."""
_LABEL = 80
"""How wide a time with its day is."""


def state_chart(chart: Chart, gaps: Sequence[Interval]) -> Markup | None:
    """The states with most sockets; None where nothing is known."""
    lines = _largest(chart)
    highest = max((value for line in lines for value in line.high if value is not None), default=0.0)
    if not highest:
        return None
    since, until = chart.times[0], chart.times[-1] + chart.step
    scale = (_HEIGHT - _TOP - _BOTTOM) / highest

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value * scale

    drawn = tag(
        "svg",
        _shaded(gaps, since, until, _HEIGHT - _BOTTOM),
        [_level(y(highest * part), number(round(highest * part))) for part in (0, 0.5, 1)],
        _ticks(since, until, _HEIGHT),
        [tag("path", d=_path(line, chart, gaps, y), class_=f"line s{i}") for i, line in enumerate(lines)],
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        class_="plot",
        role="img",
        aria_label="Sockets in each state over time",
    )
    legend = [
        tag("li", tag("i", class_=f"key s{i}"), line.series.name, tag("small", f" up to {number(round(_most(line)))}"))
        for i, line in enumerate(lines)
    ]
    return tag("figure", drawn, tag("ul", legend, class_="legend"))


def finding_bars(timeline: Timeline, since: float, until: float) -> Markup | None:
    """Each finding from its beginning to its end, or to when it was seen last."""
    shown = timeline.findings[:MOST_BARS]
    if not shown or until <= since:
        return None
    height = _TOP + len(shown) * _BAR + _BOTTOM
    bars = []
    for row, past in enumerate(shown):
        left, right = _x(past.opened, since, until), _x(timeline.end(past), since, until)
        top = _TOP + row * _BAR
        label = f"{past.identity.code}/{past.identity.variant}" if past.identity.variant else past.identity.code
        width = max(right - left, 3)
        inside = left > _WIDTH / 2
        bars.append(
            tag(
                "g",
                tag("title", f"{label}: {past.summary}"),
                tag("rect", x=f"{left:.1f}", y=top + _PAD / 2, width=f"{width:.1f}", height=_BAR - _PAD, rx=3),
                tag(
                    "text",
                    f"{label} ({number(past.most)})",
                    x=f"{left - 5 if inside else left + 5:.1f}",
                    y=top + _BAR - _PAD,
                    text_anchor="end" if inside else "start",
                ),
                class_=f"episode {past.worst.value}",
            )
        )
    return tag(
        "svg",
        _shaded(timeline.gaps, since, until, height - _BOTTOM),
        _ticks(since, until, height),
        bars,
        viewBox=f"0 0 {_WIDTH} {height}",
        class_="plot",
        role="img",
        aria_label="Findings over time",
    )


def _largest(chart: Chart) -> list[Line]:
    return [line for line in sorted(chart.lines, key=_most, reverse=True) if _most(line)][:MOST_LINES]


def _most(line: Line) -> float:
    return max((value for value in line.high if value is not None), default=0.0)


def _x(time: float, since: float, until: float) -> float:
    part = min(max((time - since) / (until - since), 0.0), 1.0)
    return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)


def _path(line: Line, chart: Chart, gaps: Sequence[Interval], y: Callable[[float], float]) -> str:
    """Steps between two looks are bridged, and times of which nothing is known are not."""
    since, until = chart.times[0], chart.times[-1] + chart.step
    parts: list[str] = []
    before = None
    for time, value in zip(chart.times, line.high, strict=True):
        if value is None:
            continue
        blind = before is None or any(gap.began < time and (gap.ended or until) > before for gap in gaps)
        left, right = _x(time, since, until), _x(time + chart.step, since, until)
        parts.append(f"{'M' if blind else 'L'}{left:.1f} {y(value):.1f}H{right:.1f}")
        before = time + chart.step
    return "".join(parts)


def _level(y: float, text: str) -> list[Markup]:
    return [
        tag("path", d=f"M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}", class_="level"),
        tag("text", text, x=_LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end"),
    ]


def _ticks(since: float, until: float, height: int) -> list[Markup]:
    """Round times, and none that would be cut at the edge."""
    span = until - since
    step = next((step for step in _STEPS if span / step <= _TICKS), int(span / _TICKS / _DAY + 1) * _DAY)
    form = "%H:%M:%S" if step < _MINUTE else "%H:%M" if span <= _DAY else "%m-%d %H:%M" if step < _DAY else "%Y-%m-%d"
    made = []
    for time in range(int(-(-since // step)) * step, int(until) + 1, step):
        x = _x(time, since, until)
        if x <= _WIDTH - _LABEL / 2:
            text = datetime.fromtimestamp(time, UTC).strftime(form)
            made.append(tag("text", text, x=f"{x:.1f}", y=height - 6, text_anchor="middle"))
    return made


def _shaded(gaps: Sequence[Interval], since: float, until: float, bottom: int) -> list[Markup]:
    """Times of which nothing is known."""
    made = []
    for gap in gaps:
        left, right = _x(gap.began, since, until), _x(gap.ended or until, since, until)
        width = f"{max(right - left, 1):.1f}"
        shade = tag("rect", class_="unseen", x=f"{left:.1f}", y=_TOP, width=width, height=bottom - _TOP)
        made.append(tag("g", tag("title", f"nothing is known: {gap.why}"), shade))
    return made
