"""How much less to read: what looks cost and may cost in, the steps in force out.

The decision, decide(), is pure; SelfBudget measures.

CPU is a purse: the share fills it by the second, looks take out of it, and it holds no more than BURST_SECONDS bring:
a dear look now and then does no harm. Empty, it takes the next step: the more over the share, the sooner. Two slow
looks in a row take one as well. A step is taken back, the last one first, when for a while everything cost clearly less
than it may; that while grows each time it proves to have been too early, so that nothing comes and goes.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

from sockwatch.clock import Clock
from sockwatch.model.effort import FEW_DETAILS, Effort, Step
from sockwatch.model.settings import PollSettings
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.state import State

BURST_SECONDS = 60.0
SLOW_LOOKS = 2
HOLD_SECONDS = 300.0
"""How long a step is kept at least."""
MOST_HOLD_SECONDS = 3600.0
SURPLUS = 0.4
"""A step is taken back where no more than this part of the limits was used: half of it might not be enough room for an
interval half as long."""
LEAST_SHARE = 0.1
"""The part of all sockets that a state must have for leaving it unread to be worth the loss."""
LEAST_SOCKETS = 1000
"""And how many of them there must be: a thousand cost about a millisecond."""
_AFTER_STEP = 0.25
"""The part of the purse that is full after a step, so that what it brings shows before the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the last look took, with all that came with it until now: CPU seconds, in `passed` seconds.

    `look` is how many of these it looked;    `worth` are the steps that would save anything.
    """

    cpu: float
    passed: float
    look: float
    worth: Collection[Step] = frozenset(Step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frugality:
    """What is carried from look to look. `purse` is in CPU seconds; None is full.

    `cpu`, `passed` and `slowest` are since the last change, which `back` says was a step taken back.
    """

    steps: tuple[Step, ...] = ()
    purse: float | None = None
    slow: int = 0
    hold: float = HOLD_SECONDS
    back: bool = False
    cpu: float = 0.0
    passed: float = 0.0
    slowest: float = 0.0

    @property
    def share(self) -> float | None:
        """The part of one core that was used since the last change."""
        return self.cpu / self.passed if self.passed else None


def decide(before: Frugality, cost: Cost, limits: PollSettings) -> Frugality:
    """The steps for the next look."""
    most = limits.cpu_share * BURST_SECONDS
    purse = most if before.purse is None else min(before.purse, most)
    purse = min(purse + limits.cpu_share * cost.passed - cost.cpu, most)
    slow = before.slow + 1 if cost.look > limits.seconds else 0
    now = replace(
        before,
        purse=purse,
        slow=slow,
        cpu=before.cpu + cost.cpu,
        passed=before.passed + cost.passed,
        slowest=max(before.slowest, cost.look),
    )
    if purse < 0 or slow >= SLOW_LOOKS:
        return _more(now, cost, most, shorter=purse >= 0)
    if now.steps and _has_surplus(now, limits):
        return _changed(now, now.steps[:-1], purse, hold=now.hold, back=True)
    return now


def _more(now: Frugality, cost: Cost, most: float, *, shorter: bool) -> Frugality:
    """One step more, if any is left; with `shorter` one that makes a look shorter, which another interval does not."""
    left = (s for s in Step if s not in now.steps and s in cost.worth and not (shorter and s.factor > 1))
    step = next(left, None)
    if step is None:  # debts are not carried along: nobody could pay them
        return replace(now, purse=max(now.purse or 0.0, 0.0), slow=0)
    hold = now.hold
    if now.back:
        hold = min(hold * 2, MOST_HOLD_SECONDS) if now.passed <= hold else HOLD_SECONDS
    return _changed(now, (*now.steps, step), max(now.purse or 0.0, most * _AFTER_STEP), hold=hold, back=False)


def _has_surplus(now: Frugality, limits: PollSettings) -> bool:
    if now.passed < now.hold:
        return False
    return now.cpu <= SURPLUS * limits.cpu_share * now.passed and now.slowest <= SURPLUS * limits.seconds


def _changed(now: Frugality, steps: tuple[Step, ...], purse: float, *, hold: float, back: bool) -> Frugality:
    return replace(now, steps=steps, purse=purse, slow=0, hold=hold, back=back, cpu=0.0, passed=0.0, slowest=0.0)


class SelfBudget:
    """Measures the looks of one thread, from the start of one to that of the next, and says what the next leaves out.

    So all counts that comes with a look: showing, keeping and telling it.
    """

    def __init__(self, limits: PollSettings) -> None:
        self.limits = limits
        self._frugality = Frugality()
        self._began: tuple[float, float] | None = None
        """CPU seconds and monotonic seconds at the start of the last look."""
        self._elsewhere = 0.0
        self._seconds: float | None = None
        self._total = 0.0

    @property
    def effort(self) -> Effort:
        """What is left out now, and what looks cost."""
        steps = self._frugality.steps
        effort = Effort(
            steps=steps,
            cpu_share=self._frugality.share,
            cpu_share_limit=self.limits.cpu_share,
            cpu_seconds=self._total,
            seconds=self._seconds,
            seconds_limit=self.limits.seconds,
            interval=self.limits.interval,
        )
        return replace(effort, interval=effort.interval * effort.factor)

    def begin(self, clock: Clock, last: Snapshot | None) -> None:
        """A look begins; `last` is the one before it."""
        now = clock.cpu(), clock.monotonic()
        if self._began is not None:
            cpu, passed = (later - earlier for later, earlier in zip(now, self._began, strict=True))
            cpu += self._elsewhere
            self._total += cpu
            cost = Cost(cpu=cpu, passed=passed, look=self._seconds or 0.0, worth=frozenset(_worth(last)))
            self._frugality = decide(self._frugality, cost, self.limits)
        self._began = now
        self._elsewhere = 0.0

    def end(self, clock: Clock, elsewhere: float) -> None:
        """The look is over, and took so many CPU seconds on other threads."""
        if self._began is not None:
            self._seconds = clock.monotonic() - self._began[1]
            self._elsewhere = elsewhere


def _worth(last: Snapshot | None) -> Iterator[Step]:
    """The steps that would save anything, of a look like the last."""
    yield from (step for step in Step if step.factor > 1)
    if last is None:
        return
    counts = np.bincount(last.sockets.state, minlength=max(State) + 1)
    if counts[State.ESTABLISHED] > FEW_DETAILS:
        yield Step.FEWER_DETAILS
    for step in Step:
        if step.unread is not None and counts[step.unread] >= max(LEAST_SOCKETS, LEAST_SHARE * counts.sum()):
            yield step
