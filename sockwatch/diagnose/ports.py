"""Source ports: what connect() can still choose from, for each source address, destination address and port."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose.age import TIME_WAIT_SECONDS, ages
from sockwatch.diagnose.role import listened_ports
from sockwatch.diagnose.window import Window
from sockwatch.model.address import is_loopback
from sockwatch.model.grouping import group
from sockwatch.model.snapshot import Namespace, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

SYSCTLS = frozenset(
    {
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_timestamps",
        "net.ipv4.tcp_tw_reuse",
        "net.ipv4.tcp_tw_reuse_delay",
    }
)
"""What a budget depends on; a detector that uses budgets asks for them."""

SHORT = 0.7
"""From this used share on a budget is short: port_exhaustion names it."""
SOON_SECONDS = 300.0
"""Critical is what refuses connections within so many seconds by forecast."""
_REUSE_ALWAYS, _REUSE_LOOPBACK = 1, 2
_REUSE_DELAY_MS = 1000
"""net.ipv4.tcp_tw_reuse_delay where the kernel has no such sysctl (it came with v6.14; before, 1 s was compiled in)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PortBudget:
    """The source ports of one (source address, destination address, destination port).

    `sockets` are all that use a port of it. `usable` is how many ports connect() may choose from at all: the range
    without reserved ports and without those that bind() took for any address (LISTEN and bound sockets). It is an
    upper bound: ports of sockets that were bound and then connected are counted only where this budget uses them.
    `reusable` are sockets in TIME_WAIT whose port connect() may take over now.
    """

    namespace: Namespace
    sockets: SocketTable
    usable: int
    reusable: int
    seconds_left: float | None

    @property
    def used(self) -> int:
        """Ports that cannot be chosen now."""
        return len(self.sockets) - self.reusable

    @property
    def free(self) -> int:
        """Ports left to choose."""
        return max(self.usable - self.used, 0)

    @property
    def ratio(self) -> float:
        """The used share, 0 to 1."""
        return min(self.used / self.usable, 1.0) if self.usable else 1.0

    def refuses_within(self, seconds: float) -> bool:
        """Whether connect() fails now, or by forecast within so many seconds."""
        return not self.free or (self.seconds_left is not None and self.seconds_left < seconds)

    @cached_property
    def time_wait(self) -> int:
        """How many of the used ports are held by TIME_WAIT alone."""
        return self.sockets.count_by_state()[State.TIME_WAIT] - self.reusable


def port_budgets(window: Window, at_least: float) -> Iterator[PortBudget]:
    """Every budget of which at least the given share (0 to 1) is used, fullest first."""
    found: list[PortBudget] = []
    sockets = window.sockets
    chosen = _client_ports(window.current)[sockets.netns, sockets.sport]
    chosen &= _is_connected(sockets)
    usable_by_namespace = usable_ports(window.current).sum(axis=1).tolist()
    for index, (namespace, usable) in enumerate(zip(window.namespaces, usable_by_namespace, strict=True)):
        least = max(int(at_least * usable), 1)
        rows = np.flatnonzero(chosen & (sockets.netns == index) if len(window.namespaces) > 1 else chosen)
        # No budget can be larger than what goes to its port: that leaves few rows to group on a busy host.
        ports = sockets.dport[rows]
        clients = sockets.take(rows[(np.bincount(ports, minlength=65536) >= least)[ports]])
        groups = group(clients.src_hi, clients.src_lo, clients.dst_hi, clients.dst_lo, clients.dport)
        for number in np.flatnonzero(groups.count >= least):
            users = clients.take(groups.index == number)
            budget = PortBudget(
                namespace=namespace,
                sockets=users,
                usable=usable,
                reusable=_reusable(window, namespace, users),
                seconds_left=_seconds_left(window, index, users, usable),
            )
            if budget.ratio >= at_least:
                found.append(budget)
    yield from sorted(found, key=lambda b: (-b.ratio, -len(b.sockets)))


def port_range_mask(namespace: Namespace) -> NDArray[np.bool_] | None:
    """net.ipv4.ip_local_port_range without the reserved ports, over all 65536; None where it cannot be read."""
    ends = namespace.port_range()
    if ends is None:
        return None
    mask = np.zeros(65536, np.bool_)
    mask[ends[0] : ends[1] + 1] = True
    unreserved: NDArray[np.bool_] = mask & ~namespace.reserved_ports()
    return unreserved


def reserve_command(namespace: Namespace, ports: NDArray[np.uint16]) -> str:
    """What to type to reserve ports besides those that are reserved: the sysctl is replaced as a whole."""
    present = namespace.sysctls.get("net.ipv4.ip_local_reserved_ports", "").strip()
    wanted = [*([present] if present else []), *map(str, np.unique(ports).tolist())]
    return f"sysctl -w net.ipv4.ip_local_reserved_ports={','.join(wanted)}"


def ranges(snapshot: Snapshot) -> NDArray[np.bool_]:
    """port_range_mask of each namespace, of shape (namespaces, 65536); no port where it cannot be read."""
    masks = np.zeros((len(snapshot.namespaces), 65536), np.bool_)
    for mask, namespace in zip(masks, snapshot.namespaces, strict=True):
        own = port_range_mask(namespace)
        if own is not None:
            mask[:] = own
    return masks


def usable_ports(snapshot: Snapshot) -> NDArray[np.bool_]:
    """The ports that connect() may choose from, a mask of shape (namespaces, 65536).

    A port that bind() took, for whatever address, is passed over by connect() for every destination
    (__inet_hash_connect in net/ipv4/inet_hashtables.c: tb->fastreuse >= 0).
    """
    masks = ranges(snapshot)
    taken = snapshot.sockets.in_state(State.LISTEN, State.BOUND)
    masks[taken.netns, taken.sport] = False
    return masks


def _client_ports(snapshot: Snapshot) -> NDArray[np.bool_]:
    """Where clients sit, a mask of shape (namespaces, 65536): in the range, and not where somebody listens."""
    return ranges(snapshot) & ~listened_ports(snapshot)


def _is_connected(sockets: SocketTable) -> NDArray[np.bool_]:
    """Which sockets have another end, or had one."""
    connected: NDArray[np.bool_] = (sockets.dport != 0) & ~sockets.is_in_state(State.LISTEN, State.BOUND)
    return connected


def _reusable(window: Window, namespace: Namespace, sockets: SocketTable) -> int:
    """How many sockets are in TIME_WAIT that tcp_tw_reuse gives away now."""
    waited = ages(window, sockets).surely(_reuse_delay(namespace))
    return int((waited & sockets.is_in_state(State.TIME_WAIT) & _may_reuse(namespace, sockets)).sum())


def _seconds_left(window: Window, netns: int, sockets: SocketTable, usable: int) -> float | None:
    """Until the budget is used up, at the churn since the previous look; None without one, or when it never is.

    TIME_WAIT does not grow for ever: a steady churn of c a second levels off at c times the time for which each holds
    its port. Only what lies above that level, or connections that stay, can use the budget up.
    """
    number = window.number_before(netns)
    if window.previous is None or number is None or window.elapsed is None:
        return None
    namespace = window.namespaces[netns]
    before = _same_budget(window.previous, number, sockets)
    waiting = sockets.is_in_state(State.TIME_WAIT)
    live = int((~waiting).sum())
    churn = int((ages(window, sockets).lower[waiting] < window.elapsed).sum()) / window.elapsed
    level = live + churn * _seconds_held(namespace, sockets)
    if level >= usable:
        used = len(sockets) - _reusable(window, namespace, sockets)
        used_before = len(before) - _reusable(Window(current=window.previous), namespace, before)
        growth = (used - used_before) / window.elapsed
        return max(usable - used, 0) / growth if growth > 0 else None
    growth = (live - int((~before.is_in_state(State.TIME_WAIT)).sum())) / window.elapsed
    return (usable - level) / growth if growth > 0 else None


def _same_budget(snapshot: Snapshot, netns: int, sockets: SocketTable) -> SocketTable:
    """The sockets of another look that have the addresses and the destination port of these."""
    every = snapshot.sockets
    same = (every.dport == sockets.dport[0]) & (every.netns == netns)
    for column in ("src_hi", "src_lo", "dst_hi", "dst_lo"):
        same &= getattr(every, column) == getattr(sockets, column)[0]
    others = every.take(same)
    return others.take(_client_ports(snapshot)[netns][others.sport] & _is_connected(others))


def _seconds_held(namespace: Namespace, sockets: SocketTable) -> float:
    """How long a socket in TIME_WAIT keeps its port from connect()."""
    return _reuse_delay(namespace) if _may_reuse(namespace, sockets)[0] else TIME_WAIT_SECONDS


def _reuse_delay(namespace: Namespace) -> float:
    delay = namespace.number("net.ipv4.tcp_tw_reuse_delay")
    return (_REUSE_DELAY_MS if delay is None else delay) / 1e3


def _may_reuse(namespace: Namespace, sockets: SocketTable) -> NDArray[np.bool_]:
    """Where tcp_tw_reuse lets connect() take over TIME_WAIT: 1 always, 2 on loopback, else never (tcp_twsk_unique).

    Never without timestamps: the kernel asks whether the old socket has seen one.
    """
    if namespace.number("net.ipv4.tcp_timestamps") == 0:
        return np.zeros(len(sockets), np.bool_)
    reuse = namespace.number("net.ipv4.tcp_tw_reuse")
    if reuse == _REUSE_LOOPBACK:
        return is_loopback(sockets.src_hi, sockets.src_lo) | is_loopback(sockets.dst_hi, sockets.dst_lo)
    return np.full(len(sockets), reuse == _REUSE_ALWAYS)
