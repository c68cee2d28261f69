"""How much the daemon leaves out so that looking stays cheap, and what it costs."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from sockwatch.model.snapshot import Gap
from sockwatch.model.state import State

FEW_DETAILS = 3_000
"""Established sockets that get a closer look with Step.FEWER_DETAILS."""
SELF_BUDGET = "self-budget"
"""What the gaps are called that say what is left out."""


class Step(IntEnum):
    """What makes looking cheaper, the mildest first."""

    FEWER_DETAILS = 1
    """Of the established sockets FEW_DETAILS get a closer look, others each time."""
    TIME_WAIT_COUNTED = 2
    """Sockets in TIME_WAIT are not read: the kernel's counter says how many there are."""
    ESTABLISHED_COUNTED = 3
    """The same for ESTABLISHED."""
    INTERVAL_DOUBLED = 4
    """There are twice as many seconds from one look to the next as [poll] interval says."""
    INTERVAL_FOURFOLD = 5
    INTERVAL_EIGHTFOLD = 6

    @property
    def label(self) -> str:
        """The spelling in JSON and labels."""
        return self.name.lower()

    @property
    def unread(self) -> State | None:
        """The state whose sockets are counted and not read."""
        return {Step.TIME_WAIT_COUNTED: State.TIME_WAIT, Step.ESTABLISHED_COUNTED: State.ESTABLISHED}.get(self)

    @property
    def factor(self) -> int:
        """By what the interval is multiplied."""
        return {Step.INTERVAL_DOUBLED: 2, Step.INTERVAL_FOURFOLD: 4, Step.INTERVAL_EIGHTFOLD: 8}.get(self, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What looking costs and may cost, and the steps that are in force, in the order in which they were taken.

    `cpu_share` is the part of one core that was used since the last step was taken or taken back, None at first;
    `cpu_seconds` is all that was used since the start. `seconds` is how long the last look took, None before it.
    `interval` is that from this look to the next.
    """

    steps: tuple[Step, ...] = ()
    cpu_share: float | None = None
    cpu_share_limit: float
    cpu_seconds: float = 0.0
    seconds: float | None = None
    seconds_limit: float
    interval: float

    @property
    def unread(self) -> frozenset[State]:
        """The states whose sockets are counted and not read."""
        return frozenset(step.unread for step in self.steps if step.unread is not None)

    @property
    def factor(self) -> int:
        """By what the interval is multiplied."""
        return max((step.factor for step in self.steps), default=1)

    def gaps(self) -> Iterator[Gap]:
        """One for each step: what is left out, and by which limits. They say the same as long as the steps do."""
        limits = f"more would take over {self.cpu_share_limit * 100:g} % of a core or {self.seconds_limit:g} s a look"
        for step in self.steps:
            if step.unread is not None:
                left_out = f"sockets in {step.unread.label} are counted and not read"
            elif step is Step.FEWER_DETAILS:
                left_out = f"only {FEW_DETAILS:,} established sockets are looked into (others each time)"
            elif step.factor == self.factor:
                left_out = f"a look every {self.interval:g} s, {step.factor} times as long as [poll] interval"
            else:
                continue
            yield Gap(what=SELF_BUDGET, why=f"{left_out}; {limits} ([poll] cpu_share, seconds)")
