"""`sockwatch explain`: a finding, a TCP state or a sysctl, in plain words."""

import argparse
import inspect
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sockwatch.cli.output import emit, wants_colour
from sockwatch.cli.parser import terminal_width
from sockwatch.errors import UsageError
from sockwatch.export.layout import BOLD, Line, paint, wrap

if TYPE_CHECKING:
    from sockwatch.cli.glossary.states import StateEntry
    from sockwatch.cli.glossary.sysctls import SysctlEntry
    from sockwatch.cli.parser import Parser

_INDENT = "  "
_SECTION = re.compile(r"(What it sees|Why it matters|Kernel fields|When it is wrong|What to do):?\s*$")


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser("explain", help="explain a finding, a TCP state or a sysctl")
    parser.add_argument("word", nargs="?", metavar="WORD", help="what to explain; without it: the list")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the explanation, or the list without a word. Raises UsageError with the nearest word."""
    width = terminal_width()
    lines = _list(width) if options.word is None else _explain(options.word, width)
    emit(paint(lines, colour=wants_colour()))
    return 0


def _list(width: int) -> Iterator[Line]:
    from sockwatch.cli.glossary.blind import TEXT
    from sockwatch.cli.glossary.states import STATES
    from sockwatch.cli.glossary.sysctls import SYSCTLS
    from sockwatch.diagnose.registry import codes, explanation
    from sockwatch.model.alert import BLIND

    yield Line("Findings", style=BOLD)
    for code in codes():
        yield from _entry(code, inspect.cleandoc(explanation(code)).partition("\n")[0], width)
    yield from _entry(BLIND, TEXT.partition("\n")[0], width)
    yield Line()
    yield Line("TCP states", style=BOLD)
    yield from wrap(", ".join(state.label for state in STATES), width, _INDENT)
    yield Line()
    yield Line("Sysctls", style=BOLD)
    yield from wrap(", ".join(SYSCTLS), width, _INDENT)


def _explain(word: str, width: int) -> list[Line]:
    """The explanation of `word`. Raises UsageError."""
    from sockwatch.cli.glossary import trial
    from sockwatch.cli.glossary.blind import TEXT
    from sockwatch.cli.glossary.rules import RULES
    from sockwatch.cli.glossary.states import STATES
    from sockwatch.cli.glossary.sysctls import SYSCTLS
    from sockwatch.diagnose.registry import codes, load_detectors
    from sockwatch.model.alert import BLIND, TEST
    from sockwatch.nearest import unknown

    states = {state.label: entry for state, entry in STATES.items()}
    sysctls = {alias: name for name in SYSCTLS for alias in (name, name.rpartition(".")[2])}
    plain = word.lower().replace("-", "_")
    path = word.removeprefix("/proc/sys/").replace("/", ".")
    if plain in states:
        return list(_state(plain, states[plain], width))
    if path in sysctls:
        return list(_sysctl(sysctls[path], SYSCTLS[sysctls[path]], width))
    if word in RULES:
        return _explain(RULES[word], width)
    code, slash, variant = word.partition("/")
    if word == TEST:
        return [Line(TEST, style=BOLD), *_sections(trial.TEXT, width)]
    if word == BLIND:
        return [Line(BLIND, style=BOLD), *_sections(TEXT, width)]
    if code in codes() and (not slash or variant in load_detectors()[code].variants):
        return list(_finding(code, variant, width))
    variants = [f"{code}/{variant}" for code, found in load_detectors().items() for variant in found.variants]
    raise UsageError(unknown("word", word, [*codes(), *variants, *states, *sysctls, *RULES, BLIND, TEST]))


def _finding(code: str, variant: str, width: int) -> Iterator[Line]:
    from sockwatch.diagnose.registry import explanation, load_detectors

    yield Line(f"{code}/{variant}" if variant else code, style=BOLD)
    variants = load_detectors()[code].variants
    if variants and not variant:
        yield from wrap(f"Variants: {', '.join(variants)}", width, _INDENT)
    yield from _sections(inspect.cleandoc(explanation(code)), width)


def _sections(text: str, width: int) -> Iterator[Line]:
    for paragraph in text.split("\n\n"):
        yield Line()
        first, _, rest = paragraph.partition("\n")
        if heading := _SECTION.match(first):
            yield Line(heading[1], style=BOLD)
            yield from _flowing(rest, width)
        else:
            yield from _flowing(paragraph, width)


def _flowing(text: str, width: int) -> Iterator[Line]:
    """Text wrapped anew; a line that starts with `-` or a number begins a new one."""
    item: list[str] = []
    for line in [*map(str.strip, text.splitlines()), ""]:
        if item and (not line or re.match(r"(-|\d+\.) ", line)):
            yield from wrap(" ".join(item), width, _INDENT, hang=2 if item[0].startswith("-") else 0)
            item = []
        if line:
            item.append(line)


def _state(label: str, entry: "StateEntry", width: int) -> Iterator[Line]:
    yield Line(label, style=BOLD)
    yield from _entry("who", entry.who, width)
    yield from _entry("waits for", entry.waits_for, width)
    yield from _entry("ends with", entry.ends, width)
    yield from _entry("timer", entry.timer, width)
    yield from _entry("sysctl", entry.sysctl, width)
    yield from _entry("not true", entry.myth, width)


def _sysctl(name: str, entry: "SysctlEntry", width: int) -> Iterator[Line]:
    from sockwatch.diagnose.what_if import rule, ruled

    yield Line(name, style=BOLD)
    yield from _entry("does", entry.does, width)
    yield from _entry("does not", entry.does_not, width)
    if name in ruled():
        yield from _entry("when set", rule(name).takes_effect, width)
    yield from _entry("default", entry.default, width)
    yield from _entry("since", f"Linux {entry.since}", width)


def _entry(label: str, text: str, width: int) -> Iterator[Line]:
    at = 24 if len(label) > 11 else 14  # noqa: PLR2004 - two columns: codes are long, labels short
    rows = wrap(text, width, " " * at)
    yield Line(f"{_INDENT}{label}".ljust(at), rows[0].text[at:] if rows else "")
    yield from rows[1:]
