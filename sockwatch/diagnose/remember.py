"""From one look to the next: what is remembered of the sockets that detectors looked at."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose.role import Role, roles
from sockwatch.diagnose.window import Window
from sockwatch.model.history import MOST_SOCKETS, Counts, History
from sockwatch.model.identity import NOT_THERE, find_cookies
from sockwatch.model.snapshot import UNKNOWN, Process, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State


def remember(window: Window, suspects: SocketTable) -> History:
    """What the next step knows: the window's history and its current look, with owners.

    `suspects` are the sockets whose holders were asked for; they are remembered as long as they are there.
    """
    before, look = window.history, window.current
    if not len(before) and not len(suspects):  # asked before np.unique, whose first call imports numpy.ma
        return History()
    wanted = np.unique(np.concatenate([before.cookie, suspects.cookie]))
    place = find_cookies(wanted, look.sockets.cookie)
    rows = place[place != NOT_THERE]
    sockets = look.sockets.take(rows)
    known = before.find(sockets)
    if len(sockets) > MOST_SOCKETS:
        first = np.argsort(known == NOT_THERE, kind="stable")[:MOST_SOCKETS]
        sockets, known = sockets.take(first), known[first]
    was = known != NOT_THERE
    since = np.full(len(sockets), look.monotonic + look.took)
    same = np.flatnonzero(was)[before.state[known[was]] == sockets.state[was]]
    since[same] = before.since[known[same]]
    role = roles(sockets)
    hidden = np.flatnonzero(was & (role == Role.UNKNOWN))
    role[hidden] = before.role[known[hidden]]
    owner, processes = _owners(before, look, sockets, known)
    return History(
        cookie=sockets.cookie,
        state=sockets.state,
        since=since,
        owner=owner,
        role=role,
        processes=processes,
        counts=_counts(before, look, sockets, owner, processes),
        files=_files(before, look),
    )


def _owners(
    before: History, look: Snapshot, sockets: SocketTable, known: NDArray[np.intp]
) -> tuple[NDArray[np.int32], tuple[Process, ...]]:
    """The last known holder of each socket, and the processes that are still needed."""
    every = (*look.owners.processes, *before.processes)
    owner = look.owners.of(sockets)
    lost = np.flatnonzero((owner == UNKNOWN) & (known != NOT_THERE))
    last = before.owner[known[lost]]
    owner[lost] = np.where(last == UNKNOWN, UNKNOWN, last + len(look.owners.processes))
    held = owner != UNKNOWN
    used, index = np.unique(owner[held], return_inverse=True)
    latest: dict[tuple[int, float], Process] = {}
    for i in used:  # those of this look come first: they know how many descriptors there are now
        latest.setdefault((every[i].pid, every[i].started), every[i])
    number = {key: i for i, key in enumerate(latest)}
    owner[held] = np.array([number[every[i].pid, every[i].started] for i in used], np.int32)[index]
    return owner, tuple(latest.values())


def _counts(
    before: History,
    look: Snapshot,
    sockets: SocketTable,
    owner: NDArray[np.int32],
    processes: tuple[Process, ...],
) -> Mapping[tuple[int, float, State], Counts]:
    """One number more for whoever holds, or held, something in a state; those who are gone are forgotten."""
    width = max(State) + 1
    held = np.flatnonzero((owner != UNKNOWN) & (sockets.inode != 0))
    numbers = np.bincount(owner[held] * width + sockets.state[held], minlength=len(processes) * width)
    counts: dict[tuple[int, float, State], Counts] = {}
    for i, process in enumerate(processes):
        for state in State:
            key = (process.pid, process.started, state)
            earlier, number = before.counts.get(key), int(numbers[i * width + state])
            if earlier is not None or number:
                counts[key] = (earlier or Counts()).then(look.monotonic, number)
    return counts


def _files(before: History, look: Snapshot) -> Mapping[tuple[int, float], Counts]:
    """One number more for every process that this look knows; what a look does not know ends there."""
    files: dict[tuple[int, float], Counts] = {}
    for process in look.owners.processes:
        if process.fds is not None:
            key = (process.pid, process.started)
            files[key] = before.files.get(key, Counts()).then(look.monotonic, process.fds)
    return files
