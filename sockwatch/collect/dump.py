"""Every TCP socket of a network namespace: a plain pass over all, a second one for details, merged by cookie."""

import errno
import secrets
from dataclasses import dataclass, replace

import numpy as np

from sockwatch.collect.attributes import FIELDS, extensions_for
from sockwatch.collect.bytecode import Ports, in_ports
from sockwatch.collect.columns import Columns
from sockwatch.collect.inet_diag import EVERY_STATE, FAMILIES, request_all, request_family
from sockwatch.collect.merge import drop_doubles
from sockwatch.collect.netlink import NetlinkSocket
from sockwatch.collect.passes import (
    DETAIL_LIMIT,
    Closer,
    Connect,
    Pass,
    Plain,
    kernel_is_at_least,
    read_families,
    read_pass,
)
from sockwatch.collect.portion import choose_ports
from sockwatch.errors import DumpError
from sockwatch.model.snapshot import Asks, Gap
from sockwatch.model.sockets import NO_DETAIL, SHUTDOWN_UNKNOWN, SocketTable
from sockwatch.model.state import State

ESTABLISHED_LIMIT = 30_000
"""Established sockets that get a closer look; where there are more, others each time."""
_ESTABLISHED = frozenset({State.ESTABLISHED})
_LISTEN = frozenset({State.LISTEN})
_TOO_OLD = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT})
_LISTS_BOUND_SINCE = (6, 8)
_SPARE_ROWS = 1 << 10
"""For sockets that are bound and in no count, and for those that come meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dump:
    """What a dump brought: `lists_bound` says whether this kernel lists bound and unconnected sockets at all."""

    sockets: SocketTable
    gaps: tuple[Gap, ...]
    lists_bound: bool


def dump_sockets(
    asks: Asks, connect: Connect = NetlinkSocket, *, states: frozenset[State] = EVERY_STATE, few: int | None = None
) -> Dump:
    """Read every TCP socket of the calling thread's network namespace that is in `states`; `netns` is 0 in every row.

    Those in `asks.unread` are left out by the kernel, which then need not write them.

    Sockets in `asks.states` also get `asks.details` (names of attributes.FIELDS), and what both passes saw is of the
    second one, so that queues and details are of one moment. Where the kernel counts few sockets, so many as `few`
    says, one pass brings both, at two thirds of the cost. No cookie is in the table twice. Raises DumpError, and
    ValueError for a detail that does not exist.
    """
    unknown = asks.details - FIELDS.keys()
    if unknown:
        raise ValueError(f"no such detail: {', '.join(sorted(unknown))}")
    states -= asks.unread
    if not states:
        return Dump(sockets=SocketTable.empty(), gaps=(), lists_bound=lists_bound(SocketTable.empty()))
    closely = asks.states & states if asks.details else frozenset()
    if few is not None and closely:
        dump = _read_at_once(connect, replace(asks, states=closely), states, few)
        if dump is not None:
            return dump
    plain = Plain()
    gaps: list[Gap] = []
    if states != closely:  # else one pass brings all
        gaps += read_tcp(connect, states, plain)
        drop_doubles(plain.rows)
    closer = Closer({name: FIELDS[name] for name in asks.details}, DETAIL_LIMIT)
    if closely:
        gaps += _look_closer(connect, replace(asks, states=closely), plain.rows, closer)
    table = closer.merge_into(plain.rows)
    gaps += _left_out(table, asks)
    return Dump(sockets=table, gaps=tuple(dict.fromkeys(gaps)), lists_bound=lists_bound(table))


def _read_at_once(connect: Connect, asks: Asks, states: frozenset[State], few: int) -> Dump | None:
    """Every socket in `states` by a pass with details for all of them; None if they are not few at all."""
    fields = {name: FIELDS[name] for name in asks.details}
    closer = Closer(fields, most_established(asks), room=few + _SPARE_ROWS)
    gaps = read_tcp(connect, states, closer, extensions=extensions_for(FIELDS[name].attribute for name in asks.details))
    if closer.full or closer.overfull:
        return None
    table = closer.table()
    table.detail_row[~table.is_in_state(*asks.states)] = NO_DETAIL
    return Dump(sockets=table, gaps=tuple(dict.fromkeys(gaps)), lists_bound=lists_bound(table))


class Listeners:
    """Reads the listeners of one namespace after the other, in the same memory: a walk that costs next to nothing."""

    def __init__(self, asks: Asks, connect: Connect = NetlinkSocket) -> None:
        self._connect = connect
        names = asks.details if State.LISTEN in asks.states else ()
        self._closer = Closer({name: FIELDS[name] for name in names}, DETAIL_LIMIT)
        self._extensions = extensions_for(FIELDS[name].attribute for name in names)

    def read(self) -> tuple[SocketTable, list[Gap]]:
        """As dump_sockets() for LISTEN alone. Raises DumpError."""
        closer = self._closer
        closer.go_back((0, 0))
        gaps = read_tcp(self._connect, _LISTEN, closer, extensions=self._extensions)
        return closer.copy(), gaps


def read_tcp(
    connect: Connect, states: frozenset[State], into: Pass, *, extensions: int = 0, program: bytes = b""
) -> list[Gap]:
    """Both address families at once, or one by one if the kernel does not know the old request any more.

    `extensions` is idiag_ext, `program` a filter (bytecode.py). Raises DumpError.
    """
    start = into.mark()
    try:
        return read_pass(connect, request_all(states, extensions, program), into)
    except DumpError as error:
        if error.errno not in _TOO_OLD:
            raise
    into.go_back(start)
    requests = [request_family(family, states, extensions, program=program) for family in FAMILIES]
    return read_families(connect, requests, into)


def _look_closer(connect: Connect, asks: Asks, plain: Columns, closer: Closer) -> list[Gap]:
    """The second pass; very many established sockets get a third one, of a part of them."""
    extensions = extensions_for(FIELDS[name].attribute for name in asks.details)
    most = most_established(asks)
    ports = _choose_ports(plain, most) if asks.states >= _ESTABLISHED else ()
    gaps: list[Gap] = []
    # Each pass over connections walks all of them: one less where the plain pass saw none in these states.
    others = (asks.states - _ESTABLISHED) & _states_in(plain) if ports else asks.states
    if others:
        gaps += read_tcp(connect, others, closer, extensions=extensions)
    if ports:
        closer.limit = len(closer.rows) + most
        gaps += read_tcp(connect, _ESTABLISHED, closer, extensions=extensions, program=in_ports(ports))
    return gaps


def _states_in(table: Columns) -> frozenset[State]:
    counts = np.bincount(table["state"], minlength=max(State) + 1)
    return frozenset(state for state in State if counts[state])


def most_established(asks: Asks) -> int:
    """How many established sockets get a closer look."""
    return ESTABLISHED_LIMIT if asks.most_established is None else asks.most_established


def _choose_ports(table: Columns, most: int) -> Ports:
    """The ports whose established sockets get a closer look; none where all of them do."""
    established = np.flatnonzero(table["state"] == State.ESTABLISHED)
    if len(established) <= most:
        return ()
    sport, dport = table["sport"][established], table["dport"][established]
    return choose_ports(sport, dport, most, secrets.randbelow(1 << 16))


def _left_out(table: SocketTable, asks: Asks) -> list[Gap]:
    """A gap for the sockets that were to have details and have none, because there are too many."""
    most = most_established(asks)
    established = np.count_nonzero(table.state == State.ESTABLISHED) if asks.states >= _ESTABLISHED else 0
    if table.detail_count < DETAIL_LIMIT and established <= most:
        return []
    able = table.is_in_state(*asks.states) & (table.shutdown != SHUTDOWN_UNKNOWN)
    count = int(np.count_nonzero(able & (table.detail_row == NO_DETAIL)))
    why = f"only {most:,} established sockets (others each time) and {DETAIL_LIMIT:,} others are looked into"
    return [Gap(what="socket details", why=why, count=count)] if count else []


def lists_bound(table: SocketTable) -> bool:
    """Whether this kernel lists bound sockets (v6.8, 91051f003948): such a row proves it.

    Without one only the release is left: binding a socket to see whether it shows would take a port of the host. A
    kernel that has this and says it is older is then thought not to have it, which hides a count but invents none.
    """
    return bool(table.is_in_state(State.BOUND, State.CLOSE).any()) or kernel_is_at_least(*_LISTS_BOUND_SINCE)
