"""/api/v1/sockets: the sockets of the last look, filtered, counted and page by page."""

import asyncio
import math
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sockwatch.errors import UsageError
from sockwatch.export.web.live import Live
from sockwatch.export.web.parameters import Parameters, answer, refused
from sockwatch.export.web.socket_groups import Group, Groups, group_sockets
from sockwatch.export.web.socket_query import KNOWN, Page, Query, page, read_query, select
from sockwatch.model.address import address_text, endpoint_text
from sockwatch.model.poll import Poll
from sockwatch.model.printable import printable
from sockwatch.model.snapshot import UNKNOWN, Snapshot
from sockwatch.model.state import State, Timer

SCHEMA = "sockwatch.sockets/1"
_KEPT = 8
"""Queries whose rows and counts are remembered until the next poll: of a million sockets 4 MB each."""
_PREPARED = 4
"""How many of those that were asked last are answered for the next poll before anybody asks."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What a query found: how many match, their groups, and one page of them."""

    total: int
    groups: Groups
    page: Page


_Matches = tuple[NDArray[np.int32], Groups]


class _OfPoll:
    """What is known of one poll: what was prepared, never changed, and what was asked."""

    def __init__(self, snapshot: Snapshot, ready: Mapping[Query, _Matches]) -> None:
        self.snapshot = weakref.ref(snapshot)
        self.ready = ready
        self.asked: OrderedDict[Query, asyncio.Future[_Matches]] = OrderedDict()
        self.last: tuple[Query, ...] = ()
        """The queries that were asked last, the newest first."""


class SocketLists:
    """Finds sockets of the last poll in a thread of its own, once for each filter, whichever pages are asked for.

    Belongs to the event loop's thread, all but `prepare`. A page that is open asks the same of each poll: `prepare`
    finds that before the poll is published, so that of a million sockets the answer is there as soon as of a thousand.
    """

    def __init__(self) -> None:
        self._now: _OfPoll | None = None
        self._next: _OfPoll | None = None

    def prepare(self, snapshot: Snapshot | None) -> None:
        """What was asked of the poll before, of the one that comes next. For the collector's thread."""
        if snapshot is None:
            self._next = None
            return
        before, ready = self._now, {}
        for query in () if before is None else before.last:
            try:
                ready[query] = _match(snapshot, query)
            except UsageError:  # the namespace is gone: who asks again is told
                continue
        self._next = _OfPoll(snapshot, ready)

    def move_on(self) -> None:
        """The poll that was prepared is the last one now: nothing of the one before is kept."""
        self._now = self._next

    async def find(self, snapshot: Snapshot, query: Query) -> Found:
        """In the snapshot of the last poll. Raises UsageError where the query names what is not there."""
        now, what = self._of(snapshot), replace(query, cursor=None, limit=0)
        now.last = (what, *(other for other in now.last if other != what))[:_PREPARED]
        matches = now.ready.get(what)
        if matches is None:
            known = now.asked.get(what)
            if known is None:
                known = now.asked[what] = asyncio.ensure_future(asyncio.to_thread(_match, snapshot, query))
                known.add_done_callback(_notice)
                while len(now.asked) > _KEPT:
                    now.asked.popitem(last=False)
            matches = await asyncio.shield(known)
        rows, groups = matches
        return Found(total=len(rows), groups=groups, page=page(snapshot, rows, query))

    def _of(self, snapshot: Snapshot) -> _OfPoll:
        """What is known of it; there may be nothing yet where nobody prepares."""
        now, prepared = self._now, self._next
        if now is None or now.snapshot() is not snapshot:
            now = prepared if prepared is not None and prepared.snapshot() is snapshot else _OfPoll(snapshot, {})
            self._now = now
        return now


def _notice(done: "asyncio.Future[_Matches]") -> None:
    """An error is known even if whoever asked has left."""
    if not done.cancelled():
        done.exception()


def _match(snapshot: Snapshot, query: Query) -> _Matches:
    rows = select(snapshot, query)
    return rows, group_sockets(snapshot, rows, query.groups)


def routes(live: Live, lists: SocketLists) -> list[Route]:
    """One route."""

    async def sockets(request: Request) -> Response:
        shown = live.current()
        if shown is None:
            return refused(503, "sockwatch has not looked yet")
        try:
            query = read_query(Parameters(request.query_params, KNOWN, repeatable=("state",)))
            snapshot = shown.poll.snapshot
            if snapshot is None:
                return refused(503, "the last look failed; /api/v1/report says why")
            found = await lists.find(snapshot, query)
        except UsageError as error:
            return refused(400, str(error))
        return answer(_body(shown.poll, snapshot, found))

    return [Route("/api/v1/sockets", sockets, methods=["GET"])]


def _body(poll: Poll, snapshot: Snapshot, found: Found) -> dict[str, Any]:
    groups = found.groups
    return {
        "schema": SCHEMA,
        "poll": poll.number,
        "time": poll.time,
        "total": found.total,
        "next": None if found.page.next is None else str(found.page.next),
        "groups": {
            "state": [_group("state", one) for one in groups.state],
            "process": [_group("name", one) for one in groups.process],
            "peer": [_group("address", one) for one in groups.peer],
            "port": [{**_group("port", one), "side": one.side or None} for one in groups.port],
            "netns": [_group("netns", one) for one in groups.netns],
        },
        "sockets": socket_objects(snapshot, found.page),
    }


def socket_objects(snapshot: Snapshot, page: Page) -> list[dict[str, Any]]:
    """The rows of a page, as the report has them, with the name of the oldest process that holds each, if known."""
    sockets = page.sockets
    objects = []
    for row in range(len(sockets)):
        owner = int(page.owners[row])
        process = None if owner == UNKNOWN else snapshot.owners.processes[owner]
        age = float(page.ages[row])
        port = int(sockets.dport[row])
        objects.append(
            {
                "netns": printable(snapshot.namespaces[int(sockets.netns[row])].name),
                "state": State(int(sockets.state[row])).label,
                "local": endpoint_text(
                    address_text(int(sockets.src_hi[row]), int(sockets.src_lo[row])), str(sockets.sport[row])
                ),
                "remote": endpoint_text(
                    address_text(int(sockets.dst_hi[row]), int(sockets.dst_lo[row])), str(port or "*")
                ),
                "pid": process and process.pid,
                "process": process and printable(process.name),
                "inode": int(sockets.inode[row]),
                "uid": int(sockets.uid[row]),
                "recv_q": int(sockets.recv_q[row]),
                "send_q": int(sockets.send_q[row]),
                "age_seconds": round(age, 3) if math.isfinite(age) else None,
                "timer": _timer(int(sockets.timer[row])),
                "retransmits": int(sockets.retransmits[row]),
                "cookie": str(sockets.cookie[row]),
            }
        )
    return objects


def _timer(number: int) -> str:
    return Timer(number).label if number in set(Timer) else str(number)


def _group(key: str, group: Group) -> dict[str, Any]:
    """A group whose key is null is that of all others."""
    value: str | int | None = group.value
    if key == "port" and value is not None:
        value = int(value)
    return {key: value, "count": group.count}
