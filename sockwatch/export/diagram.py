"""The TCP connection state diagram as RFC 9293 draws it (figure 5), with what this host has in each state.

Pure SVG without style: whoever shows it brings the classes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sockwatch.export.layout import number
from sockwatch.export.markup import Markup, join, tag
from sockwatch.export.state_counts import StateCount
from sockwatch.model.finding import Severity
from sockwatch.model.state import State

_WIDTH, _HEIGHT = 540, 602
_HALF, _TALL = 66, 29
"""Half the width and half the height of a box."""
_PLACES: Mapping[State, tuple[int, int]] = {
    State.BOUND: (270, 34),
    State.LISTEN: (270, 122),
    State.SYN_RECV: (72, 210),
    State.SYN_SENT: (468, 210),
    State.ESTABLISHED: (270, 298),
    State.FIN_WAIT_1: (72, 386),
    State.CLOSE_WAIT: (468, 386),
    State.FIN_WAIT_2: (72, 474),
    State.CLOSING: (270, 474),
    State.LAST_ACK: (468, 474),
    State.TIME_WAIT: (270, 562),
    State.CLOSE: (468, 562),
}
"""The centre of each box. Both of the figure's CLOSED boxes are ours: before (bound) and after (close)."""
_NAMES = {State.BOUND: "CLOSED (bound)", State.CLOSE: "CLOSED (close)"}
_SIGNS = {Severity.CRITICAL: "M0 -9 L9 9 H-9 Z", Severity.WARNING: "M0 -9 L9 0 L0 9 L-9 0 Z"}
"""A triangle and a diamond: what is bad shows without colours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edge:
    """An arrow. `said` is what happens there, at `x`, `y`; `rate` names the counter that counts it, with its word.

    The rate stands `below` that.
    """

    path: str
    said: str = ""
    x: int = 0
    y: int = 0
    anchor: str = "start"
    rate: tuple[str, str] | None = None
    below: int = 16


_EDGES = (
    _Edge(path="M252 63 V91", said="listen()", x=246, y=82, anchor="end"),
    _Edge(path="M288 93 V65", said="close()", x=294, y=82),
    _Edge(path="M336 26 H450 Q486 26 486 62 V179", said="connect(): SYN", x=344, y=18),
    _Edge(path="M462 181 V74 Q462 46 434 46 H338"),
    _Edge(path="M336 122 H402 Q438 122 438 156 V179", said="send", x=356, y=116),
    _Edge(path="M204 128 H116 Q86 128 86 158 V179", said="SYN arrives", x=98, y=146),
    _Edge(path="M58 181 V146 Q58 112 92 112 H202", said="RST", x=98, y=106),
    _Edge(path="M402 198 H140", said="SYN arrives: both opened", x=270, y=190, anchor="middle"),
    _Edge(
        path="M138 222 H222 Q252 222 252 246 V267",
        said="ACK arrives",
        x=146,
        y=238,
        rate=("Tcp.PassiveOpens", "accepted"),
    ),
    _Edge(path="M402 222 H318 Q288 222 288 246 V267", said="SYN,ACK arrives", x=396, y=238, anchor="end"),
    _Edge(path="M56 239 V355", said="close()", x=62, y=300),
    _Edge(path="M204 304 H120 Q88 304 88 336 V355", said="close(): FIN", x=98, y=326),
    _Edge(path="M336 304 H436 Q468 304 468 336 V355", said="FIN arrives", x=458, y=326, anchor="end"),
    _Edge(path="M72 415 V443", said="ACK arrives", x=80, y=434),
    _Edge(path="M138 390 H238 Q270 390 270 420 V443", said="FIN arrives", x=150, y=406),
    _Edge(path="M468 415 V443", said="close(): FIN", x=460, y=434, anchor="end"),
    _Edge(
        path="M72 503 V532 Q72 562 104 562 H202",
        said="FIN arrives",
        x=84,
        y=516,
        rate=("TcpExt.TW", "closed here"),
        below=14,
    ),
    _Edge(path="M270 503 V531", said="ACK", x=276, y=522),
    _Edge(path="M468 503 V531", said="ACK arrives", x=460, y=522, anchor="end"),
    _Edge(path="M336 562 H400", said="60 s", x=368, y=555, anchor="middle"),
)
_BESIDE = (
    ("Tcp.ActiveOpens", "opened", 536, 18, "end"),
    ("TcpExt.TCPSynRetrans", "SYN again", 468, 254, "middle"),
    ("Tcp.EstabResets", "reset", 270, 344, "middle"),
)
"""Counters that do not stand below the text of an arrow: beside that of connect(), and where the figure has no arrow
below the state that it happens in."""

RATES: Mapping[str, str] = {
    "Tcp.ActiveOpens": "connections opened by this side: connect() sent its first SYN",
    "Tcp.PassiveOpens": "connections accepted by the kernel for a listener",
    "Tcp.EstabResets": "connections that ended at once, by a reset from either side or a timeout",
    "Tcp.OutRsts": "resets sent, those to closed ports included",
    "TcpExt.TCPSynRetrans": "SYNs and SYN,ACKs sent again",
    "TcpExt.TW": "closes by this side: every entry into TIME_WAIT, and into FIN_WAIT_2 of a closed socket",
}
"""What each counter counts (kernel: net/ipv4/proc.c); TW is raised when the minisocket is made, which a socket in
FIN_WAIT_2 becomes when its program has closed it (net/ipv4/inet_timewait_sock.c)."""


def state_diagram(
    states: Mapping[State, StateCount],
    rates: Mapping[str, float] | None = None,
    link: Callable[[State], str] | None = None,
) -> Markup:
    """The figure. `rates` are events a second by counter, as far as they are known; `link` is where a state leads."""
    known = rates or {}
    return tag(
        "svg",
        _arrow_head(),
        tag("g", [_edge(edge, known) for edge in _EDGES], [_beside(known)], aria_hidden="true"),
        [_box(state, states.get(state, StateCount(count=None)), link) for state in _PLACES],
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        class_="diagram",
        role="group",
        aria_label="TCP states, as in RFC 9293, with the sockets in each",
    )


def rate_text(rate: float) -> str:
    """Events a second, as people say them."""
    if not rate:
        return "0/s"
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s" if rate >= 0.1 else "<0.1/s"  # noqa: PLR2004 - digits


def _arrow_head() -> Markup:
    point = tag("path", d="M0 0 L8 4 L0 8 Z", class_="arrow")
    sizes = {"markerWidth": 8, "markerHeight": 8, "refX": 7, "refY": 4}
    return tag("defs", tag("marker", point, id="arrow", orient="auto", markerUnits="userSpaceOnUse", **sizes))


def _edge(edge: _Edge, rates: Mapping[str, float]) -> Iterator[Markup]:
    yield tag("path", d=edge.path, class_="edge", marker_end="url(#arrow)")
    if edge.said:
        yield tag("text", edge.said, x=edge.x, y=edge.y, text_anchor=edge.anchor, class_="said")
    if edge.rate is not None and edge.rate[0] in rates:
        counter, word = edge.rate
        text = f"{word} {rate_text(rates[counter])}"
        yield tag("text", text, x=edge.x, y=edge.y + edge.below, text_anchor=edge.anchor, class_="rate")


def _beside(rates: Mapping[str, float]) -> Iterator[Markup]:
    for counter, word, x, y, anchor in _BESIDE:
        if counter in rates:
            text = f"{word} {rate_text(rates[counter])}"
            about = tag("title", RATES[counter])
            yield tag("text", text, about, x=x, y=y, text_anchor=anchor, class_="rate")


def _box(state: State, about: StateCount, link: Callable[[State], str] | None) -> Markup:
    x, y = _PLACES[state]
    count = "?" if about.count is None else number(about.count)
    classes = ["state", about.severity.value if about.severity else "empty" if not about.count else "calm"]
    odd = max(about.suspicious, about.aged)
    note = f"{number(about.suspicious)} in findings" if about.suspicious else f"{number(about.aged)} old" if odd else ""
    parts = [
        tag("rect", x=x - _HALF, y=y - _TALL, width=2 * _HALF, height=2 * _TALL, rx=9, class_="box"),
        tag("text", _NAMES.get(state, state.name), x=x, y=y - (16 if odd else 12), text_anchor="middle", class_="name"),
        tag("text", count, x=x, y=y + (3 if odd else 13), text_anchor="middle", class_="count odd" if odd else "count"),
    ]
    if odd:
        width = max(2 * (_HALF - 9) * about.share, 4)
        parts.append(tag("text", note, x=x, y=y + 17, text_anchor="middle", class_="note"))
        parts.append(tag("rect", x=x - _HALF + 9, y=y + _TALL - 6, width=f"{width:.1f}", height=3, class_="share"))
    if about.severity in _SIGNS:
        parts.append(
            tag(
                "path", d=_SIGNS[about.severity], transform=f"translate({x + _HALF - 3} {y - _TALL + 3})", class_="sign"
            )
        )
    told = f"{state.label}: {count if about.count is not None else 'not known'}" + (f", {note}" if note else "")
    told += f", {about.severity.value}" if about.severity else ""
    box = join(tag("title", told), parts)
    if link is None:
        return tag("g", box, class_=" ".join(classes), id=f"state-{state.label}")
    return tag("a", box, href=link(state), class_=" ".join(classes), id=f"state-{state.label}", aria_label=told)
