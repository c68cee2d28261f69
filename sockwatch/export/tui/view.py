"""What the terminal shows, whether it comes from this host's kernel or from a daemon."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from sockwatch.export.web.socket_groups import Groups
from sockwatch.export.web.socket_query import Query
from sockwatch.model.report import Report
from sockwatch.model.state import State

MOST_GROUPS = 100
"""Processes, peers and ports of each state that are told apart."""
MOST_ROWS = 200
"""Sockets listed at once: a terminal is no place to read more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketLine:
    """One socket, as /api/v1/sockets tells it; `cookie` is its identity for as long as it lives."""

    cookie: str
    netns: str
    state: str
    local: str
    remote: str
    pid: int | None
    process: str | None
    inode: int
    uid: int
    recv_q: int
    send_q: int
    age_seconds: float | None
    timer: str
    retransmits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The sockets that a query found: how many there are, and the first of them."""

    query: Query
    total: int
    lines: tuple[SocketLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look: the report, and how the sockets of each state divide. A failed one has no groups.

    `age` is how many seconds old it was when it came; `interval` is from one look to the next, None where that is up to
    who asks.
    """

    report: Report
    groups: Mapping[State, Groups]
    listeners: tuple[SocketLine, ...]
    age: float = 0.0
    interval: float | None = None


class Feed(Protocol):
    """Where looks come from. For one thread; both methods raise SockwatchError, whose message is one line."""

    where: str
    """Who is asked, to be shown."""

    def look(self) -> Look:
        """The newest; the same object as before where there is none."""
        ...

    def find(self, query: Query) -> Found:
        """Sockets of the newest look."""
        ...


def socket_lines(objects: Sequence[Any]) -> tuple[SocketLine, ...]:
    """The rows of /api/v1/sockets. Raises ValueError with one line."""
    return msgspec.convert(objects, tuple[SocketLine, ...])


def follow_query(cookie: str) -> Query:
    """Finds the one socket with this cookie, or else the one that comes after it."""
    return Query(cursor=max(int(cookie) - 1, 0), limit=1, groups=0)
