"""Lines of text for a terminal: wrapped, coloured, and with nothing in them that a terminal would obey."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from sockwatch.model.finding import Subject
from sockwatch.model.printable import printable

RED, GREEN, YELLOW = "31", "32", "33"
BOLD, DIM = ";1", "2"
"""SGR parameters (ECMA-48); a colour and BOLD may be joined."""

INDENT = "  "
LABEL_WIDTH = 12

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_TWO_MINUTES = 120


@dataclass(frozen=True, slots=True)
class Line:
    """A lead (a label, with its indent) and text after it, each with a style."""

    lead: str = ""
    text: str = ""
    style: str = ""
    text_style: str = ""


def paint(lines: Iterable[Line], *, colour: bool) -> str:
    """The text. Every character passes printable() here, so that only our own escapes reach a terminal."""
    return "".join(
        (_style(line.lead, line.style, colour=colour) + _style(line.text, line.text_style, colour=colour)).rstrip()
        + "\n"
        for line in lines
    )


def _style(text: str, style: str, *, colour: bool) -> str:
    safe = printable(text)
    return f"\x1b[{style.strip(';')}m{safe}\x1b[0m" if colour and style and safe.strip() else safe


def wrap(text: str, width: int, indent: str, *, hang: int = 0) -> list[Line]:
    """`text` in lines of at most `width` columns, each indented; further lines by `hang` more."""
    rows = textwrap.wrap(
        printable(text),
        max(width, len(indent) + 20),
        initial_indent=indent,
        subsequent_indent=indent + " " * hang,
        break_on_hyphens=False,
    )
    return [Line("", row) for row in rows]


def labelled(
    label: str, text: str, width: int, *, at: int = LABEL_WIDTH, indent: str = INDENT, style: str = DIM, hang: int = 0
) -> list[Line]:
    """`label` in its column and `text` wrapped beside it; further lines are indented by `hang` more."""
    lead = f"{indent}{label}".ljust(at)
    rows = wrap(text, width, " " * at, hang=hang)
    return [Line(lead, rows[0].text[at:], style), *(Line("", row.text) for row in rows[1:])] if rows else []


def number(value: int) -> str:
    """With thousands separated."""
    return f"{value:,}"


def duration(seconds: float) -> str:
    """Seconds as people say them: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < _TWO_MINUTES:
        return f"{seconds // 1:.0f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min"
    big, small, size, part = (_HOUR, _MINUTE, "h", "min") if seconds < _DAY else (_DAY, _HOUR, "d", "h")
    whole, rest = divmod(seconds, big)
    return f"{whole:.0f} {size}" + (f" {rest // small:.0f} {part}" if rest >= small else "")


def ends_text(subject: Subject) -> str:
    """`local ADDR:PORT, remote ADDR:PORT`, as far as they apply."""
    return ", ".join(f"{name} {end}" for name, end in (("local", subject.local), ("remote", subject.remote)) if end)


def where_text(subject: Subject) -> str:
    """The ends, and the namespace where it is not the host's own."""
    parts = [ends_text(subject), "" if subject.netns == "host" else f"namespace {subject.netns}"]
    return ", ".join(part for part in parts if part)
