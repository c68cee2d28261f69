"""What a detector looks at: the current snapshot, the one before it, and what follows from both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from sockwatch.diagnose.holders import Holders
from sockwatch.model.history import History
from sockwatch.model.snapshot import Namespace, Owners, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """Two looks at the same host; `previous` is None at the first one.

    Every inference that several detectors share (ages, other ends, listeners, port budgets) is a cached property
    here or in a module beside this one, so that it is made once a step.
    """

    current: Snapshot
    previous: Snapshot | None = None
    history: History = field(default_factory=History)
    """What the looks before this one left."""
    holders: Holders = field(default_factory=Holders)
    """Who held what when that was last asked for all sockets; empty where nobody watches."""
    judges: Mapping[str, Any] | None = None
    """The settings of each detector that judges this window, by its code; None means all of them with their defaults.

    What one detector leaves to another it leaves only if that one judges too, and sees it."""

    @property
    def sockets(self) -> SocketTable:
        """Every socket of the current look."""
        return self.current.sockets

    @property
    def owners(self) -> Owners:
        """Who holds the sockets that detectors suspect."""
        return self.current.owners

    @property
    def namespaces(self) -> tuple[Namespace, ...]:
        """The namespaces of the current look; the `netns` column is an index into them."""
        return self.current.namespaces

    @cached_property
    def elapsed(self) -> float | None:
        """Seconds between the two looks; None where there is one, or a capture has them out of order."""
        if self.previous is None or self.current.monotonic <= self.previous.monotonic:
            return None
        return self.current.monotonic - self.previous.monotonic

    @cached_property
    def unread(self) -> frozenset[State]:
        """The states whose sockets were not all read, in either look: their absence from one means nothing."""
        return self.current.unread | (frozenset() if self.previous is None else self.previous.unread)

    def settings_of(self, code: str, default: T) -> T | None:
        """The settings with which another detector judges this window; None where it does not judge it."""
        return default if self.judges is None else self.judges.get(code)

    def number_before(self, netns: int) -> int | None:
        """The number that a namespace of the current look had in the previous one; None where it was not in it."""
        return self._numbers_before[netns]

    def increase(self, netns: int, counter: str) -> int | None:
        """How much a counter of a namespace grew since the previous look; None where that is not known."""
        number = self.number_before(netns)
        if self.previous is None or number is None:
            return None
        now = self.namespaces[netns].counters.get(counter)
        then = self.previous.namespaces[number].counters.get(counter)
        return None if now is None or then is None else now - then

    def like(self, **changes: Any) -> "Window":
        """The same sockets with other owners or judges: what `once` inferred stays."""
        other = replace(self, **changes)
        if other.sockets is self.sockets:
            other.__dict__["_inferred"] = self._inferred
        return other

    def once(self, infer: Callable[["Window"], T]) -> T:
        """What a function infers from the sockets, whoever owns and judges them.

        Several detectors ask, first for their suspects and then for the verdict, and it is called the first time only.
        """
        if infer not in self._inferred:
            self._inferred[infer] = infer(self)
        known: T = self._inferred[infer]
        return known

    @cached_property
    def _inferred(self) -> dict[Callable[["Window"], Any], Any]:
        return {}

    @cached_property
    def _numbers_before(self) -> tuple[int | None, ...]:
        before = () if self.previous is None else self.previous.namespaces
        numbers = {_identity(namespace): number for number, namespace in enumerate(before)}
        return tuple(numbers.get(_identity(namespace)) for namespace in self.namespaces)


def _identity(namespace: Namespace) -> tuple[int, int, str]:
    """What no other namespace has: an inode serves again, and a name may be given while one looks."""
    return namespace.cookie, namespace.inode, "" if namespace.cookie else namespace.name
