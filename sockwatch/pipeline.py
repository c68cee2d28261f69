"""One step: collect, ask who holds the suspects, diagnose, report. `check` is one step, the daemon a loop of them."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sockwatch.clock import Clock
from sockwatch.diagnose.detector import Detector
from sockwatch.diagnose.holders import Holders
from sockwatch.diagnose.remember import remember
from sockwatch.diagnose.run import diagnose, find_follow_up
from sockwatch.diagnose.watch import Watched, watch
from sockwatch.diagnose.what_if import rule, suppose
from sockwatch.diagnose.window import Window
from sockwatch.errors import UsageError
from sockwatch.model.effort import FEW_DETAILS, Effort, Step
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.history import History
from sockwatch.model.printable import printable
from sockwatch.model.report import NamespaceCounts, Report, Result, Status, WhatIf
from sockwatch.model.snapshot import Asks, FollowUp, Gap, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

if TYPE_CHECKING:
    from sockwatch.effort import SelfBudget
    from sockwatch.model.settings import PollSettings

_UNLISTED = frozenset({State.BOUND, State.CLOSE})
"""What a kernel before v6.8 does not list."""


class Source(Protocol):
    """Where snapshots come from: this host's kernel (collect.live), or a capture (collect.capture)."""

    def look(self, asks: Asks) -> Snapshot:
        """Read every socket once, and more about those that `asks` names. Raises DumpError."""
        ...

    def follow_up(self, snapshot: Snapshot, wanted: FollowUp) -> Snapshot:
        """The same snapshot with what is wanted: holders, `autobound`; what could not be read is a gap."""
        ...


class Pipeline:
    """Owns what is carried from step to step. `stage` says what is being done, for a deadline's message.

    `also_name` chooses further sockets whose holders are looked up, for those who ask about one service. `watching`
    is for who looks again and again: reports have port budgets and lingering peers, and `snapshot` names who holds the
    sockets of a healthy host as well. With `limits`, looks leave out more and more until they cost no more than that
    (effort.py). With `supposed`, sysctls by full name with other values than they have, each step is judged a second
    time as if they had them.
    """

    def __init__(
        self,
        source: Source,
        detectors: Mapping[str, Detector[Any]],
        clock: Clock,
        *,
        also_name: Callable[[SocketTable], SocketTable] | None = None,
        supposed: Mapping[str, str] | None = None,
        watching: bool = False,
        limits: "PollSettings | None" = None,
    ) -> None:
        self._source = source
        self._detectors = detectors
        self._clock = clock
        self._also_name = also_name
        self._supposed = supposed or {}
        self._watching = watching
        self._budget = None if limits is None else _self_budget(limits)
        self._asks = self._union_of_asks()
        self._timings_ms: dict[str, float] = {}
        self._history = History()
        self._holders = Holders()
        self._failed: Mapping[str, str] = {}
        self.snapshot: Snapshot | None = None
        """The last look, with owners."""
        self.stage = "start"

    def go_on_with(
        self, source: Source, detectors: Mapping[str, Detector[Any]], limits: "PollSettings | None" = None
    ) -> None:
        """From the next step on this source, these detectors and limits; what was seen before stays known."""
        self._source = source
        self._detectors = detectors
        if self._budget is not None and limits is not None:
            self._budget.limits = limits
        self._asks = self._union_of_asks()

    def _union_of_asks(self) -> Asks:
        asks = [d.asks for d in self._detectors.values()]
        return Asks.union([*asks, Asks(sysctls=frozenset(self._supposed))])

    def look(self) -> Snapshot:
        """One look with the holders of its suspects, and no verdict: what a capture holds. Raises DumpError."""
        return self._look().current

    def _look(self) -> Window:
        with self._during("collect"):
            snapshot = self._source.look(self._affordable())
        with self._during("owners"):
            seen = Window(current=snapshot, previous=self.snapshot, history=self._history, holders=self._holders)
            wanted = find_follow_up(seen, self._detectors)
            if self._supposed:
                wanted = FollowUp.union(wanted, find_follow_up(self._suppose(seen), self._detectors))
            if self._also_name is not None:
                suspects = SocketTable.concatenate([wanted.suspects, self._also_name(snapshot.sockets)])
                wanted = replace(wanted, suspects=suspects)
            asked = wanted.suspects
            naming = self._watching and self._holders.are_old(snapshot.monotonic)
            if naming:
                asked = SocketTable.concatenate([asked, self._holders.to_ask(snapshot)])
            snapshot = self._source.follow_up(snapshot, replace(wanted, suspects=asked))
            self._failed = wanted.failed
            self._history = remember(seen.like(current=snapshot), wanted.suspects)
            if naming:
                self._holders = self._holders.renewed(snapshot)
            elif self._watching:
                snapshot = self._holders.with_gaps(snapshot)
        self.snapshot = snapshot
        return seen.like(current=snapshot)

    @property
    def effort(self) -> Effort | None:
        """What looks cost and leave out; None without limits."""
        return None if self._budget is None else self._budget.effort

    def _affordable(self) -> Asks:
        effort = self.effort
        if effort is None:
            return self._asks
        most = FEW_DETAILS if Step.FEWER_DETAILS in effort.steps else None
        return replace(self._asks, unread=effort.unread, most_established=most)

    def step(self) -> Report:
        """One look and its verdict. Raises DumpError when the sockets cannot be read.

        Raises UsageError where a supposed sysctl is not there.
        """
        if self._budget is None:
            return self._step()
        self._budget.begin(self._clock, self.snapshot)
        elsewhere = 0.0
        try:
            report = self._step()
            elsewhere = self.snapshot.cpu_elsewhere if self.snapshot is not None else 0.0
        finally:
            self._budget.end(self._clock, elsewhere)
        effort = self._budget.effort
        return replace(report, gaps=(*report.gaps, *effort.gaps()), effort=effort)

    def _step(self) -> Report:
        seen = self._look()
        report = self._judge(seen)
        if self._watching:
            self.snapshot = self._holders.complete(seen.current)
        if not self._supposed:
            return report
        what_if = WhatIf(
            sysctls=self._supposed,
            takes_effect={name: rule(name).told for name in self._supposed},
            before=report,
        )
        return replace(self._judge(self._suppose(seen)), what_if=what_if)

    def _suppose(self, seen: Window) -> Window:
        for name in self._supposed:
            if not any(name in namespace.sysctls for namespace in seen.namespaces):
                raise UsageError(f"--what-if {name}: there is no such sysctl where it was looked, or it cannot be read")
        previous = None if seen.previous is None else suppose(seen.previous, self._supposed)
        return replace(seen, current=suppose(seen.current, self._supposed), previous=previous)

    def _judge(self, seen: Window) -> Report:
        snapshot = seen.current
        with self._during("diagnose"):
            findings, outcomes = diagnose(seen, self._detectors, self._failed)
            watched = watch(seen) if self._watching else Watched()
        failed = [Gap(what=o.code, why=o.why, fatal=True) for o in outcomes if o.result is Result.FAILED]
        no_data = [Gap(what=o.code, why=o.why) for o in outcomes if o.result is Result.NO_DATA]
        gaps = (*snapshot.gaps, *failed, *no_data, *watched.gaps)
        namespaces = _count(snapshot)
        return Report(
            time=snapshot.time,
            host=snapshot.host,
            kernel=snapshot.kernel,
            status=status_of(findings, gaps),
            total=sum(counts.total for counts in namespaces),
            by_state={state: _sum(n.by_state[state] for n in namespaces) for state in State},
            findings=findings,
            gaps=gaps,
            namespaces=namespaces,
            outcomes=outcomes,
            budgets=watched.budgets,
            peers=watched.peers,
            timings_ms=dict(self._timings_ms),
        )

    @contextmanager
    def _during(self, stage: str) -> Iterator[None]:
        self.stage = stage
        started = self._clock.monotonic()
        yield
        self._timings_ms[stage] = (self._clock.monotonic() - started) * 1e3


def _self_budget(limits: "PollSettings") -> "SelfBudget":
    from sockwatch.effort import SelfBudget  # noqa: PLC0415 - `check` has no limits, and no 10 ms to load them

    return SelfBudget(limits)


def status_of(findings: Iterable[Finding], gaps: Iterable[Gap]) -> Status:
    """The worst of critical > warning > unknown > ok; info does not count, a fatal gap makes unknown."""
    severities = {finding.severity for finding in findings}
    if Severity.CRITICAL in severities:
        return Status.CRITICAL
    if Severity.WARNING in severities:
        return Status.WARNING
    return Status.UNKNOWN if any(gap.fatal for gap in gaps) else Status.OK


def failed_report(gap: Gap, clock: Clock) -> Report:
    """The report of a look that failed: nothing counted, status unknown, and why as its gap."""
    system = os.uname()
    return Report(
        time=clock.unixtime(),
        host=printable(system.nodename),
        kernel=printable(system.release),
        status=Status.UNKNOWN,
        total=0,
        by_state=dict.fromkeys(State),
        gaps=(replace(gap, fatal=True),),
    )


def _count(snapshot: Snapshot) -> tuple[NamespaceCounts, ...]:
    """The counts of each namespace, all from one pass over the sockets."""
    states = max(State) + 1
    pairs = snapshot.sockets.netns.astype(np.int64) * states + snapshot.sockets.state
    by_pair = np.bincount(pairs, minlength=len(snapshot.namespaces) * states).reshape(-1, states)
    return tuple(
        NamespaceCounts(
            namespace=namespace,
            total=int(row.sum()) + sum(count or 0 for count in namespace.counted.values()),
            by_state={
                state: None if state in _UNLISTED and not namespace.lists_bound else int(row[state]) for state in State
            }
            | dict(namespace.counted),
        )
        for namespace, row in zip(snapshot.namespaces, by_pair, strict=True)
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = tuple(counts)
    return None if None in known else sum(n for n in known if n is not None)
