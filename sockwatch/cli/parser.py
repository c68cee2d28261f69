"""What every command's options are made of: a parser that raises, and the kinds of values."""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from sockwatch.errors import UsageError
from sockwatch.nearest import nearest, unknown

MIN_WIDTH, MAX_WIDTH = 30, 100
_PORTS = 65536
_YEAR = 366 * 86400.0


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UsageError: argparse would exit 2, which means critical here."""

    def __init__(self, **kwargs: Any) -> None:
        # The width is given because argparse would import shutil, and with it three compressors, to find it out.
        formatter = partial(argparse.RawDescriptionHelpFormatter, width=terminal_width() - 2, max_help_position=28)
        defaults: dict[str, Any] = {"formatter_class": formatter, "allow_abbrev": False}
        self.options: list[str] = []  # before argparse adds --help
        self.refused: dict[str, str] = {}
        """Options that others of its kind have and this command has not, each with the reason."""
        super().__init__(**(defaults | kwargs))

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        """As argparse's; the options are remembered, to name the nearest to one that is wrong."""
        self.options += [name for name in args if name.startswith("--")]
        return super().add_argument(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message)

    def parse(self, arguments: Sequence[str], command: "Parser") -> argparse.Namespace:
        """The options; `command` is the parser of the chosen command. Raises UsageError."""
        parsed, rest = self.parse_known_args(arguments)
        if rest:
            word = rest[0].partition("=")[0]
            for option in (word, word[:2]):  # -w5 is -w 5
                if option in command.refused:
                    raise UsageError(f'no option "{option}": {command.refused[option]}')
            if word.startswith("-"):
                raise UsageError(unknown("option", word, command.options))
            raise UsageError(f'"{word}" is one word too many; see {command.prog} --help')
        return parsed


def terminal_width() -> int:
    """The columns of the terminal on stdout, at most 100; where there is none what COLUMNS says, or 80."""
    try:
        there = os.get_terminal_size(sys.__stdout__.fileno()).columns if sys.__stdout__ else 0
    except (OSError, ValueError):
        there = 0
    asked = os.environ.get("COLUMNS", "")
    columns = there or (int(asked) if re.fullmatch("[0-9]{1,4}", asked) else 0)
    return max(min(columns, MAX_WIDTH), MIN_WIDTH) if columns else 80


def seconds(text: str) -> float:
    """A number of seconds, above 0 and up to a year."""
    value = seconds_or_zero(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f'"{text}" is no number of seconds above 0')
    return value


def seconds_or_zero(text: str) -> float:
    """A number of seconds, from 0 to a year."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _YEAR:  # NaN neither
        raise argparse.ArgumentTypeError(f'"{text}" is no number of seconds')
    return value


def port(text: str) -> int:
    """A TCP port."""
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < _PORTS):
        raise argparse.ArgumentTypeError(f'"{text}" is no port (1 to 65535)')
    return int(text)


def one_of(*valid: str) -> Callable[[str], str]:
    """One of these words."""

    def check(text: str) -> str:
        if text not in valid:
            raise argparse.ArgumentTypeError(f'"{text}" is not valid; {nearest(text, valid)}')
        return text

    return check


def namespace(text: str) -> str:
    """`current`, `all`, a name in /run/netns, or the path of a namespace."""
    if not text:
        raise argparse.ArgumentTypeError("a namespace has a name: current, all, a name in /run/netns, or a path")
    return text
