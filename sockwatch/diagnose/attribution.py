"""Whose sockets these are: who holds them, who created them, and for those that nobody holds who most likely did.

A socket without an inode has no descriptor: a TIME_WAIT, an orphan that its process closed, a connection that waits for
accept(), a handshake. What is told of them is, in this order: who held the same cookie at an earlier look; who holds
the listener on the same port; who is in the cgroup in which the socket was created. All that is no proof has a
`confidence` in the evidence, and `process_from` says on what it rests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.role import listeners_of
from sockwatch.diagnose.window import Window
from sockwatch.model.snapshot import Cgroup, Process
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The processes to name, oldest first, and what that rests on."""

    holders: tuple[Process, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)


def attribute(window: Window, sockets: SocketTable, held: SocketTable, ages: Ages | None = None) -> Attribution:
    """Whose `sockets` these are. `held` are the sockets whose holders are to blame; often they are the same.

    `ages` are those of `sockets`.
    """
    without_inode = not sockets.inode.any()
    if holders := window.owners.holders(held):
        if without_inode and len(sockets):
            return Attribution(holders=holders, evidence=_by_listener(sockets, held))
        return Attribution(holders=holders, evidence=_origin(window, held, holders, ages))
    if held.inode.any() or not len(held):
        return Attribution()  # somebody holds them, whom nobody could see
    if holders := window.history.holders(held):
        return Attribution(holders=holders, evidence={"confidence": GUESS, "process_from": EARLIER_LOOK})
    if holders := window.owners.holders(listeners_of(window.current, held)):
        return Attribution(holders=holders, evidence={"confidence": GUESS, "process_from": LISTENER})
    return _by_cgroup(window, held)


def _by_listener(sockets: SocketTable, listeners: SocketTable) -> dict[str, str]:
    """Certain for what is in the queue of the only listener; a TIME_WAIT may be older than who listens now."""
    if not listeners.is_in_state(State.LISTEN).all():
        return {}  # those who use up the same ports now, as the finding says
    certain = sockets.is_in_state(*_QUEUED).all() and len(np.unique(listeners.inode)) == 1
    return {} if certain else {"confidence": GUESS, "process_from": LISTENER}


def _by_cgroup(window: Window, sockets: SocketTable) -> Attribution:
    """The one service in the only cgroup in which these were created, if it still is there."""
    cgroup = _cgroup_of(window, sockets)
    if cgroup is None:
        return Attribution()
    created = {"created_in": _name(cgroup)}
    inside = [window.owners.processes[i] for i in cgroup.processes]
    if len({process.name for process in inside}) != 1:
        return Attribution(evidence=created)
    return Attribution(holders=tuple(inside), evidence={"confidence": GUESS, "process_from": CGROUP} | created)


def _origin(window: Window, held: SocketTable, holders: Sequence[Process], ages: Ages | None) -> dict[str, str]:
    """That another process created them, where start times or the cgroup tell."""
    evidence: dict[str, str] = {}
    oldest = None if ages is None else ages.oldest
    if oldest is not None:
        late = [p for p in holders if window.current.time - p.started + _CLOCK_SLACK < oldest]
        creators = [p for p in holders if p not in late]
        if late and not creators:
            evidence["created_by"] = "a process that does not hold them any more"
        elif late:
            evidence |= {"confidence": GUESS, "created_by": _names(creators[:1])}
        if late:
            evidence["inherited_by"] = _names(late)
    cgroup = _cgroup_of(window, held)
    if cgroup is not None and not any(_is_in(process, cgroup) for process in holders):
        evidence["created_in"] = _name(cgroup)
    return evidence


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
