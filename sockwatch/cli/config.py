"""`sockwatch config`: check a config file, show what holds, print the schema or a complete example."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sockwatch.cli.output import emit
from sockwatch.cli.parser import one_of
from sockwatch.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sockwatch.cli.parser import Parser
    from sockwatch.diagnose.detector import Settings

ACTIONS = ("check", "show", "schema", "example")


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
    from sockwatch.config import Config, load
    from sockwatch.diagnose.registry import load_detectors

    defaults = {code: detector.settings for code, detector in load_detectors().items()}
    if options.action == "example":
        from sockwatch.config.document import example

        emit(example(defaults))
        return 0
    if options.action == "schema":
        from sockwatch.config.schema import schema

        emit(json.dumps(schema(defaults), indent=2) + "\n")
        return 0
    path = options.config or default_config()
    if options.action == "check":
        if path is None:
            raise UsageError(f"there is no {DEFAULT_CONFIG} to check; give a file with --config")
        return _check(path, defaults)
    from sockwatch.config.document import show

    emit(show(Config(detectors=defaults) if path is None else load(path, defaults), defaults))
    return 0


def _check(path: Path, defaults: "Mapping[str, Settings]") -> int:
    from sockwatch.cli.config_look import look_at_all
    from sockwatch.clock import SystemClock
    from sockwatch.config import load
    from sockwatch.writers import others_who_write

    wrong: list[str] = []
    warnings: Iterable[str] = ()
    try:
        warnings = load(path, defaults, look=lambda settings: look_at_all(settings, SystemClock())).warnings
    except ConfigError as error:
        wrong += error.mistakes
    if (others := others_who_write(path)) is not None:
        wrong.insert(0, f"{path}: {others}: sockwatch run refuses this file")
    emit("".join(f"{line}\n" for line in (*warnings, *(wrong or [f"{path}: ok"]))))
    return 1 if wrong else 0
