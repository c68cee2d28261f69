"""What is worth watching before it is a finding: how full port budgets are, and which peers leave sockets lingering."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose import age, silence
from sockwatch.diagnose.bind_budget import bind_budgets
from sockwatch.diagnose.detector import Settings
from sockwatch.diagnose.ports import fullest_budgets, ranges
from sockwatch.diagnose.role import Role, is_listened, lasting_roles
from sockwatch.diagnose.verdict import ANY
from sockwatch.diagnose.window import Window
from sockwatch.model.address import address_text, endpoint_text, is_loopback
from sockwatch.model.grouping import group
from sockwatch.model.report import BudgetUse, PeerCount
from sockwatch.model.snapshot import Gap
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

LEAST_USED = 0.1
"""A budget is watched from this used share on: far below what port_exhaustion calls short, so that a trend shows."""
MOST_BUDGETS = 100
MOST_PEERS = 1000
"""More pairs of ends are counted together."""
CLOSING = (State.CLOSE_WAIT, State.FIN_WAIT_1, State.FIN_WAIT_2, State.LAST_ACK, State.CLOSING)
"""The states that last until one end acts; TIME_WAIT ends by itself."""
_ORPHAN_RETRIES_OF_ZERO = 8
"""tcp_orphan_retries in net/ipv4/tcp_timer.c."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """As in Report; a gap says what could not be told."""

    budgets: tuple[BudgetUse, ...] = ()
    peers: tuple[PeerCount, ...] = ()
    gaps: tuple[Gap, ...] = ()


def watch(window: Window, settings: Settings | None = None) -> Watched:
    """What this window tells; min_age of `settings` says how old is old."""
    gaps: list[Gap] = []

    def attempt(what: str, infer: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
        try:
            return infer()
        except Exception as error:  # noqa: BLE001 - as with detectors: one that is broken must not blind the others
            gaps.append(Gap(what=what, why=f"{type(error).__name__}: {error}", fatal=True))
            return ()

    if window.unread:
        budgets: tuple[BudgetUse, ...] = ()
        gaps.append(Gap(what="port budgets", why="not all sockets that use a port were read, to keep looking cheap"))
    else:
        budgets = attempt("port budgets", lambda: budget_uses(window))
    peers = attempt("peers", lambda: peer_counts(window, settings or Settings()))
    return Watched(budgets=budgets, peers=peers, gaps=tuple(gaps))


def budget_uses(window: Window) -> tuple[BudgetUse, ...]:
    """Those of connect() from LEAST_USED on, at most MOST_BUDGETS in all, and those of bind(); fullest first."""
    uses = [
        BudgetUse(
            netns=budget.namespace.name,
            source=_address(budget.sockets.src_hi, budget.sockets.src_lo, 0),
            destination=endpoint_text(
                _address(budget.sockets.dst_hi, budget.sockets.dst_lo, 0), str(budget.sockets.dport[0])
            ),
            used=budget.used,
            usable=budget.usable,
            seconds_left=budget.seconds_left,
        )
        for budget in fullest_budgets(window, LEAST_USED, MOST_BUDGETS).budgets
    ]
    uses += [
        BudgetUse(
            netns=budget.namespace.name,
            source=_address(budget.sockets.src_hi, budget.sockets.src_lo, 0),
            destination=ANY,
            used=budget.used,
            usable=budget.usable,
            seconds_left=budget.seconds_left,
        )
        for budget in bind_budgets(window)
    ]
    return tuple(sorted(uses, key=lambda use: (-use.ratio, use.netns, use.source, use.destination)))


def peer_counts(window: Window, settings: Settings) -> tuple[PeerCount, ...]:
    """Sockets in a state of CLOSING that are old in it, counted by their two ends; most sockets first."""
    sockets = _aged(window, settings)
    if not len(sockets):
        return ()
    serving = _serving(window, sockets)
    port = np.where(serving, sockets.sport, sockets.dport)
    ends = (sockets.src_hi, sockets.src_lo, sockets.dst_hi, sockets.dst_lo, port, serving)
    groups = group(sockets.netns, sockets.state, *ends)
    counts: dict[PeerCount, int] = {}

    def add(row: int, local: str, peer: str, count: int) -> None:
        about = PeerCount(
            netns=window.namespaces[int(sockets.netns[row])].name,
            local=local,
            peer=peer,
            state=State(int(sockets.state[row])),
            count=0,
        )
        counts[about] = counts.get(about, 0) + count

    largest = np.argsort(-groups.count, kind="stable")
    for number in largest[:MOST_PEERS].tolist():
        row = int(groups.first[number])
        here, there = (str(port[row]), ANY) if serving[row] else (ANY, str(port[row]))
        local = endpoint_text(_address(sockets.src_hi, sockets.src_lo, row), here)
        peer = endpoint_text(_address(sockets.dst_hi, sockets.dst_lo, row), there)
        add(row, local, peer, int(groups.count[number]))
    left = np.flatnonzero(np.isin(groups.index, largest[MOST_PEERS:]))
    rest = group(sockets.netns[left], sockets.state[left])
    for number in range(len(rest)):
        add(int(left[rest.first[number]]), ANY, ANY, int(rest.count[number]))
    found = (replace(about, count=count) for about, count in counts.items())
    return tuple(sorted(found, key=lambda p: (-p.count, p.netns, p.local, p.peer, p.state)))


def _aged(window: Window, settings: Settings) -> SocketTable:
    """Where the kernel itself ends a state, half of its life is old, as for the findings about it."""
    sockets = window.sockets.in_state(*CLOSING)
    if not len(sockets):
        return sockets
    lower = age.ages(window, sockets).lower
    sent = sockets.is_in_state(State.FIN_WAIT_1, State.LAST_ACK, State.CLOSING)
    lower = np.where(sent, np.fmax(silence.silences(sockets).lower, age.remembered(window, sockets)), lower)
    orphaned = sockets.inode == 0
    lives = silence.lives(window, "net.ipv4.tcp_orphan_retries", zero_means=_ORPHAN_RETRIES_OF_ZERO)[sockets.netns]
    half_closed = sockets.is_in_state(State.FIN_WAIT_2)
    lives = np.where(half_closed, age.orphan_life(age.fin_timeouts(window.current, sockets)), lives)
    lives[~orphaned | sockets.is_in_state(State.CLOSE_WAIT)] = np.inf
    return sockets.take(lower >= silence.min_ages(settings, lives))


def _serving(window: Window, sockets: SocketTable) -> NDArray[np.bool_]:
    """Which sockets are the serving end: by their role, else by a listener, else by who has a client's port.

    That is a port of the range that connect() chooses from, or the higher one.
    """
    role = lasting_roles(window, sockets)

    def listened(port: NDArray[np.uint16]) -> NDArray[np.bool_]:
        return is_listened(window.current, sockets.netns, port)

    clients = ranges(window.current)
    here, there = clients[sockets.netns, sockets.sport], clients[sockets.netns, sockets.dport]
    from_client = np.where(here == there, sockets.sport < sockets.dport, there)
    to_itself = is_loopback(sockets.dst_hi, sockets.dst_lo) | (
        (sockets.src_hi == sockets.dst_hi) & (sockets.src_lo == sockets.dst_lo)
    )
    from_client &= ~(to_itself & listened(sockets.dport))
    on_listener = listened(sockets.sport)
    unknown = role == Role.UNKNOWN
    serving: NDArray[np.bool_] = (role == Role.ACCEPTED) | (unknown & (on_listener | from_client))
    return serving


def _address(hi: NDArray[np.uint64], lo: NDArray[np.uint64], row: int) -> str:
    return address_text(int(hi[row]), int(lo[row]))
