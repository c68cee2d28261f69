"""The ports of one source address, as bind() to port 0 chooses from them: one budget for all destinations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose.age import TIME_WAIT_SECONDS, ages
from sockwatch.diagnose.bound_ports import (
    NAMED,
    PORTS,
    Ports,
    crowded,
    destinations,
    holds_without_peer,
    is_connected,
    is_first,
)
from sockwatch.diagnose.ports import HALF, port_range_mask, ranges, seconds_until_full
from sockwatch.diagnose.role import Role, is_listened, roles
from sockwatch.diagnose.window import Window
from sockwatch.model.address import is_any
from sockwatch.model.grouping import group
from sockwatch.model.snapshot import Namespace, Snapshot
from sockwatch.model.sockets import AUTOBOUND_UNKNOWN, SocketTable
from sockwatch.model.state import State

USERS = 0.25
"""A budget counts from the share of its used ports on that those hold who bind first; connect() shares ports."""
BIND_ADDRESS_NO_PORT = 1 << 8
"""In `sockopt` (struct inet_diag_sockopt): bind() took no port, connect() chose it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BindBudget:
    """The ports of one source address. `sockets` are those that were bound to port 0 and then connected.

    `used` are ports that any socket of the address has, in whatever state; bind() to port 0 passes over all of these.
    Without `autobound` (`asked` is False) the programs may have named all these ports themselves. It is `seen` where a
    second look saw bind() to port 0 take a port: one look cannot tell what it left from what connect() left after a
    peak, when it had to go on in the other half and the first one has drained since.
    """

    namespace: Namespace
    asked: bool
    seen: bool
    sockets: SocketTable
    used: int
    usable: int
    seconds_left: float | None

    @property
    def free(self) -> int:
        """Ports that bind() can still be given."""
        return self.usable - self.used

    @property
    def ratio(self) -> float:
        """The used share, 0 to 1."""
        return self.used / self.usable

    def refuses_within(self, seconds: float) -> bool:
        """Whether bind() fails now, or by forecast within so many seconds."""
        return not self.free or (self.seconds_left is not None and self.seconds_left < seconds)


def bind_budgets(window: Window) -> tuple[BindBudget, ...]:
    """Every budget that is at least half used, and in good part by those who bind first; fullest first."""
    return window.once(_bind_budgets)


def _bind_budgets(window: Window) -> tuple[BindBudget, ...]:
    found = []
    every = window.sockets
    connected = np.bincount(every.netns[is_connected(every)])
    counts = np.bincount(every.netns)
    in_range = ranges(window.current)
    for index in np.flatnonzero(connected).tolist():
        if counts[index] < HALF * (in_range[index].sum() - counts[index]):  # too few, had bind() taken all others
            continue
        namespace = window.namespaces[index]
        ends = namespace.port_range()
        choosable = _choosable(window.current, index)
        usable = int(choosable.sum())
        if ends is None or not usable:
            continue
        rows = np.flatnonzero((every.netns == index) & choosable[every.sport])
        rows = rows[crowded(int(HALF * usable), every.src_lo[rows])]
        sources = group(every.src_hi[rows], every.src_lo[rows])
        for number in np.flatnonzero(sources.count >= HALF * usable):
            mine = rows[sources.index == number]
            used = _mask(every.sport[mine])
            if used.sum() < HALF * usable:
                continue
            sockets = every.take(mine)
            users = sockets.take(_bound_first(window.current, sockets, choosable, ends))
            if _mask(users.sport).sum() < USERS * used.sum():
                continue
            found.append(
                BindBudget(
                    namespace=namespace,
                    asked=bool((sockets.autobound != AUTOBOUND_UNKNOWN).any()),
                    seen=_seen_to_bind(window, index, users, choosable, ends),
                    sockets=users,
                    used=int(used.sum()),
                    usable=usable,
                    seconds_left=_seconds_left(window, index, sockets, usable),
                )
            )
    return tuple(sorted(found, key=lambda b: (-b.ratio, -len(b.sockets))))


def _choosable(snapshot: Snapshot, netns: int) -> Ports:
    """The range without reserved ports and without those that are bound for every address."""
    every = snapshot.sockets
    holding = every.take(holds_without_peer(every) & (every.netns == netns))
    own = port_range_mask(snapshot.namespaces[netns])
    if own is None:
        return np.zeros(PORTS, np.bool_)
    choosable: Ports = own & ~_mask(holding.sport[is_any(holding.src_hi, holding.src_lo)])
    return choosable


def _bound_first(
    snapshot: Snapshot, sockets: SocketTable, choosable: Ports, ends: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which of the sockets of one source address were bound to port 0 before they were connected.

    bind() takes ports of the other parity than connect() as long as there are any, with SO_REUSEADDR first those of
    the lower half of the range; a port that several connections share was never bound. Destinations that use much of
    what connect() tries first are left out: there connect() may have had to turn to the other parity.
    """
    client: NDArray[np.bool_] = is_connected(sockets) & (sockets.autobound != NAMED) & (roles(sockets) != Role.ACCEPTED)
    client &= (sockets.sockopt & BIND_ADDRESS_NO_PORT) == 0
    client &= ~is_listened(snapshot, sockets.netns, sockets.sport)
    first_half = choosable & is_first(np.arange(PORTS), ends[0])
    first = first_half[sockets.sport]
    towards = group(*destinations(sockets))
    of_first = np.bincount(towards.index[client & first], minlength=len(towards))
    client &= (of_first < HALF * first_half.sum())[towards.index]
    chosen: NDArray[np.bool_] = client & ~first
    if not chosen.any():
        return chosen
    alone = np.bincount(sockets.sport, minlength=PORTS)[sockets.sport] == 1
    used = _mask(sockets.sport)
    middle = ends[0] + ((ends[1] + 1 - ends[0]) >> 2 << 1)  # inet_csk_find_open_port: attempt_half
    for part in (slice(ends[0], middle), slice(middle, ends[1] + 1)):
        if not (choosable & ~first_half & ~used)[part].any():
            chosen |= client & first & alone & (sockets.sport >= part.start) & (sockets.sport < part.stop)
    return chosen


def _seen_to_bind(window: Window, netns: int, users: SocketTable, choosable: Ports, ends: tuple[int, int]) -> bool:
    """Whether one of these took a port of the other parity since the previous look that connect() had no need of.

    In both looks most of what connect() tries first was free towards its destination.
    """
    number = window.number_before(netns)
    if window.previous is None or number is None:
        return False
    every, now = window.previous.sockets, window.sockets
    before = every.take((every.netns == number) & (every.src_hi == users.src_hi[0]) & (every.src_lo == users.src_lo[0]))
    # TIME_WAIT keeps its socket's cookie (inet_twsk_alloc): one that is new came and went since, and may be a peak's.
    live = users.is_in_state(State.SYN_SENT, State.ESTABLISHED, State.CLOSE_WAIT)
    new = ~_mask(before.sport)[users.sport] | (live & ~np.isin(users.cookie, before.cookie))
    new &= ~is_first(users.sport, ends[0])
    first = choosable & is_first(np.arange(PORTS), ends[0])
    named = first & _mask(now.sport[(now.netns == netns) & (holds_without_peer(now) | (now.autobound == NAMED))])
    both = SocketTable.concatenate([users.take(new), before.take(is_connected(before) & first[before.sport])])
    towards = group(*destinations(both)).index
    peak = np.bincount(towards[new.sum() :], minlength=len(both))
    return bool((peak[towards[: new.sum()]] + named.sum() < HALF * first.sum()).any())


def _seconds_left(window: Window, netns: int, sockets: SocketTable, usable: int) -> float | None:
    number = window.number_before(netns)
    if window.previous is None or number is None or window.elapsed is None:
        return None
    every = window.previous.sockets
    same = _choosable(window.previous, number)[every.sport] & (every.netns == number)
    before = every.take(same & (every.src_hi == sockets.src_hi[0]) & (every.src_lo == sockets.src_lo[0]))
    waiting = sockets.in_state(State.TIME_WAIT)
    return seconds_until_full(
        usable=usable,
        used=_count(sockets),
        used_before=_count(before),
        live=_count(sockets.take(~sockets.is_in_state(State.TIME_WAIT))),
        live_before=_count(before.take(~before.is_in_state(State.TIME_WAIT))),
        waiting=_count(waiting.take(ages(window, waiting).lower < window.elapsed)) * TIME_WAIT_SECONDS,
        elapsed=window.elapsed,
    )


def _count(sockets: SocketTable) -> int:
    return int(_mask(sockets.sport).sum())


def _mask(ports: NDArray[np.uint16]) -> Ports:
    mask = np.zeros(PORTS, np.bool_)
    mask[ports] = True
    return mask
