"""How many sockets there are in each state: by family, by listening port, by process."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sockwatch.export.metrics.folding import NOTHING, Folded, Join, Labels, Numbers, fold
from sockwatch.export.metrics.labels import OTHER, label
from sockwatch.export.metrics.namespaces import Namespaces
from sockwatch.model.address import address_text, endpoint_text
from sockwatch.model.grouping import group
from sockwatch.model.settings import MetricsSettings
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

FAMILIES = ("ipv4", "ipv6")
_AF_INET6 = 10
_WIDTH = max(State) + 1
_STATES = [*State]
_NOBODY = ("", "")


def socket_counts(snapshot: Snapshot, namespaces: Namespaces) -> dict[Labels, float]:
    """By (netns, family, state), zeros included; a state that was not read is absent."""
    sockets = snapshot.sockets
    index = namespaces.number.astype(np.int32)[sockets.netns]
    index *= len(FAMILIES)
    index += sockets.family == _AF_INET6
    names = namespaces.labels if namespaces.others else namespaces.own
    counts = _by_state(snapshot, index, sockets.state, len(names) * len(FAMILIES))
    subjects = [(name, family) for name in names for family in FAMILIES]
    return spread(tuple(zip(subjects, counts, strict=True)), State)


def listener_counts(snapshot: Snapshot, namespaces: Namespaces, settings: MetricsSettings) -> Folded:
    """By (netns, port): the ports that most sockets have, of those that are listened on."""
    sockets = snapshot.sockets
    listened = sockets.is_in_state(State.LISTEN)
    any_of = np.zeros(65536, np.bool_)
    any_of[sockets.sport[listened]] = True
    rows = np.flatnonzero(any_of[sockets.sport])
    keys = namespaces.number.astype(np.uint32)[sockets.netns[rows]] << np.uint32(16) | sockets.sport[rows]
    ports = np.unique(keys[listened[rows]])
    if not len(ports):
        return NOTHING
    at = np.minimum(np.searchsorted(ports, keys), len(ports) - 1)
    on = np.flatnonzero(ports[at] == keys)
    counts = _by_state(snapshot, at[on], sockets.state[rows[on]], len(ports))
    netns = (ports >> np.uint32(16)).astype(np.intp)
    weight = counts.sum(axis=1, where=~np.isnan(counts))
    weight[netns >= len(namespaces.own)] = np.nan
    return fold(
        counts,
        weight,
        labels=lambda i: (namespaces.labels[netns[i]], str(int(ports[i]) & 0xFFFF)),
        rest=netns,
        rests=[(name, OTHER) for name in namespaces.labels],
        top=settings.top,
        cap=settings.max_series,
    )


def queue_ratios(snapshot: Snapshot, namespaces: Namespaces, settings: MetricsSettings) -> Folded:
    """By (netns, listener): the fullest accept queues."""
    listeners = snapshot.sockets.in_state(State.LISTEN)
    if not len(listeners):
        return NOTHING
    listeners = listeners.take(np.lexsort((listeners.src_lo, listeners.src_hi, listeners.sport)))
    netns = namespaces.number[listeners.netns]
    subjects = group(netns, listeners.src_hi, listeners.src_lo, listeners.sport)
    ratio = np.zeros(len(subjects))
    # A backlog of 0 lets one wait (sk_acceptq_is_full, include/net/sock.h).
    np.maximum.at(ratio, subjects.index, listeners.recv_q / np.maximum(listeners.send_q, 1))
    first = listeners.take(subjects.first)
    number = netns[subjects.first]
    return fold(
        ratio[:, np.newaxis],
        np.where(number >= len(namespaces.own), np.nan, ratio),
        labels=lambda i: (namespaces.labels[number[i]], _local(first, i)),
        rest=number,
        rests=[(name, OTHER) for name in namespaces.labels],
        top=settings.top,
        cap=settings.max_series,
        join=Join.MAX,
    )


def process_counts(snapshot: Snapshot, settings: MetricsSettings) -> Folded:
    """By (process, unit): who holds the most. Without a process, and by the unit if that is known, all the others."""
    sockets, owners = snapshot.sockets, snapshot.owners
    units = {cgroup: ("", label(known.unit or "")) for cgroup, known in owners.cgroups.items()}
    names = [_NOBODY, *((label(p.name), label(p.unit or "")) for p in owners.processes)]
    subjects = sorted({*names, *units.values()})
    number = {name: i for i, name in enumerate(subjects)}
    index = np.array([number[name] for name in names], np.int32)[owners.of(sockets) + 1]
    if units:
        unknown = np.flatnonzero(index == number[_NOBODY])
        created_in = group(sockets.cgroup[unknown])
        cgroups = sockets.cgroup[unknown[created_in.first]].tolist()
        by_cgroup = np.array([number[units.get(cgroup, _NOBODY)] for cgroup in cgroups], np.int32)
        index[unknown] = by_cgroup[created_in.index]
    counts = _by_state(snapshot, index, sockets.state, len(subjects))
    weight = counts.sum(axis=1, where=~np.isnan(counts))
    weight[number[_NOBODY]] = np.inf
    if (OTHER, "") in number:
        weight[number[OTHER, ""]] = np.nan
    return fold(
        counts,
        weight,
        labels=lambda i: subjects[i],
        rest=np.zeros(len(subjects), np.intp),
        rests=[(OTHER, "")],
        top=settings.top + 1,
        cap=settings.max_series,
    )


def spread(shown: tuple[tuple[Labels, Numbers], ...], states: Iterable[State]) -> dict[Labels, float]:
    """One series a state: the labels of each subject with the state added."""
    names = [state.label for state in states]
    return {
        (*labels, state): float(number)
        for labels, numbers in shown
        for state, number in zip(names, numbers, strict=True)
        if not np.isnan(number)
    }


def _by_state(snapshot: Snapshot, subject: NDArray[np.integer], state: NDArray[np.uint8], subjects: int) -> Numbers:
    """How many sockets each subject has in each State; NaN for states that were not read."""
    counts = np.bincount(subject.astype(np.int64) * _WIDTH + state, minlength=subjects * _WIDTH)
    numbers = counts.reshape(subjects, _WIDTH)[:, _STATES].astype(np.float64)
    unknown = snapshot.unread
    if not all(namespace.lists_bound for namespace in snapshot.namespaces):
        unknown |= {State.BOUND, State.CLOSE}
    numbers[:, [_STATES.index(state) for state in unknown]] = np.nan
    return numbers


def _local(sockets: SocketTable, row: int) -> str:
    address = address_text(int(sockets.src_hi[row]), int(sockets.src_lo[row]))
    return endpoint_text(address, str(sockets.sport[row]))
