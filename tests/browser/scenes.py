"""Polls for the page: a sick host, a healthy one, one that cannot be looked at, and one with far too much of all."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import reports
from builders import namespace, process, snapshot, socket
from export.web.serving import published
from sockwatch.clock import SystemClock
from sockwatch.export.web.published import Published
from sockwatch.model.alert import BLIND, Alert, AlertIdentity, AlertState
from sockwatch.model.finding import Finding
from sockwatch.model.report import BudgetUse, NamespaceCounts, Outcome, Report, Result
from sockwatch.model.snapshot import Gap, Snapshot
from sockwatch.model.state import State

HOSTILE = "<img src=x onerror=alert(1)>"
LEAKED = 23


def host(name: str = "app", listeners: int = 2) -> Snapshot:
    """23 leaked connections of one process, and listeners, the first of them full."""
    leaked = [
        socket(State.CLOSE_WAIT, "10.0.0.1:8080", f"10.0.0.9:{40000 + i}", inode=5000 + i, last_ack_recv=3e5)
        for i in range(LEAKED)
    ]
    listening = [
        socket(State.LISTEN, f"0.0.0.0:{80 + i}", inode=100 + i, recv_q=129 * (not i), send_q=128, skmem_drops=7.0)
        for i in range(listeners)
    ]
    held = {5000 + i: [process(812, name)] for i in range(LEAKED)} | {100: [process(900, "nginx")]}
    return snapshot(*leaked, *listening, holders=held, namespaces=[namespace(counters={"Tcp.ActiveOpens": 23})])


def poll_of(report: Report, seen: Snapshot | None = None, *, number: int = 1, **fields: Any) -> Published:
    """A poll that is just over."""
    clock = SystemClock()
    last = published(replace(report, time=clock.unixtime()), number=number)
    times = {"time": clock.unixtime(), "monotonic": clock.monotonic(), "ended": clock.monotonic()}
    return replace(last, poll=replace(last.poll, snapshot=seen, **(times | fields)))


def sick(**leak: Any) -> Published:
    """A full listener, a leak, and something to know."""
    found = (reports.overflow(), reports.leak(**leak), reports.note())
    return poll_of(
        reports.report(*found, gaps=[reports.OWNERS_GAP], by_state=counts(), outcomes=outcomes(), budgets=budgets()),
        host(),
        alerts=[alert(finding) for finding in found[:2]],
    )


def healthy(number: int = 1) -> Published:
    """Nothing wrong."""
    return poll_of(reports.report(outcomes=outcomes()), host(), number=number)


def blind() -> Published:
    """The kernel refused the dump; one finding was open before, one had just ended, and looks keep failing."""
    gone = alert(reports.overflow(), AlertState.RESOLVED)
    keeps = alert(reports.leak(code=BLIND, variant=None, summary="sockwatch cannot see the sockets"))
    return poll_of(reports.failed(), alerts=[alert(reports.leak()), gone, replace(keeps, finding=None)])


def hostile() -> Published:
    """Everything that others choose is markup."""
    who = process(812, HOSTILE, unit=HOSTILE, command=f"{HOSTILE} --x", user=HOSTILE)
    subject = replace(reports.leak().subject, process=who)
    texts = {"summary": HOSTILE, "cause": HOSTILE, "remedies": (HOSTILE, HOSTILE), "evidence": {HOSTILE: HOSTILE}}
    finding = reports.leak(subject=subject, **texts)
    gap = Gap(what=HOSTILE, why=HOSTILE)
    report = reports.report(finding, gaps=[gap], by_state=counts(), host=HOSTILE, kernel=HOSTILE)
    gone = alert(reports.leak(summary=HOSTILE), AlertState.RESOLVED)
    return poll_of(report, host(HOSTILE), alerts=[alert(finding), gone])


def crowded() -> Published:
    """A thousand of each."""
    found = [reports.leak(summary=f"leak {i}", count=i) for i in range(1000)]
    spaces = [namespace(f"blue{i}") for i in range(1000)]
    several = tuple(NamespaceCounts(namespace=n, total=1, by_state=counts()) for n in spaces)
    report = reports.report(
        *found,
        gaps=[Gap(what=f"gap {i}", why="because") for i in range(1000)],
        budgets=tuple(replace(budgets()[0], destination=f"10.0.0.{i}:1") for i in range(100)),
        outcomes=outcomes(),
    )
    return poll_of(replace(report, namespaces=several), host(listeners=1000), alerts=[alert(f) for f in found])


def counts() -> Mapping[State, int]:
    """What `host` has, and more."""
    return {State.CLOSE_WAIT: LEAKED, State.LISTEN: 2, State.ESTABLISHED: 812, State.TIME_WAIT: 41}


def outcomes() -> Sequence[Outcome]:
    """One of each."""
    return (
        Outcome(code="close_wait_leak", result=Result.FINDINGS),
        Outcome(code="dead_peer", result=Result.CLEAN),
        Outcome(code="conntrack_pressure", result=Result.NO_DATA, why="connection tracking is not loaded"),
    )


def budgets() -> tuple[BudgetUse, ...]:
    """One that ends soon."""
    return (
        BudgetUse(
            netns="host", source="10.0.0.1", destination="10.0.0.5:5432", used=27400, usable=28232, seconds_left=140.0
        ),
    )


def alert(finding: Finding, state: AlertState = AlertState.FIRING) -> Alert:
    """As the daemon follows it."""
    now = SystemClock().unixtime()
    return Alert(
        identity=AlertIdentity(code=finding.code),
        state=state,
        severity=finding.severity,
        summary=finding.summary,
        cause=finding.cause,
        remedies=finding.remedies,
        count=finding.count,
        began=now - 754,
        resolved=now if state is AlertState.RESOLVED else None,
        finding=finding,
    )
