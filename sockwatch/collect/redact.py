"""A capture that can be shown to others: the same sockets, states, ports and pids between renamed hosts and processes.

Loopback and unspecified addresses stay, since verdicts depend on them. Every other address becomes one in 10.0.0.0/8 or
fd00::/8, the same wherever it occurs, so that both ends of a connection still match; whether it was private or public
is lost.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sockwatch.model.address import V4_MAPPED, is_any, is_loopback, is_v4
from sockwatch.model.snapshot import Namespace, Owners, Snapshot
from sockwatch.model.sockets import SocketTable

_TEN = np.uint64(10 << 24)
_TEN_SIZE = 1 << 24
_FD00 = np.uint64(0xFD << 56)
_ADDRESS = np.dtype([("hi", np.uint64), ("lo", np.uint64)])

Addresses = NDArray[np.void]
Rename = Callable[[str], str]


def redact(looks: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """The same looks under other names: host, namespaces, processes, units, containers, and addresses.

    A name gets the same replacement in every look. Which one is drawn anew for each call.
    """
    old = _addresses_in(looks)
    new = _replace_addresses(old)
    process, unit, container, netns = (_numbered(kind) for kind in ("process", "unit", "container", "netns"))
    host = _numbered("host")

    def rename_unit(name: str) -> str:
        return f"{unit(name)}.{name.rpartition('.')[2]}"

    return tuple(
        replace(
            look,
            host=host(look.host),
            namespaces=tuple(_rename_namespace(namespace, netns) for namespace in look.namespaces),
            sockets=_readdress(look.sockets, old, new),
            owners=_rename_owners(look.owners, process, rename_unit, container),
        )
        for look in looks
    )


def _numbered(kind: str) -> Rename:
    """Names in the order in which they come: `process-1`, `process-2`."""
    numbers: dict[str, int] = {}
    return lambda name: f"{kind}-{numbers.setdefault(name, len(numbers) + 1)}"


def _rename_namespace(namespace: Namespace, rename: Rename) -> Namespace:
    """Only a name that a person gave is replaced."""
    own = namespace.initial or namespace.name.startswith("net:[")
    return namespace if own else replace(namespace, name=rename(namespace.name))


def _rename_owners(owners: Owners, process: Rename, unit: Rename, container: Rename) -> Owners:
    return replace(
        owners,
        processes=tuple(
            replace(
                p,
                name=process(p.name),
                unit=None if p.unit is None else unit(p.unit),
                container=None if p.container is None else container(p.container),
            )
            for p in owners.processes
        ),
    )


def _pairs(hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> Addresses:
    pairs = np.empty(len(hi), _ADDRESS)
    pairs["hi"], pairs["lo"] = hi, lo
    return pairs


def _addresses_in(looks: Iterable[Snapshot]) -> Addresses:
    """Every address of every look once, sorted."""
    every = [np.empty(0, _ADDRESS)]
    for look in looks:
        sockets = look.sockets
        every += [_pairs(sockets.src_hi, sockets.src_lo), _pairs(sockets.dst_hi, sockets.dst_lo)]
    return np.unique(np.concatenate(every))


def _replace_addresses(old: Addresses) -> Addresses:
    """For each of them its replacement, in an order that says nothing about the old one."""
    new = old.copy()
    kept = is_any(old["hi"], old["lo"]) | is_loopback(old["hi"], old["lo"])
    v4 = is_v4(old["hi"], old["lo"]) & ~kept
    v6 = ~v4 & ~kept
    random = np.random.default_rng()
    numbers = random.choice(_TEN_SIZE - 2, size=int(v4.sum()), replace=False).astype(np.uint64) + np.uint64(1)
    new["lo"][v4] = V4_MAPPED | _TEN | numbers
    new["hi"][v6] = _FD00
    new["lo"][v6] = random.permutation(int(v6.sum())).astype(np.uint64) + np.uint64(1)
    return new


def _readdress(sockets: SocketTable, old: Addresses, new: Addresses) -> SocketTable:
    source = new[np.searchsorted(old, _pairs(sockets.src_hi, sockets.src_lo))]
    destination = new[np.searchsorted(old, _pairs(sockets.dst_hi, sockets.dst_lo))]
    return replace(
        sockets, src_hi=source["hi"], src_lo=source["lo"], dst_hi=destination["hi"], dst_lo=destination["lo"]
    )
