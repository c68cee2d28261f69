"""Which sockets of a snapshot somebody asks for, page by page.

Everything works on columns; rows become objects only for the page that is asked for.
"""

import ipaddress
from bisect import bisect_right
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from sockwatch.errors import UsageError
from sockwatch.export.web.parameters import Parameters
from sockwatch.model.age import own_ages
from sockwatch.model.printable import printable
from sockwatch.model.snapshot import UNKNOWN, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State
from sockwatch.nearest import unknown

MOST_ROWS = 1000
MOST_GROUPS = 100
KNOWN = ("state", "port", "side", "process", "peer", "netns", "min_age", "limit", "cursor", "groups")
SIDES = {"local": "sport", "remote": "dport"}
"""The column of each end's port."""
LARGEST_COOKIE = 2**64 - 1
OLDEST = 1e9
_V4_MAPPED = 0xFFFF << 32

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked for; None and () are no condition.

    `port` is at either end, or at that of `side`: "local" or "remote". `process` is a name, and an empty one is a
    socket of which no process is known. `peer` is the other end's network, with `peer_port` where ADDR:PORT was given.
    `cursor` is the last row before those asked.
    """

    states: tuple[State, ...] = ()
    port: int | None = None
    side: str | None = None
    process: str | None = None
    peer: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    peer_port: int | None = None
    netns: str | None = None
    min_age: float | None = None
    limit: int = 100
    cursor: int | None = None
    groups: int = 20

    def address(self, path: str) -> str:
        """Where these are listed."""
        pairs: list[tuple[str, str]] = [("state", state.label) for state in self.states]
        pairs += [("port", str(self.port))] if self.port is not None else []
        pairs += [("side", self.side)] if self.side is not None else []
        pairs += [("process", self.process)] if self.process is not None else []
        pairs += [("peer", self.peer_text)] if self.peer is not None else []
        pairs += [("netns", self.netns)] if self.netns is not None else []
        pairs += [("min_age", f"{self.min_age:g}")] if self.min_age is not None else []
        pairs += [("cursor", str(self.cursor))] if self.cursor is not None else []
        return f"{path}?{urlencode(pairs)}" if pairs else path

    @property
    def peer_text(self) -> str:
        """The peer as it was asked for."""
        if self.peer is None:
            return ""
        text = str(self.peer.network_address) if self.peer.prefixlen == self.peer.max_prefixlen else str(self.peer)
        if self.peer_port is None:
            return text
        return f"[{text}]:{self.peer_port}" if ":" in text else f"{text}:{self.peer_port}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Page:
    """The sockets of one page, with their ages and owners; `next` is the next cursor."""

    sockets: SocketTable
    ages: NDArray[np.float64]
    owners: NDArray[np.int32]
    next: int | None


def read_query(asked: Parameters) -> Query:
    """The query of a request. Raises UsageError."""
    names = {state.label: state for state in State}
    states = [word for text in asked.texts("state") for word in text.split(",")]
    for word in states:
        if word not in names:
            raise UsageError(unknown("state", printable(word), names))
    port = asked.whole("port", -1, least=0, most=65535)
    min_age = asked.number("min_age", -1.0, least=0, most=OLDEST)
    cursor = asked.whole("cursor", -1, least=0, most=LARGEST_COOKIE)
    side = asked.word("side", SIDES, "") or None
    if side is not None and port < 0:
        raise UsageError("side is that of a port: port is missing")
    query = Query(
        states=tuple(dict.fromkeys(names[word] for word in states)),
        port=None if port < 0 else port,
        side=side,
        process=asked.text("process"),
        netns=asked.text("netns"),
        min_age=None if min_age < 0 else min_age,
        limit=asked.whole("limit", 100, least=1, most=MOST_ROWS),
        cursor=None if cursor < 0 else cursor,
        groups=asked.whole("groups", 20, least=0, most=MOST_GROUPS),
    )
    peer = asked.text("peer")
    return query if peer is None else _with_peer(query, peer)


def select(snapshot: Snapshot, query: Query) -> NDArray[np.int32]:
    """The rows that match, whatever their page, in the order of their cookies, which is that in which they first came.

    Raises UsageError for a namespace that was not looked at.
    """
    sockets = snapshot.sockets
    mask: Mask | None = None

    def also(condition: Mask) -> None:
        nonlocal mask
        mask = condition if mask is None else mask & condition

    if query.states:
        also(sockets.is_in_state(*query.states))
    if query.netns is not None:
        names = [namespace.name for namespace in snapshot.namespaces]
        if query.netns not in names:
            raise UsageError(unknown("netns", printable(query.netns), names))
        also(sockets.netns == names.index(query.netns))
    if query.port is not None:
        ends = [SIDES[query.side]] if query.side is not None else SIDES.values()
        also(np.logical_or.reduce([getattr(sockets, end) == query.port for end in ends]))
    if query.peer is not None:
        also(_is_in(sockets, query.peer))
    if query.peer_port is not None:
        also(sockets.dport == query.peer_port)
    rows = np.arange(len(sockets)) if mask is None else np.flatnonzero(mask)
    if query.process is not None:
        rows = rows[_is_held_by(snapshot, sockets.take(rows), query.process)]
    if query.min_age is not None:
        rows = rows[own_ages(snapshot, sockets.take(rows)).lower >= query.min_age]
    return rows[np.argsort(sockets.cookie[rows], kind="stable")].astype(np.int32)


def page(snapshot: Snapshot, rows: NDArray[np.int32], query: Query) -> Page:
    """The part of these rows that follows the cursor."""
    cookies = snapshot.sockets.cookie
    cursor = query.cursor
    begin = 0 if cursor is None else bisect_right(rows, cursor, key=lambda row: int(cookies[row]))
    chosen = rows[begin : begin + query.limit]
    sockets = snapshot.sockets.take(chosen)
    return Page(
        sockets=sockets,
        ages=own_ages(snapshot, sockets).lower,
        owners=snapshot.owners.of(sockets),
        next=int(sockets.cookie[-1]) if begin + query.limit < len(rows) else None,
    )


def _with_peer(query: Query, text: str) -> Query:
    """ADDR, ADDR/BITS, ADDR:PORT or [ADDR]:PORT."""
    address, port = text, ""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    try:
        peer = ipaddress.ip_network(address, strict=False)
        number = int(port) if port.isascii() and port.isdecimal() else None
    except ValueError:
        raise UsageError("peer must be an address, ADDR/BITS or ADDR:PORT") from None
    if (port and number is None) or (number is not None and number > 65535):  # noqa: PLR2004 - the largest port
        raise UsageError("peer must be an address, ADDR/BITS or ADDR:PORT")
    return replace(query, peer=peer, peer_port=number)


def _is_in(sockets: SocketTable, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Mask:
    """Which sockets have their other end in a network; IPv4 is v4-mapped in the table."""
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.version == 4:  # noqa: PLR2004 - IPv4
        first, last = _V4_MAPPED | first, _V4_MAPPED | last
    low, high = (
        (np.uint64(first >> 64), np.uint64(first & LARGEST_COOKIE)),
        (
            np.uint64(last >> 64),
            np.uint64(last & LARGEST_COOKIE),
        ),
    )
    above = (sockets.dst_hi > low[0]) | ((sockets.dst_hi == low[0]) & (sockets.dst_lo >= low[1]))
    below = (sockets.dst_hi < high[0]) | ((sockets.dst_hi == high[0]) & (sockets.dst_lo <= high[1]))
    inside: Mask = above & below & (sockets.dport != 0)
    return inside


def _is_held_by(snapshot: Snapshot, sockets: SocketTable, name: str) -> Mask:
    owners = snapshot.owners.of(sockets)
    if not name:
        return np.equal(owners, UNKNOWN)
    wanted = [number for number, process in enumerate(snapshot.owners.processes) if process.name == name]
    return np.isin(owners, np.array(wanted, np.int32))
