"""One pass over the sockets of a kind: what a dump brings, kept in columns, and repeated where that helps."""

import errno
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sockwatch.collect.attributes import Field
from sockwatch.collect.columns import Columns, FewColumns
from sockwatch.collect.inet_diag import WRITTEN, Block, blocks, write
from sockwatch.collect.merge import drop_doubles, merge
from sockwatch.collect.netlink import Request, Transport, read_dump
from sockwatch.errors import DumpError
from sockwatch.model.identity import NOT_THERE, find_cookies
from sockwatch.model.snapshot import Gap
from sockwatch.model.sockets import AUTOBOUND_UNKNOWN, COLUMN_TYPES, NO_DETAIL, SocketTable

DETAIL_LIMIT = 200_000
"""Sockets whose details are kept; twenty details of each are 32 MB."""
ATTEMPTS = 3
"""Times that a dump is tried which the kernel broke off for want of memory, or because another one ran."""
_TRANSIENT = frozenset({errno.EBUSY, errno.ENOBUFS})
ABSENT = frozenset({errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT})
"""What the kernel says of a protocol or a family that it does not have."""
_BASE_TYPES = {name: COLUMN_TYPES[name] for name in WRITTEN}

Connect = Callable[[], Transport]


class Pass(Protocol):
    """Keeps what a dump brings, and can forget the rest of one that failed."""

    @property
    def full(self) -> bool:
        """Whether the rest of the dump need not be read."""
        ...

    def add(self, block: Block) -> None:
        """Keep these messages."""
        ...

    def mark(self) -> tuple[int, ...]:
        """How much there is now."""
        ...

    def go_back(self, mark: tuple[int, ...]) -> None:
        """Forget what came since."""
        ...


class Plain:
    """Every socket, without details."""

    full = False

    def __init__(self) -> None:
        self.rows = Columns(_BASE_TYPES)

    def add(self, block: Block) -> None:
        """Keep these sockets."""
        write(block, self.rows.extend(len(block)))

    def mark(self) -> tuple[int, ...]:
        """How many there are now."""
        return (len(self.rows),)

    def go_back(self, mark: tuple[int, ...]) -> None:
        """Forget what came since."""
        self.rows.truncate(mark[0])


class Closer:
    """The sockets that get a closer look, with their details: `values` has a row for each of `rows`.

    Minisockets (TIME_WAIT, FIN_WAIT_2 without an owner) and requests have no details; they are kept in `bare`, so that
    many of them do not displace those that have. `limit` is how many have details at most.
    """

    def __init__(self, fields: Mapping[str, Field], limit: int, *, room: int = 0) -> None:
        detail_types = dict.fromkeys(sorted(fields), np.float64)
        self.rows = FewColumns(_BASE_TYPES, room) if room else Columns(_BASE_TYPES)
        self.bare = Columns(_BASE_TYPES)
        self.values = FewColumns(detail_types, room) if room else Columns(detail_types)
        self.limit = limit
        self._most_bare = limit
        self._fields = fields
        self._attributes = frozenset(int(field.attribute) for field in fields.values())

    @property
    def full(self) -> bool:
        """Whether no further socket is kept."""
        return len(self.rows) >= self.limit

    @property
    def overfull(self) -> bool:
        """Whether sockets without details may have been left out."""
        return len(self.bare) >= self._most_bare

    def add(self, block: Block) -> None:
        """Keep these sockets, as far as there is room."""
        if self._attributes.isdisjoint(block.attributes):
            block = block.first(self._most_bare - len(self.bare))
            write(block, self.bare.extend(len(block)))
            return
        block = block.first(self.limit - len(self.rows))
        write(block, self.rows.extend(len(block)))
        for name, column in self.values.extend(len(block)).items():
            values = block.field(self._fields[name])
            column[:] = np.nan if values is None else values

    def mark(self) -> tuple[int, ...]:
        """How many there are now."""
        return len(self.rows), len(self.bare)

    def go_back(self, mark: tuple[int, ...]) -> None:
        """Forget what came since."""
        rows, bare = mark
        self.rows.truncate(rows)
        self.bare.truncate(bare)
        self.values.truncate(rows)

    def table(self) -> SocketTable:
        """What is in here, as a table of its own: first those with details. Uses it up."""
        rows = self._distinct()
        drop_doubles(self.bare)
        new = np.flatnonzero(find_cookies(self.bare["cookie"], self.rows["cookie"]) == NOT_THERE)
        for name, column in self.rows.extend(len(new)).items():
            column[:] = self.bare[name][new]
        return self._finish(self.rows, np.arange(rows))

    def copy(self) -> SocketTable:
        """What is in here, as small tables of their own, before go_back(); nothing was listed twice."""
        columns = {name: np.concatenate([self.rows[name], self.bare[name]]) for name in _BASE_TYPES}
        rows, bare = len(self.rows), len(self.bare)
        return SocketTable(
            **columns,
            netns=np.zeros(rows + bare, np.uint16),
            autobound=np.full(rows + bare, AUTOBOUND_UNKNOWN, np.uint8),
            detail_row=np.concatenate([np.arange(rows, dtype=np.int32), np.full(bare, NO_DETAIL, np.int32)]),
            details={name: self.values[name].copy() for name in self.values.names},
        )

    def merge_into(self, table: Columns) -> SocketTable:
        """The table with what is in here put over it. Uses up both."""
        drop_doubles(self.bare)
        merge(table, self.bare)
        self._distinct()
        return self._finish(table, merge(table, self.rows))

    def _distinct(self) -> int:
        """Each socket with details once; how many they are."""
        kept = drop_doubles(self.rows)
        if kept is not None:
            self.values.keep(kept)
        return len(self.rows)

    def _finish(self, table: Columns, place: NDArray[np.intp]) -> SocketTable:
        """The table; `place` are its rows that have details, in their order."""
        detail_row = np.full(len(table), NO_DETAIL, np.int32)
        detail_row[place] = np.arange(len(place))
        return SocketTable(
            **table.finish(),
            netns=np.zeros(len(table), np.uint16),
            autobound=np.full(len(table), AUTOBOUND_UNKNOWN, np.uint8),
            detail_row=detail_row,
            details=self.values.finish(),
        )


def read_families(connect: Connect, requests: Iterable[Request], into: Pass) -> list[Gap]:
    """IPv4, then IPv6, each with its request. Raises DumpError; a kernel that has no IPv6 is no error."""
    four, six = requests
    gaps = read_pass(connect, four, into)
    try:
        gaps += read_pass(connect, six, into)
    except DumpError as error:
        if error.errno not in ABSENT:
            raise
        gaps.append(Gap(what="IPv6 sockets", why=str(error)))
    return gaps


def read_pass(connect: Connect, request: Request, into: Pass) -> list[Gap]:
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


def kernel_is_at_least(major: int, minor: int) -> bool:
    """Whether the running kernel says that it is this release or a later one."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return release is not None and (int(release[1]), int(release[2])) >= (major, minor)


def _read_once(connect: Connect, request: Request, into: Pass) -> bool:
    transport = connect()
    interrupted = False
    try:
        for window in read_dump(transport, request):
            interrupted |= window.interrupted
            for block in blocks(window):
                into.add(block)
            if into.full:
                break
    finally:
        transport.close()
    return interrupted
