"""Source ports: what connect() can still choose from, for each source address, destination address and port."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose.age import TIME_WAIT_SECONDS, ages
from sockwatch.diagnose.bound_ports import (
    PORTS,
    bound_ports,
    crowded,
    destinations,
    holds_without_peer,
    is_connected,
)
from sockwatch.diagnose.detector import Settings
from sockwatch.diagnose.role import listened_ports
from sockwatch.diagnose.window import Window
from sockwatch.model.address import is_loopback
from sockwatch.model.constraint import Share
from sockwatch.model.grouping import Groups, group
from sockwatch.model.snapshot import Namespace, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

_RANGE = ("net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports")
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
HALF = 0.5
"""From this used share on budgets are worth a look: the first half of the range is used up, connect() searches long."""
MOST_BUDGETS = 200
"""So many are looked at; a narrow range may give every destination a budget that is half used."""
_LOOPBACK_IFINDEX = 1
_REUSE_ALWAYS, _REUSE_LOOPBACK = 1, 2
_REUSE_DELAY_MS = 1000
"""net.ipv4.tcp_tw_reuse_delay where the kernel has no such sysctl (it came with v6.14; before, 1 s was compiled in)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PortBudget:
    """The source ports of one (source address, destination address, destination port).

    `sockets` are all that use a port of it. `free` is how many further connect() calls find a port, `lost` how many
    ports bind() took that this budget does not use. Where that is not `exact`, ports were taken of which one look does
    not tell by whom, and `free` is the most that there may be. (Where the range has an odd number of ports, connect()
    may overlook one at its ends: it wraps at an even length.) `reusable` are sockets in TIME_WAIT whose port connect()
    may take over now.
    """

    namespace: Namespace
    sockets: SocketTable
    free: int
    lost: int
    reusable: int
    exact: bool
    seconds_left: float | None

    @property
    def used(self) -> int:
        """Ports that cannot be chosen now."""
        return len(self.sockets) - self.reusable

    @property
    def usable(self) -> int:
        """Ports that this budget uses or can choose."""
        return self.used + self.free

    @property
    def ratio(self) -> float:
        """The used share, 0 to 1."""
        return self.used / self.usable if self.usable else 0.0

    def refuses_within(self, seconds: float) -> bool:
        """Whether connect() fails now, or by forecast within so many seconds."""
        return not self.free or (self.seconds_left is not None and self.seconds_left < seconds)

    @cached_property
    def time_wait(self) -> int:
        """How many of the used ports are held by TIME_WAIT alone."""
        return self.sockets.count_by_state()[State.TIME_WAIT] - self.reusable


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings(Settings):
    """When a port budget is short."""

    used: Share = SHORT
    """A warning from this used share of a budget on."""
    forecast_used: Share = 0.5
    """The forecast counts from this used share on; below it a burst would alarm."""
    critical_seconds: float = SOON_SECONDS
    """Critical when the budget is used up within so many seconds at the present churn."""


class Budget(Protocol):
    """A budget of whatever kind."""

    @property
    def ratio(self) -> float:
        """The used share, 0 to 1."""
        ...

    def refuses_within(self, seconds: float) -> bool:
        """Whether nothing is left, or will not be after so many seconds."""
        ...


def is_short(budget: Budget, settings: BudgetSettings) -> bool:
    """Whether port_exhaustion names this budget."""
    forecast = budget.ratio >= settings.forecast_used and budget.refuses_within(settings.critical_seconds)
    return forecast or budget.ratio >= settings.used


@dataclass(frozen=True, kw_only=True, eq=False)
class Fullest:
    """The fullest budgets, and of all that were left out how full their sockets may make them."""

    budgets: tuple[PortBudget, ...]
    left_out: NDArray[np.float64]


def port_budgets(window: Window, at_least: float) -> Iterator[PortBudget]:
    """The budgets of which at least the given share (0 to 1) is used, fullest first, and at most MOST_BUDGETS."""
    yield from (budget for budget in _fullest(window, at_least).budgets if budget.ratio >= at_least)


def count_left_out(window: Window, at_least: float) -> int:
    """How many further budgets may be as full, and are not in port_budgets because there are too many."""
    return int((_fullest(window, at_least).left_out >= at_least).sum())


def _fullest(window: Window, at_least: float) -> Fullest:
    return window.once(_half_used) if at_least >= HALF else fullest_budgets(window, at_least)


def _half_used(window: Window) -> Fullest:
    return fullest_budgets(window, HALF)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Space:
    """The budgets of one namespace that may be full: `groups` of `rows`, each with `shares` of the ports in use."""

    index: int
    rows: NDArray[np.intp]
    groups: Groups
    shares: NDArray[np.float64]


def fullest_budgets(window: Window, at_least: float, most: int = MOST_BUDGETS) -> Fullest:
    """As port_budgets, with another limit. Each budget costs some tenths of a millisecond, so the sockets choose."""
    spaces = tuple(_spaces(window, at_least))
    shares = np.concatenate([space.shares for space in spaces] or [np.empty(0)])
    space_of = np.repeat(np.arange(len(spaces)), [len(space.shares) for space in spaces])
    number_of = np.concatenate([np.arange(len(space.shares)) for space in spaces] or [np.empty(0, np.intp)])
    order = np.argsort(-shares, kind="stable")
    order = order[shares[order] > 0]
    found: list[PortBudget] = []
    for number, space in enumerate(spaces):  # the masks of hundreds of namespaces would be megabytes
        chosen = [at for at in order[:most].tolist() if space_of[at] == number]
        built = _build(window, space, number_of[chosen].tolist())
        found += [budget for budget in built if budget.ratio >= at_least]
    found.sort(key=lambda b: (-b.ratio, -len(b.sockets)))
    return Fullest(budgets=tuple(found), left_out=shares[order[most:]])


def _spaces(window: Window, at_least: float) -> Iterator[_Space]:
    sockets = window.sockets
    in_range = ranges(window.current)
    chosen = is_connected(sockets) & in_range[sockets.netns, sockets.sport]
    clients = np.bincount(sockets.netns[chosen])
    every = np.bincount(sockets.netns)
    for index in np.flatnonzero(clients).tolist():
        choosable = in_range[index]
        if clients[index] < int(at_least * (choosable.sum() - every[index])):  # too few, had bind() taken all others
            continue
        rows = np.flatnonzero(chosen & (sockets.netns == index))
        rows = rows[_client_ports(window.current, index)[sockets.sport[rows]]]
        if not len(rows):
            continue
        left = int((choosable & ~bound_ports(window.current, index, choosable).bound).sum())
        least = max(int(at_least * left), 1)
        rows = rows[crowded(least, *(column[rows] for column in (sockets.src_lo, sockets.dst_lo, sockets.dport)))]
        groups = group(*(column[rows] for column in destinations(sockets)))
        shares = np.where(groups.count >= least, groups.count / max(left, 1), 0.0)
        yield _Space(index=index, rows=rows, groups=groups, shares=shares)


def _build(window: Window, space: _Space, numbers: Sequence[int]) -> Iterator[PortBudget]:
    if not numbers:
        return
    namespace = window.namespaces[space.index]
    choosable = _range_mask(window.current, space.index)
    known = bound_ports(window.current, space.index, choosable)
    left = choosable & ~known.bound
    for number in numbers:
        users = window.sockets.take(space.rows[space.groups.index == number])
        reusable = _reusable(window, namespace, users) & ~known.bound[users.sport]
        others = np.ones(PORTS, np.bool_)
        others[users.sport] = False
        free = int((left & others).sum() + reusable.sum())
        yield PortBudget(
            namespace=namespace,
            sockets=users,
            free=free,
            lost=int((known.bound & choosable & others).sum()),
            reusable=int(reusable.sum()),
            exact=not ((known.unsure & others).any() or known.unsure[users.sport[reusable]].any()),
            seconds_left=_seconds_left(window, space.index, users, len(users) - int(reusable.sum()) + free),
        )


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
    """What to type to reserve ports besides those that are reserved: the sysctl is replaced as a whole.

    It is rebuilt from the numbers: what a capture has in place of a list of ports must not end in anybody's shell.
    """
    wanted = namespace.reserved_ports()
    wanted[ports] = True
    edges = np.flatnonzero(np.diff(wanted.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    parts = (f"{low}" if low == end - 1 else f"{low}-{end - 1}" for low, end in edges.tolist())
    return f"sysctl -w net.ipv4.ip_local_reserved_ports={','.join(parts)}"


def ranges(snapshot: Snapshot) -> NDArray[np.bool_]:
    """port_range_mask of each namespace, of shape (namespaces, 65536); no port where it cannot be read."""
    settings = [tuple(namespace.sysctls.get(name) for name in _RANGE) for namespace in snapshot.namespaces]
    distinct = {setting: _range_mask(snapshot, settings.index(setting)) for setting in dict.fromkeys(settings)}
    if len(distinct) == 1:  # as almost everywhere: of hundreds of namespaces each mask takes 64 KB
        return np.broadcast_to(distinct[settings[0]], (len(settings), 65536))
    return np.array([distinct[setting] for setting in settings]).reshape(-1, 65536)


def _range_mask(snapshot: Snapshot, netns: int) -> NDArray[np.bool_]:
    mask = port_range_mask(snapshot.namespaces[netns])
    return np.zeros(65536, np.bool_) if mask is None else mask


def usable_ports(snapshot: Snapshot, netns: int) -> NDArray[np.bool_]:
    """The ports that connect() may choose from in a namespace, a mask over all ports.

    A port that bind() took, for whatever address, is passed over by connect() for every destination
    (__inet_hash_connect in net/ipv4/inet_hashtables.c: tb->fastreuse >= 0).
    """
    mask = _range_mask(snapshot, netns)
    sockets = snapshot.sockets
    mask[sockets.sport[holds_without_peer(sockets) & (sockets.netns == netns)]] = False
    return mask


def _client_ports(snapshot: Snapshot, netns: int) -> NDArray[np.bool_]:
    """Where clients sit in a namespace, a mask over all ports: in the range, and not where somebody listens."""
    mask: NDArray[np.bool_] = _range_mask(snapshot, netns) & ~listened_ports(snapshot, netns)
    return mask


def _reusable(window: Window, namespace: Namespace, sockets: SocketTable) -> NDArray[np.bool_]:
    """Which sockets are in TIME_WAIT and tcp_tw_reuse gives their ports away now."""
    waited = ages(window, sockets).surely(_reuse_delay(namespace))
    reusable: NDArray[np.bool_] = waited & sockets.is_in_state(State.TIME_WAIT) & _may_reuse(namespace, sockets)
    return reusable


def _seconds_left(window: Window, netns: int, sockets: SocketTable, usable: int) -> float | None:
    """Until the budget is used up, at the churn since the previous look; None without one, or when it never is."""
    number = window.number_before(netns)
    if window.previous is None or number is None or window.elapsed is None:
        return None
    namespace = window.namespaces[netns]
    before = _same_budget(window.previous, number, sockets)
    waiting = sockets.is_in_state(State.TIME_WAIT)
    return seconds_until_full(
        usable=usable,
        used=len(sockets) - int(_reusable(window, namespace, sockets).sum()),
        used_before=len(before) - int(_reusable(Window(current=window.previous), namespace, before).sum()),
        live=int((~waiting).sum()),
        live_before=int((~before.is_in_state(State.TIME_WAIT)).sum()),
        waiting=int((ages(window, sockets).lower[waiting] < window.elapsed).sum()) * _seconds_held(namespace, sockets),
        elapsed=window.elapsed,
    )


def seconds_until_full(
    *, usable: int, used: int, used_before: int, live: int, live_before: int, waiting: float, elapsed: float
) -> float | None:
    """Until `usable` ports are used, as their use grew in the `elapsed` seconds between two looks; None for never.

    TIME_WAIT does not grow for ever: a steady churn of c a second levels off at c times the time for which each holds
    its port. Only what lies above that level, or connections that stay (`live`), can use the ports up. `waiting` is
    what entered TIME_WAIT between the looks, times how long each holds its port.
    """
    level = live + waiting / elapsed
    if level >= usable:
        growth = (used - used_before) / elapsed
        return max(usable - used, 0) / growth if growth > 0 else None
    growth = (live - live_before) / elapsed
    return (usable - level) / growth if growth > 0 else None


def _same_budget(snapshot: Snapshot, netns: int, sockets: SocketTable) -> SocketTable:
    """The sockets of another look that have the addresses and the destination port of these."""
    every = snapshot.sockets
    same = (every.dport == sockets.dport[0]) & (every.netns == netns)
    for column in ("src_hi", "src_lo", "dst_hi", "dst_lo"):
        same &= getattr(every, column) == getattr(sockets, column)[0]
    others = every.take(same)
    return others.take(_client_ports(snapshot, netns)[others.sport] & is_connected(others))


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
    if namespace.number_kept("net.ipv4.tcp_timestamps") == 0:
        return np.zeros(len(sockets), np.bool_)
    reuse = namespace.number("net.ipv4.tcp_tw_reuse")
    if reuse == _REUSE_LOOPBACK:
        loopback = is_loopback(sockets.src_hi, sockets.src_lo) | is_loopback(sockets.dst_hi, sockets.dst_lo)
        return loopback | np.equal(sockets.iface, _LOOPBACK_IFINDEX)
    return np.full(len(sockets), reuse == _REUSE_ALWAYS)
