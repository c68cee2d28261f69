"""One line on stderr while something takes long: for people at a terminal only, and gone at the end."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from sockwatch.model.printable import printable

_STAGES = {
    "start": "starting",
    "collect": "reading the sockets",
    "owners": "asking who holds them",
    "diagnose": "judging",
    "wait": "waiting for the second look",
}
"""What Pipeline.stage says, in words."""


class StatusLine:
    """The line; where nobody looks at stderr it does nothing. Whoever prints on the same terminal erases it first.

    As a context manager it is erased at the end.
    """

    def __init__(self, *, wanted: bool = True) -> None:
        err = sys.stderr
        self.wanted = wanted and err is not None and err.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.erase()

    def show(self, text: str) -> None:
        """Replace what is in it."""
        if not self.wanted:
            return
        try:
            width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            # A full line would wrap on some terminals, and a wrapped one cannot be erased.
            sys.stderr.write(f"\r{printable(text)[: width - 1]}\x1b[K")
            sys.stderr.flush()
        except OSError:  # the terminal has gone
            self.wanted = False
        self._shown = True

    def erase(self) -> None:
        """As if it had never been."""
        if self._shown:
            self.show("")
            self._shown = False


@contextmanager
def progress(what: Callable[[], str], *, wanted: bool = True) -> Iterator[None]:
    """Show what the block does once it has taken a second; `what` is asked by another thread.

    Nothing may fork in the block.
    """
    line = StatusLine(wanted=wanted)
    if not line.wanted:
        yield
        return
    over = threading.Event()

    def tell() -> None:
        seconds = 1
        with line:
            while not over.wait(1.0):
                line.show(f"{what()} ({seconds} s)")
                seconds += 1

    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def stage_text(stage: str) -> str:
    """What a stage of the pipeline is called here."""
    return _STAGES.get(stage, stage)
