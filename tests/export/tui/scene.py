"""A host that is seen through the real pipeline, and the screen of `sockwatch top` driven by textual's pilot."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from textual.pilot import Pilot

from builders import later, owners, process, snapshot, socket
from sockwatch.clock import SystemClock
from sockwatch.diagnose.registry import load_detectors
from sockwatch.errors import DumpError
from sockwatch.export.tui.app import Top
from sockwatch.export.tui.host import HostFeed, OnScreen
from sockwatch.model.snapshot import Asks, FollowUp, Process, Snapshot
from sockwatch.model.state import State
from sockwatch.pipeline import Pipeline

PATIENCE = 20.0
REMOTE = "[2001:db8::2]:5432"
APP, HOSTILE = process(812, "orders-api"), process(900, "\x1b[31m[b]x\u202e")
Row = Mapping[str, Any]


def leaked(count: int = 23) -> list[Row]:
    """So many connections that orders-api read to the end and never closed, for 300 s."""
    ages = {"last_ack_recv": 300_000, "last_data_recv": 400_000, "last_data_sent": 400_000}
    return [
        socket(State.CLOSE_WAIT, "10.0.0.1:8080", f"10.0.0.9:{40000 + i}", inode=5000 + i, cookie=100 + i, **ages)
        for i in range(count)
    ]


def others() -> list[Row]:
    """A listener with a queue that is half full, 13 connections of a process with a hostile name, 7 in TIME_WAIT."""
    return [
        socket(State.LISTEN, "0.0.0.0:8080", inode=50, cookie=50, recv_q=60, send_q=128),
        *[
            socket(State.ESTABLISHED, f"[2001:db8::1]:{50000 + i}", REMOTE, inode=6000 + i, cookie=200 + i)
            for i in range(13)
        ],
        *[
            socket(State.TIME_WAIT, "10.0.0.1:8080", f"192.0.2.{i}:3000", expires_ms=1000, timer=3, cookie=300 + i)
            for i in range(7)
        ],
    ]


class Host:
    """A Source. `rows` are its sockets now, or an error; every look is 2 s after the last."""

    def __init__(self, rows: Sequence[Row] | None = None) -> None:
        self.rows: Sequence[Row] | DumpError = [*leaked(), *others()] if rows is None else rows
        self.looks = 0
        self.named: list[int] = []

    def look(self, _: Asks) -> Snapshot:
        if isinstance(self.rows, DumpError):
            raise self.rows
        self.looks += 1
        return later(snapshot(*self.rows), 2.0 * self.looks)

    def follow_up(self, seen: Snapshot, wanted: FollowUp) -> Snapshot:
        self.named = wanted.suspects.inode.tolist()
        holders: dict[int, Sequence[Process]] = {}
        for inode in self.named:
            holders[inode] = [APP] if inode == 50 or 5000 <= inode < 6000 else [HOSTILE]
        return replace(seen, owners=owners(holders))


def feed_of(host: Host) -> HostFeed:
    """As the command makes it."""
    on_screen, clock = OnScreen(), SystemClock()
    pipeline = Pipeline(host, load_detectors(), clock, also_name=on_screen.sockets, watching=True)
    return HostFeed(pipeline, on_screen, "")


class Screen:
    """What a person sees and types."""

    def __init__(self, app: Top, pilot: Pilot[None]) -> None:
        self.app = app
        self._pilot = pilot

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        strips = self.app.screen._compositor.render_strips()  # noqa: SLF001 - textual offers the screen as SVG only
        return [
            "".join(segment.text for segment in strip).replace("\N{NO-BREAK SPACE}", " ").rstrip() for strip in strips
        ]

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.lines)

    async def press(self, *keys: str) -> None:
        """Keys, one after the other, each when the one before has done its work."""
        for key in keys:
            await self._pilot.press(key)
            await self._pilot.pause()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to be on the screen."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.text
            await self._pilot.pause(0.02)

    async def until_shown(self, text: str) -> None:
        """Wait for this text."""
        await self.until(lambda: text in self.text)


def play(
    scene: Callable[[Screen], Awaitable[None]],
    host: Host | None = None,
    *,
    size: tuple[int, int] = (80, 24),
    interval: float = 3600.0,
) -> None:
    """Run the view over a host; without an interval it looks once only."""
    feed = feed_of(host or Host())
    app = Top(feed, feed.look(), SystemClock(), interval=interval)

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await scene(Screen(app, pilot))

    asyncio.run(run())
