"""Looks at this host, through the pipeline."""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sockwatch.export.tui.view import MOST_GROUPS, Found, Look, socket_lines
from sockwatch.export.web.socket_api import socket_objects
from sockwatch.export.web.socket_groups import group_sockets
from sockwatch.export.web.socket_query import Query, page, select
from sockwatch.model.report import Report
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Steps(Protocol):
    """What the pipeline offers."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The last look, with owners."""
        ...

    def step(self) -> Report:
        """One look and its verdict. Raises DumpError."""
        ...


class OnScreen:
    """The sockets that somebody reads just now: their holders are asked for at every look."""

    def __init__(self) -> None:
        self.cookies: NDArray[np.uint64] = np.empty(0, np.uint64)

    def sockets(self, table: SocketTable) -> SocketTable:
        """Those of them that are still there and have a holder."""
        return table.take(np.isin(table.cookie, self.cookies) & (table.inode != 0))


class HostFeed:
    """A Feed; `on_screen` is what the pipeline asks whose holders to name."""

    def __init__(self, steps: Steps, on_screen: OnScreen, where: str) -> None:
        self._steps = steps
        self._on_screen = on_screen
        self.where = where

    @property
    def snapshot(self) -> Snapshot | None:
        """What the last look saw."""
        return self._steps.snapshot

    def look(self) -> Look:
        """Read the kernel. Raises DumpError."""
        report = self._steps.step()
        snapshot = self._steps.snapshot
        if snapshot is None:
            return Look(report=report, groups={}, listeners=())
        rows: dict[State, NDArray[Any]] = {s: np.flatnonzero(snapshot.sockets.state == s) for s in State}
        return Look(
            report=report,
            groups={s: group_sockets(snapshot, chosen, MOST_GROUPS) for s, chosen in rows.items() if len(chosen)},
            listeners=socket_lines(socket_objects(snapshot, page(snapshot, rows[State.LISTEN], Query(limit=1000)))),
        )

    def find(self, query: Query) -> Found:
        """Sockets of the last look. Raises UsageError."""
        snapshot = self._steps.snapshot
        if snapshot is None:
            return Found(query=query, total=0, lines=())
        rows = select(snapshot, query)
        found = page(snapshot, rows, query)
        self._on_screen.cookies = found.sockets.cookie
        return Found(query=query, total=len(rows), lines=socket_lines(socket_objects(snapshot, found)))
