"""Every TCP socket of a network namespace: a plain pass over all, a second one for details, merged by cookie."""

import errno
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sockwatch.collect.attributes import FIELDS, extensions_for
from sockwatch.collect.columns import Columns
from sockwatch.collect.inet_diag import EVERY_STATE, WRITTEN, Block, blocks, request_all, request_family, write
from sockwatch.collect.merge import drop_doubles, merge
from sockwatch.collect.netlink import NetlinkSocket, Request, Transport, read_dump
from sockwatch.errors import DumpError
from sockwatch.model.snapshot import Asks, Gap
from sockwatch.model.sockets import AUTOBOUND_UNKNOWN, COLUMN_TYPES, NO_DETAIL, SocketTable
from sockwatch.model.state import State

DETAIL_LIMIT = 200_000
"""Sockets whose details are kept; twenty details of each are 32 MB."""
ATTEMPTS = 3
"""Times that a dump is tried which the kernel broke off for want of memory, or because another one ran."""
_TRANSIENT = frozenset({errno.EBUSY, errno.ENOBUFS})
_ABSENT = frozenset({errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT})
_TOO_OLD = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT})
_LISTS_BOUND_SINCE = (6, 8)
_BASE_TYPES = {name: COLUMN_TYPES[name] for name in WRITTEN}

Connect = Callable[[], Transport]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dump:
    """What a dump brought: `lists_bound` says whether this kernel lists bound and unconnected sockets at all."""

    sockets: SocketTable
    gaps: tuple[Gap, ...]
    lists_bound: bool


def dump_sockets(asks: Asks, connect: Connect = NetlinkSocket) -> Dump:
    """Read every TCP socket of the calling thread's network namespace; `netns` is 0 in every row.

    Sockets in `asks.states` also get `asks.details` (names of attributes.FIELDS), and what both passes saw is of the
    second one, so that queues and details are of one moment. No cookie is in the table twice. Raises DumpError, and
    ValueError for a detail that does not exist.
    """
    unknown = asks.details - FIELDS.keys()
    if unknown:
        raise ValueError(f"no such detail: {', '.join(sorted(unknown))}")
    plain = _Plain()
    gaps = _read(connect, EVERY_STATE, 0, plain)
    drop_doubles(plain.rows)
    closer = _Closer(asks.details)
    if asks.states and asks.details:
        extensions = extensions_for(FIELDS[name].attribute for name in asks.details)
        gaps += _read(connect, asks.states, extensions, closer)
    if closer.left_out:
        why = f"more than {DETAIL_LIMIT:,} sockets are in the states that get a closer look"
        gaps.append(Gap(what="socket details", why=why, count=closer.left_out))
    table = closer.merge_into(plain.rows)
    return Dump(sockets=table, gaps=tuple(dict.fromkeys(gaps)), lists_bound=_lists_bound(table))


class _Pass(Protocol):
    """Keeps what a dump brings, and can forget the rest of one that failed."""

    def add(self, block: Block) -> None: ...

    def mark(self) -> tuple[int, ...]: ...

    def go_back(self, mark: tuple[int, ...]) -> None: ...


class _Plain:
    """Every socket, without details."""

    def __init__(self) -> None:
        self.rows = Columns(_BASE_TYPES)

    def add(self, block: Block) -> None:
        write(block, self.rows.extend(len(block)))

    def mark(self) -> tuple[int, ...]:
        return (len(self.rows),)

    def go_back(self, mark: tuple[int, ...]) -> None:
        self.rows.truncate(mark[0])


class _Closer:
    """The sockets that get a closer look, with their details: `values` has a row for each of `rows`.

    Minisockets (TIME_WAIT, FIN_WAIT_2 without an owner) and requests have no details; they are kept in `bare`, so that
    many of them do not displace those that have.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self.rows = Columns(_BASE_TYPES)
        self.bare = Columns(_BASE_TYPES)
        self.values = Columns(dict.fromkeys(sorted(names), np.float64))
        self.left_out = 0
        self._fields = {name: FIELDS[name] for name in sorted(names)}
        self._attributes = frozenset(int(field.attribute) for field in self._fields.values())

    def add(self, block: Block) -> None:
        if self._attributes.isdisjoint(block.attributes):
            block = block.first(DETAIL_LIMIT - len(self.bare))
            write(block, self.bare.extend(len(block)))
            return
        found = len(block)
        block = block.first(DETAIL_LIMIT - len(self.rows))
        self.left_out += found - len(block)
        write(block, self.rows.extend(len(block)))
        for name, column in self.values.extend(len(block)).items():
            values = block.field(self._fields[name])
            column[:] = np.nan if values is None else values

    def mark(self) -> tuple[int, ...]:
        return len(self.rows), len(self.bare), len(self.values), self.left_out

    def go_back(self, mark: tuple[int, ...]) -> None:
        rows, bare, values, self.left_out = mark
        self.rows.truncate(rows)
        self.bare.truncate(bare)
        self.values.truncate(values)

    def merge_into(self, table: Columns) -> SocketTable:
        """The table with what is in here put over it. Uses up both."""
        drop_doubles(self.bare)
        merge(table, self.bare)
        kept = drop_doubles(self.rows)
        if kept is not None:
            self.values.keep(kept)
        place = merge(table, self.rows)
        detail_row = np.full(len(table), NO_DETAIL, np.int32)
        detail_row[place] = np.arange(len(place))
        return SocketTable(
            **table.finish(),
            netns=np.zeros(len(table), np.uint16),
            autobound=np.full(len(table), AUTOBOUND_UNKNOWN, np.uint8),
            detail_row=detail_row,
            details=self.values.finish(),
        )


def _read(connect: Connect, states: frozenset[State], extensions: int, into: _Pass) -> list[Gap]:
    """Both address families at once, or one by one if the kernel does not know the old request any more.

    A kernel that has no IPv6 is no error.
    """
    start = into.mark()
    try:
        return _read_dump(connect, request_all(states, extensions), into)
    except DumpError as error:
        if error.errno not in _TOO_OLD:
            raise
    into.go_back(start)
    gaps = _read_dump(connect, request_family(socket.AF_INET, states, extensions), into)
    try:
        gaps += _read_dump(connect, request_family(socket.AF_INET6, states, extensions), into)
    except DumpError as error:
        if error.errno not in _ABSENT:
            raise
        gaps.append(Gap(what="IPv6 sockets", why=str(error)))
    return gaps


def _read_dump(connect: Connect, request: Request, into: _Pass) -> list[Gap]:
    """One dump, repeated where that helps: each on a socket of its own, so that none sees another one's leftovers."""
    start = into.mark()
    failures, repeated = 0, False
    while True:
        into.go_back(start)
        try:
            interrupted = _read_once(connect, request, into)
        except DumpError as error:
            failures += 1
            if error.errno not in _TRANSIENT or failures == ATTEMPTS:
                raise
            continue
        if not interrupted:
            return []
        if repeated:
            return [Gap(what="sockets", why="they changed while the kernel listed them; some may be missing")]
        repeated = True


def _read_once(connect: Connect, request: Request, into: _Pass) -> bool:
    transport = connect()
    interrupted = False
    try:
        for window in read_dump(transport, request):
            interrupted |= window.interrupted
            for block in blocks(window):
                into.add(block)
    finally:
        transport.close()
    return interrupted


def _lists_bound(table: SocketTable) -> bool:
    """Whether this kernel lists bound sockets (v6.8, 91051f003948): such a row proves it.

    Without one only the release is left: binding a socket to see whether it shows would take a port of the host. A
    kernel that has this and says it is older is then thought not to have it, which hides a count but invents none.
    """
    if table.is_in_state(State.BOUND, State.CLOSE).any():
        return True
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return release is not None and (int(release[1]), int(release[2])) >= _LISTS_BOUND_SINCE
