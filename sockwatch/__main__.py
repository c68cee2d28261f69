"""`sockwatch` and `python -m sockwatch`: finds the command, runs it, and turns errors into exit codes."""

import importlib
import os
import sys
from collections.abc import Sequence

from sockwatch import __version__
from sockwatch.cli.output import emit
from sockwatch.cli.parser import Parser
from sockwatch.errors import SockwatchError, UsageError
from sockwatch.model.printable import printable
from sockwatch.nearest import unknown

# numpy would start one thread a core at its first import; nothing here multiplies matrices.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

COMMANDS = ("check", "run", "top", "capture", "history", "report", "explain", "lab", "config")
"""Each is a module of sockwatch.cli with add_parser(subparsers); only the one that is asked for is imported."""

UNKNOWN = 3
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return _run(words)
    except SystemExit:  # argparse, after --help or --version
        emit("")
        return UNKNOWN if "--perfdata" in words else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except SockwatchError as error:
        return _fail(str(error), words)
    except Exception as error:  # noqa: BLE001 - python would exit 1, which means warning; an unforeseen error is unknown
        import traceback

        _complain(traceback.format_exc().splitlines())
        return _fail(f"internal error: {type(error).__name__}: {error}", words)


def _run(words: list[str]) -> int:
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        raise UsageError(unknown("command", command, COMMANDS))
    parser = Parser(
        prog="sockwatch", description="Says which TCP bug, in which process, on which side, and what to do."
    )
    parser.add_argument("--version", action="version", version=f"sockwatch {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for name in COMMANDS if command is None else (command,):
        importlib.import_module(f"sockwatch.cli.{name}").add_parser(subparsers)
    parsed = parser.parse(words, parser if command is None else subparsers.choices[command])
    if command is None:
        raise UsageError("no command; `sockwatch check` looks at this host, `sockwatch --help` lists the others")
    code: int = parsed.run(parsed)
    return code


def _fail(message: str, words: Sequence[str]) -> int:
    _complain([f"sockwatch: {message}"])
    if "--perfdata" in words:  # Nagios reads stdout only
        from sockwatch.export.perfdata import unknown_line

        emit(unknown_line(message))
    return UNKNOWN


def _complain(lines: Sequence[str]) -> None:
    """Write to stderr, unless the caller closed it: print() would take stdout then."""
    if sys.stderr is not None:
        for line in lines:
            print(printable(line), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
