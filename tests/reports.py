"""Findings and reports with plausible defaults: a test says only what it is about."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema

from builders import namespace, process
from sockwatch.model.effort import Effort, Step
from sockwatch.model.finding import (
    Effect,
    Finding,
    OtherEnd,
    Severity,
    SocketRow,
    Subject,
    SysctlAdvice,
)
from sockwatch.model.report import BudgetUse, NamespaceCounts, PeerCount, Report, Status, WhatIf
from sockwatch.model.snapshot import Gap, Namespace
from sockwatch.model.state import State
from sockwatch.pipeline import status_of

SCHEMA: Mapping[str, Any] = json.loads((Path(__file__).parent.parent / "docs" / "report.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
TIME = 1_700_000_000.0
ZERO: Mapping[State, int | None] = dict.fromkeys(State, 0)


def row(**fields: Any) -> SocketRow:
    """One socket shown to people."""
    defaults: dict[str, Any] = {
        "netns": "host",
        "state": State.CLOSE_WAIT,
        "local": "10.0.0.1:8080",
        "remote": "10.0.0.9:40001",
        "pid": 812,
        "inode": 5001,
        "uid": 33,
        "recv_q": 0,
        "send_q": 0,
        "age_seconds": 312.25,
        "timer": "off",
        "retransmits": 0,
    }
    return SocketRow(**(defaults | fields))


def leak(**fields: Any) -> Finding:
    """23 connections that an application read to the end and never closed."""
    defaults: dict[str, Any] = {
        "code": "close_wait_leak",
        "variant": "not_closed",
        "severity": Severity.WARNING,
        "subject": Subject(
            netns="host", local="10.0.0.1:8080", remote="10.0.0.9:*", process=process(812, unit="app.service")
        ),
        "count": 23,
        "oldest_seconds": 312.25,
        "summary": "app[812] read the end of 23 connections and never closed them",
        "cause": "The application has read up to the end of the stream (Recv-Q 0) and keeps the descriptors.",
        "remedies": (
            "Fix the application: close the socket when a read returns 0 bytes, on every path, errors included.",
            "Until then restart the process: that frees the descriptors.",
        ),
        "evidence": {"recv_q_max": 0, "fds": 812, "fd_limit": 1024, "oldest_seconds_max": 7384.5},
        "sysctls": (
            SysctlAdvice(
                name="net.ipv4.tcp_fin_timeout",
                value="60",
                effect=Effect.NONE,
                why="it bounds FIN_WAIT_2 of closed sockets; CLOSE_WAIT has no timer",
            ),
        ),
        "sockets": (row(),),
    }
    return Finding(**(defaults | fields))


def overflow() -> Finding:
    """A listener that refuses connections now."""
    return leak(
        code="accept_queue_overflow",
        variant="somaxconn",
        severity=Severity.CRITICAL,
        subject=Subject(netns="host", local="0.0.0.0:80", process=process(900, "nginx")),
        holders=(process(900, "nginx"), process(901, "nginx")),
        count=129,
        oldest_seconds=None,
        summary="nginx[900] does not accept fast enough: the queue of 0.0.0.0:80 is full",
        cause="129 connections wait for accept(), and the queue holds 128.",
        remedies=("Find out why it does not accept.", "Raise net.core.somaxconn, then restart it."),
        evidence={"recv_q": 129, "backlog": 128},
        sysctls=(
            SysctlAdvice(
                name="net.ipv4.tcp_max_syn_backlog", value="512", effect=Effect.NONE, why="that is another queue"
            ),
            SysctlAdvice(name="net.core.somaxconn", value="128", effect=Effect.HELPS, why="it caps this queue"),
        ),
        sockets=(),
    )


def note() -> Finding:
    """Something to know, nothing to do."""
    return leak(
        code="time_wait_buildup",
        variant="server_side",
        severity=Severity.INFO,
        subject=Subject(netns="net:[4026532281]", local="[::1]:443", remote="*:*"),
        other_end=OtherEnd(state=State.CLOSE_WAIT, process=process(77, "client")),
        count=200_000,
        summary="200,000 sockets are in TIME_WAIT on port 443",
        cause="They are on a listening port and cost no port there.",
        remedies=(),
        evidence={},
        sysctls=(),
        sockets=(),
    )


def report(
    *findings: Finding,
    gaps: Sequence[Gap] = (),
    by_state: Mapping[State, int | None] | None = None,
    namespaces: Sequence[Namespace] | None = None,
    **fields: Any,
) -> Report:
    """A report of a host in its initial namespace, with the status that follows from its findings and gaps."""
    counts = {**ZERO, **(by_state or {State.ESTABLISHED: 812, State.LISTEN: 14})}
    total = sum(n for n in counts.values() if n is not None)
    defaults: dict[str, Any] = {
        "time": TIME,
        "host": "web1",
        "kernel": "6.18.44",
        "status": status_of(findings, gaps),
        "total": total,
        "by_state": counts,
        "findings": findings,
        "gaps": tuple(gaps),
        "namespaces": tuple(
            NamespaceCounts(namespace=n, total=total, by_state=counts)
            for n in namespaces or [namespace(counters={"TcpExt.ListenOverflows": 5, "sockstat.TCP.tw": 391})]
        ),
        "timings_ms": {"collect": 12.3456, "owners": 1.5, "diagnose": 0.25},
    }
    return Report(**(defaults | fields))


OWNERS_GAP = Gap(what="owners", why="no permission to read the file descriptors of others (CAP_SYS_PTRACE)", count=3)


def sick() -> Report:
    """One of everything, what no report has together: it supposes a sysctl, which cures nothing, and has an effort."""
    budgets = (
        BudgetUse(netns="host", source="10.0.0.1", destination="10.0.1.1:443", used=3400, usable=28_232),
        BudgetUse(netns="host", source="10.0.0.1", destination="*", used=2900, usable=28_232, seconds_left=700.0),
    )
    peers = (PeerCount(netns="host", local="10.0.0.1:*", peer="10.0.1.1:443", state=State.CLOSE_WAIT, count=7),)
    findings, counts = (overflow(), leak(), note()), {State.CLOSE_WAIT: 23, State.TIME_WAIT: 200_000}
    name = "net.ipv4.tcp_fin_timeout"
    what_if = WhatIf(
        sysctls={name: "30"},
        takes_effect={name: "For sockets that are closed from then on."},
        before=report(*findings, gaps=[OWNERS_GAP], by_state=counts),
    )
    supposed = [namespace(counters={"TcpExt.ListenOverflows": 5, "sockstat.TCP.tw": 391}, tcp_fin_timeout="30")]
    return report(
        *findings,
        gaps=[OWNERS_GAP],
        by_state=counts,
        namespaces=supposed,
        budgets=budgets,
        peers=peers,
        what_if=what_if,
        effort=effort(),
    )


def effort(*steps: Step, **fields: Any) -> Effort:
    """What looks cost that nearly take what they may."""
    defaults: dict[str, Any] = {
        "cpu_share": 0.0412345,
        "cpu_share_limit": 0.05,
        "cpu_seconds": 12.5,
        "seconds": 0.25,
        "seconds_limit": 2.0,
        "interval": 10.0,
    }
    return Effort(steps=steps or (Step.FEWER_DETAILS, Step.TIME_WAIT_COUNTED), **(defaults | fields))


def healthy() -> Report:
    """Nothing wrong, on a kernel that cannot tell everything."""
    return report(
        gaps=[Gap(what="bound", why="this kernel does not list bound sockets (since 6.8)")],
        by_state={State.ESTABLISHED: 1234, State.LISTEN: 14, State.CLOSE: None, State.BOUND: None},
    )


def failed() -> Report:
    """The kernel refused the dump."""
    gap = Gap(what="dump", why="the kernel refused the dump: Permission denied", fatal=True)
    counts: dict[State, int | None] = dict.fromkeys(State)
    return report(gaps=[gap], by_state=counts, status=Status.UNKNOWN)
