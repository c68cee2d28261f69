"""Listening sockets: how full the accept queue of each is, and what it has dropped."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sockwatch.export.layout import number
from sockwatch.export.markup import Markup, tag
from sockwatch.export.web.live import Shown
from sockwatch.export.web.page.parts import bar, more, section
from sockwatch.model.address import address_text, endpoint_text
from sockwatch.model.snapshot import UNKNOWN, Snapshot
from sockwatch.model.state import State

MOST_LISTENERS = 12
_FULL, _FILLING = 1.0, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One listening socket. `dropped` is since it listens, `dropped_now` since the poll before; None is not known."""

    netns: str
    local: str
    process: str | None
    waiting: int
    limit: int
    dropped: int | None
    dropped_now: int | None

    @property
    def ratio(self) -> float:
        """How full the queue is; the kernel lets in one more than the limit."""
        return self.waiting / self.limit if self.limit else float(self.waiting > 0)


def listeners(shown: Shown) -> Markup:
    """Those with most drops and the fullest queues first."""
    snapshot = shown.poll.snapshot
    every = 0 if snapshot is None else snapshot.sockets.count_by_state()[State.LISTEN]
    found = [] if snapshot is None else found_in(snapshot, shown.totals.drops, shown.dropped, MOST_LISTENERS)
    said = "Nothing listens." if snapshot is not None else "Nothing could be looked at."
    items = [_listener(one) for one in found]
    listed = tag("ul", items, class_="bars") if items else tag("p", said, class_="nothing")
    left = more(every - MOST_LISTENERS, "all of them", "/sockets?state=listen")
    return section("listeners", "Listeners", listed, left, note=number(every) if every else "")


def found_in(snapshot: Snapshot, drops: Mapping[int, int], dropped: Mapping[int, int], most: int) -> list[Listener]:
    """So many of the listeners: what drops now first, then the fullest."""
    sockets = snapshot.sockets.in_state(State.LISTEN)
    waiting, limit = sockets.recv_q.astype(np.float64), sockets.send_q.astype(np.float64)
    ratio = np.where(limit > 0, waiting / np.maximum(limit, 1), waiting > 0)
    order = np.lexsort(
        (
            sockets.sport,
            sockets.src_lo,
            sockets.src_hi,
            -_by_cookie(sockets.cookie, drops),
            -ratio,
            -_by_cookie(sockets.cookie, dropped),
        )
    )
    few = sockets.take(order[:most])
    owners = snapshot.owners.of(few)
    found = []
    for row in range(len(few)):
        cookie, owner = int(few.cookie[row]), int(owners[row])
        address = address_text(int(few.src_hi[row]), int(few.src_lo[row]))
        found.append(
            Listener(
                netns=snapshot.namespaces[int(few.netns[row])].name,
                local=endpoint_text(address, str(few.sport[row])),
                process=None if owner == UNKNOWN else snapshot.owners.processes[owner].name,
                waiting=int(few.recv_q[row]),
                limit=int(few.send_q[row]),
                dropped=drops.get(cookie),
                dropped_now=dropped.get(cookie),
            )
        )
    return found


def _by_cookie(cookies: NDArray[np.uint64], counts: Mapping[int, int]) -> NDArray[np.float64]:
    """The count of each socket; 0 where it is not known."""
    return np.array([counts.get(cookie, 0) for cookie in cookies.tolist()], np.float64)


def _listener(one: Listener) -> Markup:
    severity = "critical" if one.ratio >= _FULL and one.limit else "warning" if one.ratio >= _FILLING else "calm"
    if one.dropped is None:
        drops = "drops not known"
    else:
        drops = f"{number(one.dropped)} dropped" if one.dropped else "none dropped"
        drops += f", {number(one.dropped_now)} since the last look" if one.dropped_now else ""
    return tag(
        "li",
        tag("span", one.local, " ", tag("b", one.process or "process not known"), class_="what"),
        tag("span", f"{number(one.waiting)} / {number(one.limit)}", class_="number"),
        bar(one.ratio, severity),
        tag("small", drops, "" if one.netns == "host" else f"; namespace {one.netns}"),
    )
