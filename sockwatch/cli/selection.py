"""What of a report the user asked for: kinds of findings, and those that concern one service."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sockwatch.diagnose.detector import Detector
from sockwatch.errors import UsageError
from sockwatch.model.finding import Finding
from sockwatch.model.report import Report
from sockwatch.model.snapshot import Gap, Process, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State
from sockwatch.nearest import nearest, unknown
from sockwatch.pipeline import status_of

_COMM_LENGTH = 15
"""TASK_COMM_LEN without its NUL: a longer process name is cut to this."""

Detectors = Mapping[str, Detector[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """--only and --ignore: each a set of CODE or CODE/VARIANT; an empty `only` means everything."""

    only: frozenset[str] = frozenset()
    ignore: frozenset[str] = frozenset()

    def wants(self, code: str, variant: str | None) -> bool:
        """Whether a finding of this kind is asked for."""
        names = {code, f"{code}/{variant}"}
        return not (self.ignore & names) and (not self.only or bool(self.only & names))


def known_kinds(words: Iterable[str], detectors: Detectors) -> frozenset[str]:
    """The words, each of which is a CODE or CODE/VARIANT. Raises UsageError with the nearest one."""
    given = frozenset(words)
    for word in given:
        code, slash, variant = word.partition("/")
        if code not in detectors:
            raise UsageError(unknown("finding", word, [*detectors, *names_of(detectors)]))
        if slash and variant not in detectors[code].variants:
            raise UsageError(unknown("finding", word, names_of({code: detectors[code]}) or [code]))
    return given


def names_of(detectors: Detectors) -> list[str]:
    """Every code/variant."""
    return [f"{code}/{variant}" for code, detector in detectors.items() for variant in detector.variants]


def wanted_detectors(detectors: Detectors, kinds: Kinds) -> Detectors:
    """The detectors with a variant that is asked for. Raises UsageError where none is left."""
    wanted = {
        code: detector
        for code, detector in detectors.items()
        if any(kinds.wants(code, variant) for variant in detector.variants or (None,))
    }
    if not wanted:
        raise UsageError("--only and --ignore leave nothing to look for")
    return wanted


def select_kinds(report: Report, kinds: Kinds) -> Report:
    """The report with the wanted kinds of findings, and the status that follows from them; also what it compares."""
    report = _also_before(report, lambda before: select_kinds(before, kinds))
    findings = tuple(f for f in report.findings if kinds.wants(f.code, f.variant))
    return replace(report, findings=findings, status=status_of(findings, report.gaps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """--listen, --process and --unit: a service by its listening ports, process names and systemd units."""

    ports: frozenset[int] = frozenset()
    processes: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.ports or self.processes or self.units)

    def sockets(self, table: SocketTable) -> SocketTable:
        """The sockets whose holders must be known to tell this service from others.

        That of a port is whoever listens there, with its other ports, or else whoever has the port for something else;
        that of a name may hold any socket.
        """
        if self.processes or self.units:
            return table.take(table.inode != 0)
        return table.take(table.is_in_state(State.LISTEN) | np.isin(table.sport, list(self.ports)))

    def listeners(self, table: SocketTable) -> SocketTable:
        """What listens on one of the ports."""
        return table.take(table.is_in_state(State.LISTEN) & np.isin(table.sport, list(self.ports)))

    def has(self, process: Process) -> bool:
        """Whether this process is of the service, by its name or its unit."""
        return any(_named(process, name) for name in self.processes) or any(_in_unit(process, u) for u in self.units)


def select_service(report: Report, snapshot: Snapshot, service: Service) -> Report:
    """The report with the findings that concern the service, and the status that follows from them.

    A finding concerns it when its local port is one on which the service listens, when one of the service's processes
    holds the sockets or their other ends, or when it is about the whole namespace, where every service runs. A part of
    the service that is not there, and findings that cannot be matched because their process is unknown, become gaps;
    the first kind is fatal: what is not there is not fine.
    """
    report = _also_before(report, lambda before: select_service(before, snapshot, service))
    table = snapshot.sockets
    holders = snapshot.owners.of(table)
    seen = {process.pid: process for process in snapshot.owners.processes}
    missing = [*_missing_ports(service, snapshot), *_missing_processes(service, seen.values())]

    on_ports = table.is_in_state(State.LISTEN) & np.isin(table.sport, list(service.ports))
    pids = {p.pid for p in snapshot.owners.holders(table.take(on_ports))}
    pids |= {process.pid for process in seen.values() if service.has(process)}
    held = np.array([process.pid in pids for process in snapshot.owners.processes] + [False], np.bool_)[holders]
    ports = {*service.ports, *np.unique(table.sport[table.is_in_state(State.LISTEN) & held]).tolist()}

    concerning = tuple(f for f in report.findings if _concerns(f, ports, pids))
    gaps = (*report.gaps, *missing)
    unmatched = sum(1 for f in report.findings if f not in concerning and _nobody_known(f))
    if unmatched:
        why = "their process is not known, so nothing says whether they concern this service; they are left out"
        gaps = (*gaps, Gap(what="findings", why=why, count=unmatched))
    return replace(report, findings=concerning, gaps=gaps, status=status_of(concerning, gaps))


def _also_before(report: Report, select: Callable[[Report], Report]) -> Report:
    if report.what_if is None:
        return report
    return replace(report, what_if=replace(report.what_if, before=select(report.what_if.before)))


def _concerns(finding: Finding, ports: set[int], pids: set[int]) -> bool:
    if finding.subject.local is None and finding.subject.remote is None and finding.subject.process is None:
        return True
    local = (finding.subject.local or "").rpartition(":")[2]
    if local.isdecimal() and int(local) in ports:
        return True
    other = finding.other_end.process if finding.other_end else None
    involved = (finding.subject.process, other, *finding.holders)
    return any(process is not None and process.pid in pids for process in involved)


def _nobody_known(finding: Finding) -> bool:
    return finding.subject.process is None and not (finding.other_end and finding.other_end.process)


def _missing_ports(service: Service, snapshot: Snapshot) -> list[Gap]:
    there = set(service.listeners(snapshot.sockets).sport.tolist())
    return [
        Gap(what=f"--listen {port}", why=f"nothing listens on this port{_taken_by(port, snapshot)}", fatal=True)
        for port in sorted(service.ports - there)
    ]


def _taken_by(port: int, snapshot: Snapshot) -> str:
    """Who has the port for something else: the service cannot bind it then."""
    users = snapshot.sockets.take(snapshot.sockets.sport == port)
    if not len(users):
        return ""
    holders = ", ".join(f"{process.name}[{process.pid}]" for process in snapshot.owners.holders(users)[:3])
    states = ", ".join(state.label for state, count in users.count_by_state().items() if count)
    return f"; a socket in {states} has it{f', held by {holders}' if holders else ''}"


def _missing_processes(service: Service, seen: Iterable[Process]) -> list[Gap]:
    known = list(seen)
    names, units = [process.name for process in known], [process.unit for process in known if process.unit]
    lost = [("--process", n, names) for n in sorted(service.processes) if not any(_named(p, n) for p in known)]
    lost += [("--unit", u, units) for u in sorted(service.units) if not any(_in_unit(p, u) for p in known)]
    return [Gap(what=f"{option} {word}", why=_why_lost(word, among), fatal=True) for option, word, among in lost]


def _why_lost(word: str, among: Iterable[str]) -> str:
    why = "it is not seen to hold a TCP socket: it does not run, has no connection, or may not be looked into"
    hint = nearest(word, dict.fromkeys(among))
    return f"{why}; {hint}" if hint.startswith("did you mean") else why


def _named(process: Process, name: str) -> bool:
    return process.name == name or (len(process.name) == _COMM_LENGTH and process.name == name[:_COMM_LENGTH])


def _in_unit(process: Process, unit: str) -> bool:
    return process.unit is not None and process.unit in {unit, f"{unit}.service"}
