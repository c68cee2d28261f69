"""Read the config file: all that it sets, or every mistake that it makes."""

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sockwatch.config.check import Checker
from sockwatch.config.forms import Known
from sockwatch.config.lines import KeyPath, key_lines, line_of
from sockwatch.diagnose.detector import Settings
from sockwatch.diagnose.registry import load_detectors
from sockwatch.errors import ConfigError, UsageError
from sockwatch.model.printable import printable
from sockwatch.model.remark import Remark
from sockwatch.model.settings import DaemonSettings
from sockwatch.writers import others_who_write

DETECTORS = "detectors"
_MAX_BYTES = 1 << 20
_DEEP_KEY = re.compile(r"""(?<![\w"'-])(?:[\w"'-]+[ \t]*\.[ \t]*){64}""")
"""a.a.a.a...: tomllib's time grows with the square of such a key's length."""
_TOO_DEEP = "nested too deep: this is no config file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings: `detectors` has each detector's by its code, `daemon` all other tables."""

    detectors: Mapping[str, Settings]
    daemon: DaemonSettings = field(default_factory=DaemonSettings)
    warnings: tuple[str, ...] = ()
    """What is no mistake and yet hardly meant so, each with file, line and key."""


def load(
    path: Path,
    defaults: Mapping[str, Settings],
    *,
    trusted: bool = False,
    look: Callable[[DaemonSettings], Iterable[Remark]] = lambda _: (),
) -> Config:
    """The defaults with what the file changes.

    `trusted`: refuse a file that others may have written, for it says which programs are started.
    `look`: says what is wrong on this machine, of settings in which None stands for a value that is wrong anyway.
    Raises ConfigError with all mistakes at once; UsageError where the file cannot be read.
    """
    text = _read(path, trusted=trusted)
    if _DEEP_KEY.search(text):
        raise ConfigError(f"{path}: {_TOO_DEEP}")
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is no TOMLDecodeError
        raise ConfigError(_syntax(path, error)) from None
    variants = {code: load_detectors()[code].variants if code in load_detectors() else () for code in defaults}
    checker = Checker(Known(variants=variants))
    daemon = checker.table(tree, DaemonSettings(), (), besides=(DETECTORS,))
    detectors = _detectors(tree.get(DETECTORS, {}), defaults, checker)
    remarks = tuple(look(daemon))
    if mistakes := [*checker.mistakes, *((remark.at, remark.text) for remark in remarks if not remark.warning)]:
        raise ConfigError(*_placed(path, text, mistakes))
    warnings = _placed(path, text, [(remark.at, f"warning: {remark.text}") for remark in remarks])
    return Config(detectors=detectors, daemon=daemon, warnings=warnings)


def _placed(path: Path, text: str, told: Iterable[tuple[KeyPath, str]]) -> tuple[str, ...]:
    """Sentences in the order of their lines, each with its file and line."""
    lines = key_lines(text)
    numbered = sorted((line_of(lines, at) or 0, sentence) for at, sentence in told)
    return tuple(
        printable(f"{path}:{line}: {sentence}" if line else f"{path}: {sentence}") for line, sentence in numbered
    )


def _read(path: Path, *, trusted: bool) -> str:
    try:
        with path.open("rb") as file:
            others = others_who_write(path, os.fstat(file.fileno())) if trusted else None
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if others is not None:
        raise ConfigError(f"{path}: {others}; it says which programs are started, so nobody else may write it")
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than 1 MiB: this is no config file")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8") from None


def _syntax(path: Path, error: ValueError | RecursionError) -> str:
    """What tomllib says, with the line where it is looked for."""
    if not isinstance(error, tomllib.TOMLDecodeError):
        return f"{path}: {_TOO_DEEP if isinstance(error, RecursionError) else 'a number in it has too many digits'}"
    what, at, place = str(error).partition(" (at line ")
    if numbers := re.fullmatch(r"([0-9]+), column ([0-9]+)\)", place):
        return f"{path}:{numbers[1]}: {what} (column {numbers[2]})"
    return f"{path}: {what}{at}{place}"


def _detectors(table: object, defaults: Mapping[str, Settings], checker: Checker) -> Mapping[str, Settings]:
    found: dict[str, Any] = dict(defaults)
    if not isinstance(table, dict):
        checker.mistakes.append(((DETECTORS,), f"{DETECTORS} is a table: [{DETECTORS}.CODE]"))
        return found
    for code, value in table.items():
        at = (DETECTORS, code)
        if code in defaults:
            found[code] = checker.table(value, defaults[code], at)
        else:
            checker.unknown("detector", at, defaults)
    return found
