"""HTML and SVG as values: whatever is put in is escaped there and then.

Only `tag`, `join` and `style_sheet` make markup.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from sockwatch.model.printable import printable

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
"""HTML's elements without an end tag."""
_ADDRESSES = frozenset({"href", "src", "action"})


@dataclass(frozen=True, slots=True)
class Markup:
    """Markup that is safe to send; made in this module and nowhere else."""

    text: str

    def __str__(self) -> str:
        return self.text


Child: TypeAlias = "Markup | str | int | Iterable[Child] | None"


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """One element. Names of attributes end in `_` where Python has them (`class_`), and have `_` for `-`.

    True is an attribute without a value, and None or False is none. Addresses are ours, so that none can be a script.
    """
    parts: list[str] = []
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is None or value is False:
            continue
        if attribute in _ADDRESSES and not _is_local(str(value)):
            raise ValueError(f"{attribute}={value!r} leads away")
        parts.append(f" {attribute}" if value is True else f' {attribute}="{_escaped(value)}"')
    start = f"<{name}{''.join(parts)}>"
    return Markup(start if name in _VOID else f"{start}{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Several children beside each other; None is nothing."""
    return Markup("".join(_pieces(children)))


def style_sheet(css: str) -> Markup:
    """A style sheet of ours inside a page. Raises ValueError for one that could end its element."""
    if "<" in css:
        raise ValueError("a style sheet has no markup")
    return Markup(f"<style>{css}</style>")


def document(*children: Child) -> str:
    """A whole HTML page."""
    return f"<!DOCTYPE html>\n{join(*children)}\n"


def _pieces(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child.text
        elif isinstance(child, str | int):
            yield _escaped(child)
        else:
            yield from _pieces(child)


def _escaped(value: str | float) -> str:
    return escape(printable(str(value)))


def _is_local(address: str) -> bool:
    return address.startswith("#") or (address.startswith("/") and not address.startswith(("//", "/\\")))
