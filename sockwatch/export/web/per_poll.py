"""What is worked out once for each poll, by the first who asks."""

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from sockwatch.export.web.live import Shown

T = TypeVar("T")


class PerPoll(Generic[T]):
    """Calls `work` for a poll the first time it is asked about it, and remembers the last result, not the poll."""

    def __init__(self, work: Callable[[Shown], T]) -> None:
        self._work = work
        self._kept: tuple[weakref.ref[Shown], T] | None = None

    def of(self, shown: Shown) -> T:
        """The result for this poll."""
        if self._kept is None or self._kept[0]() is not shown:
            self._kept = (weakref.ref(shown), self._work(shown))
        return self._kept[1]
