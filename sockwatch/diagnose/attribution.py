"""Whose sockets these are: who holds them, who created them, and for those that nobody holds who most likely did.

A socket without an inode has no descriptor: a TIME_WAIT, an orphan that its process closed, a connection that waits for
accept(), a handshake. What is told of them is, in this order: who held the same cookie at an earlier look; who holds
the listener on the same port; who is in the cgroup in which the socket was created. All that is no proof has a
`confidence` in the evidence, and `process_from` says on what it rests. Where those who are named do not hold all of the
sockets, that has a confidence as well, and `process_holds` says how many of them the first one has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.role import listeners_of
from sockwatch.diagnose.window import Window
from sockwatch.model.identity import NOT_THERE
from sockwatch.model.snapshot import UNKNOWN, Cgroup, Process
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

EARLIER_LOOK = "an earlier look"
LISTENER = "the listener on this port"
CGROUP = "the cgroup they were created in"
GUESS = "medium"
_MOST_NAMED = 3
_CLOCK_SLACK = 2.0
"""Seconds: the kernel tells when it booted in whole seconds, and processes start relative to that."""
_QUEUED = (State.SYN_RECV, State.ESTABLISHED, State.CLOSE_WAIT)
"""Without an inode these belong to a listener: they are a handshake, or wait for accept()."""

Evidence = dict[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The processes to name, and what that rests on: who has most of the sockets comes first, of several the oldest."""

    holders: tuple[Process, ...] = ()
    evidence: Evidence = field(default_factory=dict)


def attribute(window: Window, sockets: SocketTable, held: SocketTable, ages: Ages | None = None) -> Attribution:
    """Whose `sockets` these are. `held` are the sockets whose holders are to blame; often they are the same.

    `ages` are those of `sockets`.
    """
    if len(sockets) and not sockets.inode.any() and len(held) and held.is_in_state(State.LISTEN).all():
        holders = window.owners.holders(held)
        return Attribution(holders=holders, evidence=_by_listener(sockets, held) if holders else {})
    seen = _seen_with(window, held)
    if seen.known * 2 < len(held) and not held.inode.any():
        guess = _by_place(window, held)
        if guess.holders or not seen.holders:
            return guess
    if not seen.holders:
        return Attribution()  # somebody holds them, whom nobody could see
    evidence = seen.evidence(len(held))
    return Attribution(
        holders=seen.holders,
        evidence=evidence | (_origin(window, sockets, ages) if held is sockets else {}) | evidence,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """Who has, or at an earlier look had, descriptors of some sockets, and how many of them.

    `known` and `remembered` are how many sockets these are, and how many of them are told by an earlier look; `most` is
    how many the first of the holders has.
    """

    holders: tuple[Process, ...]
    most: int
    known: int
    remembered: int

    def evidence(self, count: int) -> Evidence:
        """How certain it is that all of so many sockets are theirs."""
        if self.known == count and not self.remembered:
            return {}
        evidence: Evidence = {"confidence": GUESS}
        if self.remembered:
            evidence["process_from"] = EARLIER_LOOK
        return evidence if self.most == count else evidence | {"process_holds": self.most}


def _seen_with(window: Window, held: SocketTable) -> _Seen:
    """Socket by socket: who holds it now, else who held the same cookie at an earlier look."""
    processes: list[Process] = []
    counts: list[NDArray[np.intp]] = []

    def add(owners: NDArray[np.int32], known: Sequence[Process]) -> int:
        processes.extend(known)
        counts.append(np.bincount(owners[owners != UNKNOWN], minlength=len(known)))
        return int((owners != UNKNOWN).sum())

    now = window.owners.of(held)
    live = add(now, window.owners.processes)
    if window.owners.others:
        for inode, count in zip(*np.unique(held.inode, return_counts=True), strict=True):
            counts[0][list(window.owners.others.get(int(inode), ()))] += count
    left = held.take(held.inode == 0)
    history = window.history
    rows = history.find(left)
    before = np.full(len(left), UNKNOWN, np.int32)
    before[rows != NOT_THERE] = history.owner[rows[rows != NOT_THERE]]
    remembered = add(before, history.processes)
    remembered += add(window.holders.of(left.take(before == UNKNOWN)), window.holders.processes)
    has: dict[tuple[int, float], int] = {}
    named: dict[tuple[int, float], Process] = {}
    for process, count in zip(processes, np.concatenate(counts).tolist(), strict=True):
        if count:
            key = (process.pid, process.started)
            has[key] = has.get(key, 0) + count
            named.setdefault(key, process)
    order = sorted(named, key=lambda key: (-has[key], key[1], key[0]))
    return _Seen(
        holders=tuple(named[key] for key in order),
        most=has[order[0]] if order else 0,
        known=live + remembered,
        remembered=remembered,
    )


def _by_listener(sockets: SocketTable, listeners: SocketTable) -> Evidence:
    """Certain for what is in the queue of the only listener; a TIME_WAIT may be older than who listens now."""
    certain = sockets.is_in_state(*_QUEUED).all() and len(np.unique(listeners.inode)) == 1
    return {} if certain else {"confidence": GUESS, "process_from": LISTENER}


def _by_place(window: Window, held: SocketTable) -> Attribution:
    """Who listens on their ports now, or is in the cgroup in which they were created."""
    if not len(held):
        return Attribution()
    if holders := window.owners.holders(listeners_of(window.current, held)):
        return Attribution(holders=holders, evidence={"confidence": GUESS, "process_from": LISTENER})
    return _by_cgroup(window, held)


def _by_cgroup(window: Window, sockets: SocketTable) -> Attribution:
    """The one service in the only cgroup in which these were created, if it still is there."""
    cgroup = _cgroup_of(window, sockets)
    if cgroup is None:
        return Attribution()
    created: Evidence = {"created_in": _name(cgroup)}
    inside = [window.owners.processes[i] for i in cgroup.processes]
    if len({process.name for process in inside}) != 1:
        return Attribution(evidence=created)
    return Attribution(holders=tuple(inside), evidence={"confidence": GUESS, "process_from": CGROUP, **created})


def _origin(window: Window, held: SocketTable, ages: Ages | None) -> Evidence:
    """That another process created them, where start times or the cgroup tell."""
    evidence: Evidence = {} if ages is None else _inherited(window, held, ages)
    cgroup = _cgroup_of(window, held)
    if cgroup is not None and not any(_is_in(process, cgroup) for process in window.owners.holders(held)):
        evidence["created_in"] = _name(cgroup)
    return evidence


def _inherited(window: Window, held: SocketTable, ages: Ages) -> Evidence:
    """Each socket is judged by its own holders: those that started after it was there did not open it."""
    oldest: dict[tuple[int, ...], float] = {}
    first = window.owners.of(held)
    aged = np.flatnonzero((first != UNKNOWN) & ~np.isnan(ages.lower))
    for owner, inode, age in zip(
        first[aged].tolist(), held.inode[aged].tolist(), ages.lower[aged].tolist(), strict=True
    ):
        key = (owner, *window.owners.others.get(inode, ()))
        oldest[key] = max(age, oldest.get(key, 0.0))
    creators: dict[Process, None] = {}
    heirs: dict[Process, None] = {}
    orphaned: dict[Process, None] = {}
    for key, age in oldest.items():
        holders = sorted((window.owners.processes[i] for i in key), key=lambda p: (p.started, p.pid))
        late = [p for p in holders if p.age(window.current) + _CLOCK_SLACK < age]
        if late and len(late) < len(holders):
            creators[next(p for p in holders if p not in late)] = None
            heirs |= dict.fromkeys(late)
        else:
            orphaned |= dict.fromkeys(late)
    if heirs:
        return {"confidence": GUESS, "created_by": _names(tuple(creators)), "inherited_by": _names(tuple(heirs))}
    if orphaned:
        lost = "a process that does not hold them any more"
        return {"confidence": GUESS, "created_by": lost, "inherited_by": _names(tuple(orphaned))}
    return {}


def _cgroup_of(window: Window, sockets: SocketTable) -> Cgroup | None:
    """The cgroup in which all of them were created; None where there are several, or it says nothing."""
    numbers = np.unique(sockets.cgroup).tolist()
    cgroup = window.owners.cgroups.get(numbers[0]) if len(numbers) == 1 else None
    return cgroup if cgroup is not None and (cgroup.gone or cgroup.unit or cgroup.container) else None


def _is_in(process: Process, cgroup: Cgroup) -> bool:
    return not cgroup.gone and (process.unit, process.container) == (cgroup.unit, cgroup.container)


def _name(cgroup: Cgroup) -> str:
    if cgroup.gone:
        return "a cgroup that was removed since"
    return f"container {cgroup.container}" if cgroup.container else str(cgroup.unit)


def _names(processes: Sequence[Process]) -> str:
    more = len(processes) - _MOST_NAMED
    names = ", ".join(f"{process.name}[{process.pid}]" for process in processes[:_MOST_NAMED])
    return f"{names} and {more} more" if more > 0 else names
