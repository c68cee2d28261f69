"""The report as JSON, schema "sockwatch.report/1" (docs/report.schema.json)."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sockwatch.model.effort import Effort
from sockwatch.model.finding import Finding, SocketRow, Subject
from sockwatch.model.printable import printable
from sockwatch.model.report import BudgetUse, NamespaceCounts, PeerCount, Report, WhatIf
from sockwatch.model.snapshot import Process
from sockwatch.model.state import State

SCHEMA = "sockwatch.report/1"
_DIGITS = 3


def report_text(report: Report, *, indent: bool = False) -> str:
    """One JSON object and a newline; ASCII, so that no name in it can reach a terminal unescaped."""
    return json.dumps(report_object(report), indent=2 if indent else None, allow_nan=False) + "\n"


def report_object(report: Report) -> dict[str, Any]:
    """The report as plain dicts, lists, strings and numbers, keys in the order of the schema."""
    first = report.namespaces[0].namespace if report.namespaces else None
    return {
        "schema": SCHEMA,
        "time": datetime.fromtimestamp(report.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "host": printable(report.host),
        "kernel": printable(report.kernel),
        "status": report.status.value,
        "sockets": _counts(report.total, report.by_state),
        "findings": [finding_object(finding) for finding in report.findings],
        "gaps": [
            {"what": printable(g.what), "why": printable(g.why), "count": g.count, "fatal": g.fatal}
            for g in report.gaps
        ],
        "counters": dict(first.counters) if first else {},
        "sysctls": dict(first.sysctls) if first else {},
        "namespaces": [_namespace(counts) for counts in report.namespaces],
        **({"budgets": [_budget(use) for use in report.budgets]} if report.budgets else {}),
        **({"peers": [_peer(peer) for peer in report.peers]} if report.peers else {}),
        "timings_ms": {name: round(value, _DIGITS) for name, value in report.timings_ms.items()},
        **({"effort": _effort(report.effort)} if report.effort else {}),
        **({"what_if": _what_if(report.what_if)} if report.what_if else {}),
    }


def kept_finding_object(finding: Finding) -> dict[str, Any]:
    """One finding for who keeps it or passes it on: without command lines, as no rule finds every secret in them."""
    subject, other = finding.subject, finding.other_end
    return finding_object(
        replace(
            finding,
            subject=replace(subject, process=_without_command(subject.process)),
            holders=tuple(replace(holder, command=None) for holder in finding.holders),
            other_end=None if other is None else replace(other, process=_without_command(other.process)),
        )
    )


def _without_command(process: Process | None) -> Process | None:
    return None if process is None else replace(process, command=None)


def finding_object(finding: Finding) -> dict[str, Any]:
    """One finding, keys in the order of the schema; `holders` only where more than one process holds the sockets."""
    other = finding.other_end
    holders = [_process(process) for process in finding.holders]
    return {
        "code": finding.code,
        "variant": finding.variant,
        "severity": finding.severity.value,
        "subject": _subject(finding.subject),
        **({"holders": holders} if len(holders) > 1 else {}),
        "other_end": {"state": other.state.label, "process": _process(other.process)} if other else None,
        "count": finding.count,
        "oldest_seconds": _number(finding.oldest_seconds),
        "summary": printable(finding.summary),
        "cause": printable(finding.cause),
        "remedies": [printable(remedy) for remedy in finding.remedies],
        "evidence": _evidence(finding.evidence),
        "sysctls": [
            {"name": s.name, "value": s.value, "effect": s.effect.value, "why": printable(s.why)}
            for s in finding.sysctls
        ],
        "sockets": [_socket(row) for row in finding.sockets],
        **_by_state(finding),
    }


def _by_state(finding: Finding) -> dict[str, Any]:
    """Only where it is not that all are in the state of those shown."""
    told = {state.label: count for state, count in finding.by_state.items()}
    expected = {row.state.label: finding.count for row in finding.sockets[:1]}
    return {"by_state": told} if told and told != expected else {}


def _effort(effort: Effort) -> dict[str, Any]:
    return {
        "steps": [step.label for step in effort.steps],
        "cpu_share": None if effort.cpu_share is None else round(effort.cpu_share, 5),
        "cpu_share_limit": effort.cpu_share_limit,
        "seconds": _number(effort.seconds),
        "seconds_limit": effort.seconds_limit,
        "interval_seconds": effort.interval,
    }


def _what_if(what_if: WhatIf) -> dict[str, Any]:
    before = what_if.before
    real = before.namespaces[0].namespace.sysctls if before.namespaces else {}
    return {
        "sysctls": dict(what_if.sysctls),
        "takes_effect": dict(what_if.takes_effect),
        "before": {
            "status": before.status.value,
            "sysctls": {name: real[name] for name in what_if.sysctls if name in real},
            "findings": [
                {
                    "code": finding.code,
                    "variant": finding.variant,
                    "severity": finding.severity.value,
                    "subject": _subject(finding.subject),
                    "count": finding.count,
                }
                for finding in before.findings
            ],
        },
    }


def _namespace(counts: NamespaceCounts) -> dict[str, Any]:
    return {
        "netns": printable(counts.namespace.name),
        "sockets": _counts(counts.total, counts.by_state),
        "counters": dict(counts.namespace.counters),
        "sysctls": dict(counts.namespace.sysctls),
    }


def _budget(use: BudgetUse) -> dict[str, Any]:
    return {
        "netns": printable(use.netns),
        "source": use.source,
        "destination": use.destination,
        "used": use.used,
        "usable": use.usable,
        "seconds_left": _number(use.seconds_left),
    }


def _peer(peer: PeerCount) -> dict[str, Any]:
    return {
        "netns": printable(peer.netns),
        "local": peer.local,
        "peer": peer.peer,
        "state": peer.state.label,
        "count": peer.count,
    }


def _counts(total: int, by_state: Mapping[State, int | None]) -> dict[str, Any]:
    return {"total": total, "by_state": {state.label: by_state.get(state) for state in State}}


def _subject(subject: Subject) -> dict[str, Any]:
    return {
        "netns": printable(subject.netns),
        "local": subject.local,
        "remote": subject.remote,
        "process": _process(subject.process),
    }


def _process(process: Process | None) -> dict[str, Any] | None:
    if process is None:
        return None
    return {
        "pid": process.pid,
        "name": printable(process.name),
        "unit": _text(process.unit),
        "container": _text(process.container),
        "user": _text(process.user),
        "command": _text(process.command),
        "unit_manager": _text(process.unit_manager),
        "runtime": _text(process.runtime),
        "pod": _text(process.pod),
    }


def _text(text: str | None) -> str | None:
    return None if text is None else printable(text)


def _socket(row: SocketRow) -> dict[str, Any]:
    return {
        "netns": printable(row.netns),
        "state": row.state.label,
        "local": row.local,
        "remote": row.remote,
        "pid": row.pid,
        "inode": row.inode,
        "uid": row.uid,
        "recv_q": row.recv_q,
        "send_q": row.send_q,
        "age_seconds": _number(row.age_seconds),
        "timer": row.timer,
        "retransmits": row.retransmits,
    }


def _evidence(evidence: Mapping[str, float | int | str]) -> dict[str, float | int | str]:
    """Rounded; a number that is not there (NaN) is left out, as JSON cannot say it."""
    out: dict[str, float | int | str] = {}
    for name, value in evidence.items():
        if isinstance(value, str):
            out[name] = printable(value)
        else:
            number = _number(value)
            if number is not None:
                out[name] = number
    return out


def _number(value: float | None) -> float | int | None:
    if value is None or isinstance(value, int):
        return value
    return round(float(value), _DIGITS) if math.isfinite(value) else None
