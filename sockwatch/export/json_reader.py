"""Reports and findings from their JSON, schema "sockwatch.report/1": what another sockwatch, or the history, told."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from sockwatch.export.json_report import SCHEMA
from sockwatch.model.effort import Effort, Step
from sockwatch.model.finding import Finding
from sockwatch.model.report import BudgetUse, NamespaceCounts, PeerCount, Report, Status
from sockwatch.model.snapshot import Gap, Namespace
from sockwatch.model.state import State

_STEPS = {step.label: step for step in Step}
_STATES = {state.label: state for state in State}
_DEEPEST = 12
"""Levels; a finding has five."""


class _Counts(msgspec.Struct):
    total: int
    by_state: dict[str, int | None]


class _Namespace(msgspec.Struct):
    netns: str
    sockets: _Counts
    counters: dict[str, int]
    sysctls: dict[str, str]


class _Effort(msgspec.Struct):
    steps: list[str]
    cpu_share: float | None
    cpu_share_limit: float
    seconds: float | None
    seconds_limit: float
    interval_seconds: float


class _Report(msgspec.Struct):
    schema: str
    time: datetime
    host: str
    kernel: str
    status: Status
    sockets: _Counts
    findings: list[Any]
    gaps: list[Gap]
    namespaces: list[_Namespace]
    budgets: list[BudgetUse] = []
    peers: list[Any] = []
    effort: _Effort | None = None


def read_report(data: bytes) -> Report:
    """The report. What JSON does not tell is empty: outcomes. Raises ValueError with one line."""
    told = msgspec.json.decode(data, type=_Report)
    if told.schema != SCHEMA:
        raise ValueError(f"schema {told.schema!r} is not {SCHEMA}")
    return Report(
        time=told.time.timestamp(),
        host=told.host,
        kernel=told.kernel,
        status=told.status,
        total=told.sockets.total,
        by_state=_by_state(told.sockets),
        findings=tuple(read_finding(finding) for finding in told.findings),
        gaps=tuple(told.gaps),
        namespaces=tuple(_namespace(one) for one in told.namespaces),
        budgets=tuple(told.budgets),
        peers=tuple(msgspec.convert(_as_model(told.peers, _DEEPEST), list[PeerCount])),
        effort=None if told.effort is None else _effort(told.effort),
    )


def read_finding(told: Any) -> Finding:
    """The finding that this object tells; when its processes began it does not. Raises ValueError with one line."""
    return msgspec.convert(_as_model(told, _DEEPEST), Finding)


def _effort(told: _Effort) -> Effort:
    """A step that a newer daemon has is not in it."""
    return Effort(
        steps=tuple(_STEPS[step] for step in told.steps if step in _STEPS),
        cpu_share=told.cpu_share,
        cpu_share_limit=told.cpu_share_limit,
        seconds=told.seconds,
        seconds_limit=told.seconds_limit,
        interval=told.interval_seconds,
    )


def _namespace(told: _Namespace) -> NamespaceCounts:
    by_state = _by_state(told.sockets)
    namespace = Namespace(
        name=told.netns,
        inode=0,
        initial=told.netns == "host",
        lists_bound=by_state[State.BOUND] is not None,
        counters=told.counters,
        sysctls=told.sysctls,
    )
    return NamespaceCounts(namespace=namespace, total=told.sockets.total, by_state=by_state)


def _by_state(counts: _Counts) -> Mapping[State, int | None]:
    return {state: counts.by_state.get(state.label) for state in State}


def _as_model(told: Any, depth: int) -> Any:
    """States as their numbers, also where they are keys, and a beginning for each process."""
    if not depth:
        raise ValueError("no finding is nested that deep")
    if isinstance(told, list):
        return [_as_model(one, depth - 1) for one in told]
    if not isinstance(told, dict):
        return told
    made = {key: _as_model(value, depth - 1) for key, value in told.items()}
    if isinstance(made.get("state"), str):
        made["state"] = _STATES.get(made["state"], made["state"])
    if isinstance(made.get("by_state"), dict):
        made["by_state"] = {_STATES.get(label, label): count for label, count in made["by_state"].items()}
    if "pid" in made and "name" in made:
        made.setdefault("started", 0.0)
    return made
