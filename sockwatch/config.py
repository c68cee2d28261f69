"""The config file: a frozen tree of settings, built from what each detector declares.

[detectors.close_wait_leak]
min_age = 120

A detector's keys are the fields of its Settings, so that a new detector needs nothing here.
"""

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from sockwatch.diagnose.detector import Settings
from sockwatch.errors import ConfigError, UsageError
from sockwatch.model.settings import Share
from sockwatch.nearest import nearest

_MAX_BYTES = 1 << 20
_TABLE = re.compile(r"\s*\[\s*([^\[\]#]+?)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\-\"' ]+?)\s*=")
_TYPES: dict[object, tuple[type, ...]] = {float: (int, float), int: (int,), bool: (bool,), str: (str,)}
_TYPE_NAMES: dict[object, str] = {float: "a number", int: "a whole number", bool: "true or false", str: "a string"}

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings: `detectors` has each detector's by its code."""

    detectors: Mapping[str, Settings]


def load(path: Path, defaults: Mapping[str, Settings]) -> Config:
    """The defaults with what the file changes.

    Raises ConfigError with all mistakes at once; UsageError where the file cannot be read.
    """
    text = _read(path)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    lines = key_lines(text)
    detectors = dict(defaults)
    problems: list[tuple[KeyPath, str]] = []
    for key, value in tree.items():
        if key != "detectors":
            problems.append(((key,), _unknown("key", key, ["detectors"])))
        elif not isinstance(value, dict):
            problems.append(((key,), f"{key} is a table: [detectors.CODE]"))
        else:
            for code, table in value.items():
                at = (key, code)
                if code not in defaults:
                    problems.append((at, _unknown("detector", code, defaults)))
                elif not isinstance(table, dict):
                    problems.append((at, f"{code} is a table: [detectors.{code}]"))
                else:
                    changes: dict[str, Any] = {}
                    problems += _check(table, defaults[code], at, changes)
                    detectors[code] = replace(defaults[code], **changes)
    if problems:
        told = (f"{path}{_line(lines, at)}: {problem}" for at, problem in problems)
        raise ConfigError(*(" ".join(problem.splitlines()) for problem in told))
    return Config(detectors=detectors)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than 1 MiB: this is no config file")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8") from None


def _check(
    table: Mapping[str, Any], default: Settings, at: KeyPath, changes: dict[str, Any]
) -> Iterator[tuple[KeyPath, str]]:
    types = get_type_hints(type(default), include_extras=True)
    names = [field.name for field in fields(default)]
    for key, value in table.items():
        if key not in names:
            yield (*at, key), _unknown("key", key, names, inside=".".join(at) + ".")
        elif (problem := _wrong(value, types[key])) is not None:
            yield (*at, key), f"{'.'.join((*at, key))} {problem}"
        else:
            changes[key] = float(value) if types[key] in {float, Share} else value


def _wrong(value: object, kind: object) -> str | None:
    """What is wrong with a value, if anything. TOML's true is no number, though python's is."""
    plain = float if kind is Share else kind
    if not isinstance(value, _TYPES[plain]) or isinstance(value, bool) is not (plain is bool):
        return f"must be {_TYPE_NAMES[plain]}, not {_shown(value)}"
    if isinstance(value, (int, float)) and not (math.isfinite(value) and value >= 0):
        return f"must be 0 or more, not {value}"
    if kind is Share and not (isinstance(value, (int, float)) and 0 < value <= 1):
        return f"must be {get_args(Share)[1]}, not {value}"
    return None


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'the string "{value}"'
        case dict():
            return "a table"
        case list():
            return "an array"
        case _:
            return str(value)


def _unknown(what: str, word: str, valid: Iterable[str], inside: str = "") -> str:
    hint = nearest(word, valid)
    return f"unknown {what} {inside}{word}" + (f"; {hint}" if hint else "")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of each table header and `key =` of a TOML text; tomllib does not keep them.

    A scan by line, good enough to point at a mistake: inside a multi-line string it may see a key that is none.
    """
    table: KeyPath = ()
    lines: dict[KeyPath, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.match(line):
            table = _split(header[1])
            for depth in range(1, len(table) + 1):
                lines.setdefault(table[:depth], number)
        elif key := _KEY.match(line):
            path = (*table, *_split(key[1]))
            for depth in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:depth], number)
    return lines


def _split(dotted: str) -> KeyPath:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _line(lines: Mapping[KeyPath, int], at: KeyPath) -> str:
    """`:LINE` of the key, or of the nearest table around it that has one (inline tables have none of their own)."""
    for depth in range(len(at), 0, -1):
        if at[:depth] in lines:
            return f":{lines[at[:depth]]}"
    return ""
