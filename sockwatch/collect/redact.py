"""A capture that can be shown to others: the same sockets, states, ports and pids between renamed hosts and processes.

Loopback and unspecified addresses stay, since verdicts depend on them. Every other address becomes one in 10.0.0.0/8 or
fd00::/8, the same wherever it occurs, so that both ends of a connection still match; whether it was private or public
is lost.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sockwatch.model.address import V4_MAPPED, is_any, is_loopback, is_v4
from sockwatch.model.grouping import group
from sockwatch.model.snapshot import Cgroup, Gap, Namespace, Owners, Process, Snapshot
from sockwatch.model.sockets import SocketTable

_TEN = np.uint64(10 << 24)
_FD00 = np.uint64(0xFD << 56)
_ONE = np.uint64(1)

Half = NDArray[np.uint64]
Place = TypeVar("Place", Process, Cgroup)
Rename = Callable[[str], str]


def redact(looks: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """The same looks under other names: host, namespaces, processes, users, units, containers, pods, files, addresses.

    Command lines are left out. What is the same in two looks stays the same. Addresses are drawn anew for each call.
    """
    if not looks:
        return ()
    kinds = ("process", "unit", "container", "netns", "user", "pod", "host", "sysctl-file")
    process, unit, container, netns, user, pod, host, file = map(_numbered, kinds)
    tables = _readdress([table for look in looks for table in (look.sockets, look.udp, look.mptcp)])

    def rename_unit(name: str) -> str:
        return f"{unit(name)}.{name.rpartition('.')[2]}"

    def rename_place(place: Place) -> Place:
        """A user's service manager has the uid in its name."""
        return replace(
            place,
            unit=_rename(place.unit, rename_unit),
            unit_manager=_rename(place.unit_manager, rename_unit),
            container=_rename(place.container, container),
            pod=_rename(place.pod, pod),
        )

    def rename_gap(gap: Gap) -> Gap:
        what, space, name = gap.what.partition(" ")
        if what == "namespace" and not _is_own(name):
            return replace(gap, what=f"{what}{space}{netns(name)}")
        path, colon, why = gap.why.rpartition(": ")
        if gap.what == "sysctl files" and path:
            return replace(gap, why=f"{file(path)}{colon}{why}")
        return gap

    def rename_process(p: Process) -> Process:
        return replace(rename_place(p), name=process(p.name), user=_rename(p.user, user), command=None)

    return tuple(
        replace(
            look,
            host=host(look.host),
            namespaces=tuple(_rename_namespace(namespace, netns) for namespace in look.namespaces),
            gaps=tuple(map(rename_gap, look.gaps)),
            sockets=sockets,
            udp=udp,
            mptcp=mptcp,
            owners=_rename_owners(look.owners, rename_process, rename_place),
            sysctl_files=tuple(replace(setting, file=file(setting.file)) for setting in look.sysctl_files),
        )
        for look, (sockets, udp, mptcp) in zip(looks, _in_threes(tables), strict=True)
    )


def _in_threes(tables: Iterator[SocketTable]) -> Iterator[tuple[SocketTable, SocketTable, SocketTable]]:
    return zip(tables, tables, tables, strict=True)


def _numbered(kind: str) -> Rename:
    """Names in the order in which they come: `process-1`, `process-2`."""
    numbers: dict[str, int] = {}
    return lambda name: f"{kind}-{numbers.setdefault(name, len(numbers) + 1)}"


def _rename_namespace(namespace: Namespace, rename: Rename) -> Namespace:
    """Only a name that a person gave is replaced."""
    own = namespace.initial or _is_own(namespace.name)
    return namespace if own else replace(namespace, name=rename(namespace.name))


def _is_own(name: str) -> bool:
    """Whether it is a name that only sockwatch gives."""
    return name == "host" or name.startswith("net:[")


def _rename(name: str | None, rename: Rename) -> str | None:
    return None if name is None else rename(name)


def _rename_owners(
    owners: Owners, rename_process: Callable[[Process], Process], rename_cgroup: Callable[[Cgroup], Cgroup]
) -> Owners:
    return replace(
        owners,
        processes=tuple(map(rename_process, owners.processes)),
        cgroups={number: rename_cgroup(cgroup) for number, cgroup in owners.cgroups.items()},
    )


def _readdress(tables: Sequence[SocketTable]) -> Iterator[SocketTable]:
    """The tables with other addresses, each the same in all of them."""
    hi = np.concatenate([half for table in tables for half in (table.src_hi, table.dst_hi)])
    lo = np.concatenate([half for table in tables for half in (table.src_lo, table.dst_lo)])
    groups = group(hi, lo)
    hi, lo = (half[groups.index] for half in _draw(hi[groups.first], lo[groups.first]))
    start = 0
    for table in tables:
        middle, end = start + len(table), start + 2 * len(table)
        yield replace(
            table, src_hi=hi[start:middle], src_lo=lo[start:middle], dst_hi=hi[middle:end], dst_lo=lo[middle:end]
        )
        start = end


def _draw(hi: Half, lo: Half) -> tuple[Half, Half]:
    """A replacement for each of these addresses, in an order that says nothing about them."""
    kept = is_any(hi, lo) | is_loopback(hi, lo)
    v4 = is_v4(hi, lo) & ~kept
    v6 = ~v4 & ~kept
    random = np.random.default_rng()
    hi, lo = hi.copy(), lo.copy()
    lo[v4] = V4_MAPPED | _TEN | (random.permutation(int(v4.sum())).astype(np.uint64) + _ONE)
    hi[v6] = _FD00
    lo[v6] = random.permutation(int(v6.sum())).astype(np.uint64) + _ONE
    return hi, lo
