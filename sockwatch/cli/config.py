"""`sockwatch config`: check a config file, show what holds, print the schema or a complete example."""

import argparse
import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from sockwatch.cli.output import emit
from sockwatch.cli.parser import one_of
from sockwatch.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from sockwatch.cli.parser import Parser
    from sockwatch.diagnose.detector import Settings

ACTIONS = ("check", "show", "schema", "example")
_SCHEMA_TYPES: Mapping[object, str] = {float: "number", int: "integer", bool: "boolean", str: "string"}
_EXAMPLE_HEAD = """\
## sockwatch reads /etc/sockwatch/config.toml, or the file given with --config.
## Every key is here with its default; uncomment what you want to change.
## `sockwatch config check` finds mistakes, `sockwatch explain CODE` says what a finding means.
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "config",
        help="check or show the config file, or print an example",
        description="check: is the file right?  show: every setting that holds.\n"
        "schema: the JSON Schema of the file.  example: a complete file, commented out.",
    )
    parser.add_argument("action", type=one_of(*ACTIONS), metavar="ACTION", help=", ".join(ACTIONS))
    parser.add_argument("--config", type=Path, metavar="FILE", help="the file to check or show")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do one of the actions; `check` returns 1 for a wrong file. Raises UsageError where there is no file to read."""
    from sockwatch.cli.check import DEFAULT_CONFIG, default_config
    from sockwatch.config import load
    from sockwatch.diagnose.registry import load_detectors

    defaults = {code: detector.settings for code, detector in load_detectors().items()}
    if options.action == "example":
        emit(example(defaults))
    elif options.action == "schema":
        emit(json.dumps(schema(defaults), indent=2) + "\n")
    else:
        path = options.config or default_config()
        if path is None and options.action == "check":
            raise UsageError(f"there is no {DEFAULT_CONFIG} to check; give a file with --config")
        try:
            settings = defaults if path is None else load(path, defaults).detectors
        except ConfigError as error:
            if options.action != "check":
                raise
            emit("".join(f"{mistake}\n" for mistake in error.mistakes))
            return 1
        emit(f"{path}: ok\n" if options.action == "check" else show(settings, defaults))
    return 0


def show(settings: "Mapping[str, Settings]", defaults: "Mapping[str, Settings]") -> str:
    """Every setting as TOML; what differs from its default says so."""
    tables = []
    for code, chosen in settings.items():
        lines = [f"[detectors.{code}]"]
        for field in fields(chosen):
            value, default = getattr(chosen, field.name), getattr(defaults[code], field.name)
            note = "" if value == default else f"  # default: {_toml(default)}"
            lines.append(f"{field.name} = {_toml(value)}{note}")
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def example(defaults: "Mapping[str, Settings]") -> str:
    """A complete config file with every key commented out, its default and what it means."""
    tables = [_EXAMPLE_HEAD]
    for code, default in defaults.items():
        why = meanings(type(default))
        lines = [f"# [detectors.{code}]"]
        for field in fields(default):
            lines += textwrap.wrap(why.get(field.name, ""), 100, initial_indent="## ", subsequent_indent="## ")
            lines.append(f"# {field.name} = {_toml(getattr(default, field.name))}")
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def schema(defaults: "Mapping[str, Settings]") -> dict[str, Any]:
    """JSON Schema (2020-12) of the config file."""
    tables = {code: _table_schema(default) for code, default in defaults.items()}
    detectors = {"type": "object", "additionalProperties": False, "properties": tables}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sockwatch config",
        "type": "object",
        "additionalProperties": False,
        "properties": {"detectors": detectors},
    }


def _table_schema(default: "Settings") -> dict[str, Any]:
    from sockwatch.model.settings import Share

    types, why = get_type_hints(type(default), include_extras=True), meanings(type(default))
    keys: dict[str, Any] = {}
    for field in fields(default):
        share = types[field.name] is Share
        kind = "number" if share else _SCHEMA_TYPES[types[field.name]]
        bound = {"minimum": 0} if kind in {"number", "integer"} else {}
        if share:
            bound = {"exclusiveMinimum": 0, "maximum": 1}
        value = getattr(default, field.name)
        keys[field.name] = {"type": kind, **bound, "default": value, "description": why.get(field.name, "")}
    return {"type": "object", "additionalProperties": False, "properties": keys}


def meanings(settings: "type[Settings]") -> dict[str, str]:
    """What each field means: the string that follows it in the source of its class, on one line."""
    found: dict[str, str] = {}
    for cls in reversed(settings.__mro__[:-1]):
        found.update(_attribute_docstrings(cls))
    return found


def _attribute_docstrings(cls: type) -> Iterator[tuple[str, str]]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for field, after in pairwise(statements):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())
            case _:
                pass


def _toml(value: object) -> str:
    return json.dumps(value)  # TOML's numbers, booleans and basic strings are written as JSON's
