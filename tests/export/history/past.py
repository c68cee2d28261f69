"""Looks for a history, one after the other: the clocks go on by themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from builders import namespace
from reports import TIME, ZERO, failed, report
from sockwatch.export.history.samples import Look
from sockwatch.model.finding import Finding
from sockwatch.model.poll import Poll
from sockwatch.model.report import BudgetUse, NamespaceCounts, Report
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.state import State

INTERVAL = 10.0
START = TIME // 300 * 300


@dataclass(kw_only=True)
class Looks:
    """Makes looks and polls, `INTERVAL` apart, the first one at START."""

    time: float = START - INTERVAL
    monotonic: float = 1000.0
    number: int = 0

    def see(self, *findings: Finding, after: float = INTERVAL, **fields: Any) -> Look:
        """A look that succeeds."""
        return self.look(replace(report(*findings), **fields), success=True, after=after)

    def fail(self, after: float = INTERVAL) -> Look:
        """A look that fails."""
        return self.look(failed(), success=False, after=after)

    def look(self, given: Report, *, success: bool, after: float = INTERVAL) -> Look:
        self.time += after
        self.monotonic += after
        self.number += 1
        return Look(time=self.time, monotonic=self.monotonic, interval=INTERVAL, success=success, report=given)


def poll_of(look: Look, snapshot: Snapshot | None) -> Poll:
    """The poll that such a look is taken from."""
    return Poll(
        number=1,
        time=look.time,
        monotonic=look.monotonic,
        ended=look.monotonic + 0.1,
        interval=look.interval,
        report=look.report,
        snapshot=snapshot,
    )


def in_namespaces(counts: Mapping[str, Mapping[State, int]], **counters: int) -> dict[str, Any]:
    """Fields of a report over several namespaces, whose totals are their sums."""
    namespaces = tuple(
        NamespaceCounts(
            namespace=namespace(name, counters={key.replace("_", "."): value for key, value in counters.items()}),
            total=sum(by_state.values()),
            by_state={**ZERO, **by_state},
        )
        for name, by_state in counts.items()
    )
    by_state = {state: sum(n.by_state[state] or 0 for n in namespaces) for state in State}
    return {"namespaces": namespaces, "by_state": by_state, "total": sum(by_state.values())}


def many_series(number: int) -> Report:
    """A look with 500 series, all of which have changed since the look before."""
    names = [f"net:[{4026532000 + i}]" for i in range(19)]
    made = in_namespaces(
        {
            name: {state: (number * 7919 + at * 104729 + state * 1299709) % 50_000 for state in State}
            for at, name in enumerate(["host", *names])
        },
        **{
            f"Tcp_{name}": number * (1000 + number % 89)
            for name in ("ActiveOpens", "PassiveOpens", "AttemptFails", "EstabResets", "OutRsts", "RetransSegs")
        },
        TcpExt_ListenOverflows=number * (50 + number % 7),
        TcpExt_TCPSynRetrans=number * (60 + number % 11),
        TcpExt_TW=number * (70 + number % 13),
    )
    budgets = tuple(
        BudgetUse(
            netns="host",
            source="10.0.0.1",
            destination=f"10.0.1.{i}:443",
            used=(number * 31 + i) % 28_000,
            usable=28_232,
        )
        for i in range(65)
    )
    return replace(report(budgets=budgets), **made)
