"""Where a command's answer goes: stdout, which may be a closed pipe or a full disk."""

import os
import sys
from collections.abc import Callable
from typing import TextIO

from sockwatch.errors import SockwatchError


def emit(text: str) -> None:
    """Write `text` to stdout. A reader that has gone is no error: the exit code still tells the answer."""
    out = sys.stdout
    if out is None:  # closed by the caller: python then has no stdout at all
        return

    def write() -> None:
        if hasattr(out, "reconfigure"):
            out.reconfigure(errors="backslashreplace")  # a name need not fit the terminal's encoding
        out.write(text)
        out.flush()

    guarded(write)


def emit_bytes(data: bytes | memoryview) -> None:
    """Write `data` to stdout, as emit() does. Raises SockwatchError where there is none: then the data is lost."""
    out = sys.stdout
    if out is None:
        raise SockwatchError("cannot write the answer: stdout is closed")

    def write() -> None:
        out.buffer.write(data)
        out.buffer.flush()

    guarded(write)


def guarded(write: Callable[[], None]) -> None:
    """Run `write`; a closed pipe ends it quietly, any other failure is a SockwatchError."""
    try:
        write()
    except BrokenPipeError:
        _drop(sys.stdout)
    except OSError as error:
        _drop(sys.stdout)
        raise SockwatchError(f"cannot write the answer: {error.strerror}") from error


def _drop(stream: TextIO) -> None:
    """What is still buffered goes nowhere: python would complain about it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def is_terminal() -> bool:
    """Whether people look at stdout."""
    return sys.stdout is not None and sys.stdout.isatty()


def wants_colour() -> bool:
    """Colour only on a terminal, and not where NO_COLOR is set to anything (no-color.org) or the terminal is dumb."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
