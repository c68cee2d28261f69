"""One socket over many looks: what it is now, and what has happened to it since."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from sockwatch.export.layout import duration, number
from sockwatch.export.tui.tables import holder_text, trend_text
from sockwatch.export.tui.view import Found, SocketLine
from sockwatch.model.printable import printable

_MOST_EVENTS = 200
_MOST_LOOKS = 48
_TOLD = ("state", "pid", "process", "uid", "timer", "retransmits")
"""What is told when it changes; queues go up and down, and are drawn instead."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, in seconds since 1970."""

    time: float
    text: str


class Followed:
    """The socket with one cookie, which it keeps from its first SYN to the end of TIME_WAIT."""

    def __init__(self, line: SocketLine, time: float) -> None:
        self.line = line
        self.gone: float | None = None
        self.events = [Event(time, f"first seen here, {line.state}")]
        self.queues: list[tuple[int, int]] = [(line.recv_q, line.send_q)]
        self._time = time

    def take(self, found: Found, time: float) -> None:
        """What a look found; nothing is new in one that was taken before."""
        if time == self._time:
            return
        self._time = time
        line = next((one for one in found.lines if one.cookie == self.line.cookie), None)
        if line is None:
            if self.gone is None:
                self.gone = time
                self._happened(time, f"gone; the last look saw it in {self.line.state}")
            return
        if self.gone is not None:
            self.gone = None
            self._happened(time, "seen again")
        for text in _changes(self.line, line):
            self._happened(time, text)
        self.line = line
        self.queues = [*self.queues[1 - _MOST_LOOKS :], (line.recv_q, line.send_q)]

    def text(self) -> Iterator[tuple[str, str]]:
        """Labels and texts, for people."""
        line = self.line
        yield "socket", f"{printable(line.local)} to {printable(line.remote)}"
        yield "state", printable(line.state) if self.gone is None else f"gone since {clock_text(self.gone)}"
        yield "process", holder_text(line)
        yield "netns", printable(line.netns)
        yield "age", f"in this state for {duration(line.age_seconds)} at least" if line.age_seconds is not None else "-"
        yield "timer", f"{printable(line.timer)}, {number(line.retransmits)} retransmits"
        yield "Recv-Q", f"{number(line.recv_q):>12}  {trend_text([r for r, _ in self.queues])}"
        yield "Send-Q", f"{number(line.send_q):>12}  {trend_text([s for _, s in self.queues])}"
        yield "inode, uid", f"{line.inode}, {line.uid}"
        yield "cookie", line.cookie
        yield "", ""
        for event in reversed(self.events):
            yield clock_text(event.time), event.text

    def _happened(self, time: float, text: str) -> None:
        self.events = [*self.events[1 - _MOST_EVENTS :], Event(time, text)]


def clock_text(time: float) -> str:
    """A time of day, UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%H:%M:%SZ")


def _changes(before: SocketLine, now: SocketLine) -> Iterator[str]:
    for field in fields(SocketLine):
        if field.name not in _TOLD:
            continue
        then, value = getattr(before, field.name), getattr(now, field.name)
        if then != value:
            yield f"{field.name}: {_plain(then)} -> {_plain(value)}"


def _plain(value: str | float | None) -> str:
    return "none" if value is None else printable(str(value))
