"""--timeout: an end to whatever runs, a blocked system call included."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sockwatch.errors import DeadlineError


class _Expired(BaseException):
    """Not an Exception: one detector's failure is caught and survived, the deadline must not be."""


@contextmanager
def deadline(seconds: float | None, stage: Callable[[], str]) -> Iterator[None]:
    """Run the block for at most `seconds` (None: no limit). Raises DeadlineError, which names the stage.

    SIGALRM, because python restarts a system call after a signal only if the handler returns (PEP 475).
    """
    if seconds is None:
        yield
        return
    before = signal.signal(signal.SIGALRM, _expire)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _Expired:
        raise DeadlineError(f"no verdict after {seconds:g} s (--timeout); it was busy with: {stage()}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)


def _expire(_number: int, _frame: FrameType | None) -> None:
    raise _Expired
