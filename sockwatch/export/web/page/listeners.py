"""Listening sockets: how full the accept queue of each is, and what it has dropped."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

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
    every = () if snapshot is None else found_in(snapshot, shown.totals.drops, shown.dropped)
    said = "Nothing listens." if snapshot is not None else "Nothing could be looked at."
    items = [_listener(one) for one in every[:MOST_LISTENERS]]
    listed = tag("ul", items, class_="bars") if items else tag("p", said, class_="nothing")
    left = more(len(every) - MOST_LISTENERS, "all of them", "/sockets?state=listen")
    return section("listeners", "Listeners", listed, left, note=number(len(every)) if every else "")


def found_in(snapshot: Snapshot, drops: Mapping[int, int], dropped: Mapping[int, int]) -> tuple[Listener, ...]:
    """All listeners: what drops now first, then the fullest."""
    sockets = snapshot.sockets.in_state(State.LISTEN)
    owners = snapshot.owners.of(sockets)
    found = []
    for row in np.arange(len(sockets)).tolist():
        cookie = int(sockets.cookie[row])
        owner = int(owners[row])
        address = address_text(int(sockets.src_hi[row]), int(sockets.src_lo[row]))
        found.append(
            Listener(
                netns=snapshot.namespaces[int(sockets.netns[row])].name,
                local=endpoint_text(address, str(sockets.sport[row])),
                process=None if owner == UNKNOWN else snapshot.owners.processes[owner].name,
                waiting=int(sockets.recv_q[row]),
                limit=int(sockets.send_q[row]),
                dropped=drops.get(cookie),
                dropped_now=dropped.get(cookie),
            )
        )
    return tuple(sorted(found, key=lambda one: (-(one.dropped_now or 0), -one.ratio, -(one.dropped or 0), one.local)))


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
