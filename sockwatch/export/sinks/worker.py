"""The thread of one sink."""

import threading
from collections.abc import Callable
from typing import Protocol

_AFTER_AN_ERROR = 60.0


class Work(Protocol):
    """What a thread does: one thing after the other."""

    name: str

    def turn(self) -> float | None:
        """Do what is due; the seconds until more is, None if that depends on others."""
        ...

    def abort(self) -> None:
        """Let a turn that is under way end soon; called by another thread."""
        ...

    @property
    def pending(self) -> int:
        """How much there is still to do."""
        ...


class Worker:
    """Runs turn() whenever something is due, until stop().

    `broke` gets the errors that nobody foresaw, and None for the first turn without one after them.
    """

    def __init__(self, work: Work, broke: Callable[[BaseException | None], None]) -> None:
        self.work = work
        self._broke = broke
        self._broken = False
        self._woken = threading.Event()
        self._stopped = threading.Event()
        # A daemon thread: one that hangs in a name lookup must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name=f"sink {work.name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Have it look whether something is due."""
        self._woken.set()

    def stop(self) -> None:
        """Have it end after the turn that is under way."""
        self._stopped.set()
        self._woken.set()

    def join(self, seconds: float) -> None:
        """Wait for its end, so long at most."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._woken.clear()
            wait = self._turn()
            if not self._stopped.is_set():
                self._woken.wait(wait)

    def _turn(self) -> float | None:
        try:
            wait = self.work.turn()
        except Exception as error:  # noqa: BLE001 - an error in one message must not be the end of all messages
            self._broken = True
            self._broke(error)
            return _AFTER_AN_ERROR
        if self._broken:
            self._broken = False
            self._broke(None)
        return wait
