"""The last poll beside what the one before it leaves to compare with, and who waits for the next."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from sockwatch.export.diagram import RATES
from sockwatch.export.web.published import LastPublished, Published
from sockwatch.model.poll import Poll
from sockwatch.model.report import Status
from sockwatch.model.state import State

_COUNTERS = (*RATES, "TcpExt.ListenOverflows", "TcpExt.ListenDrops")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What only grows: counters by namespace, and what each listener, by its cookie, has dropped since it listens."""

    monotonic: float
    counters: Mapping[tuple[str, int], Mapping[str, int]] = field(default_factory=dict)
    drops: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Shown:
    """A poll as the page shows it.

    `rates` are events a second since the poll before, over all namespaces; `dropped` is what each listener dropped
    since then. Both have only what both polls know. `since` is when the status became what it is, in seconds since
    1970, as far as this daemon knows: `from_start` says that it was so at the first poll. Nobody keeps one longer than
    it is the last: it has every socket.
    """

    published: Published
    totals: Totals
    rates: Mapping[str, float]
    dropped: Mapping[int, int]
    since: float
    from_start: bool

    @property
    def poll(self) -> Poll:
        """The poll."""
        return self.published.poll

    @property
    def status(self) -> Status:
        """Its verdict."""
        return self.poll.report.status


class Live:
    """Belongs to the event loop's thread."""

    def __init__(self, published: LastPublished) -> None:
        self._published = published
        self._shown: Shown | None = None
        self._news = asyncio.Event()

    def current(self) -> Shown | None:
        """The last poll; None until the first one is over."""
        last = self._published()
        if last is not None and (self._shown is None or self._shown.published is not last):
            self._shown = _shown(last, self._shown)
        return self._shown

    def tell(self) -> None:
        """There is another poll: take it, and wake all who wait."""
        self.current()
        waited, self._news = self._news, asyncio.Event()
        waited.set()

    @property
    def news(self) -> asyncio.Event:
        """Set when there is another poll than now."""
        return self._news


def _shown(published: Published, before: Shown | None) -> Shown:
    poll = published.poll
    totals = _totals(poll)
    same = before is not None and before.status is poll.report.status
    return Shown(
        published=published,
        totals=totals,
        rates=_rates(totals, before.totals) if before else {},
        dropped=_dropped(totals, before.totals) if before else {},
        since=before.since if before and same else poll.time,
        from_start=before.from_start if before and same else before is None,
    )


def _totals(poll: Poll) -> Totals:
    if poll.snapshot is None:
        return Totals(monotonic=poll.monotonic)
    listeners = poll.snapshot.sockets.in_state(State.LISTEN)
    drops = listeners.detail("skmem_drops")
    return Totals(
        monotonic=poll.snapshot.monotonic,
        counters={
            (namespace.name, namespace.inode): {
                name: namespace.counters[name] for name in _COUNTERS if name in namespace.counters
            }
            for namespace in poll.snapshot.namespaces
        },
        drops={c: int(n) for c, n in zip(listeners.cookie.tolist(), drops.tolist(), strict=True) if n == n},  # noqa: PLR0124 - NaN is not known
    )


def _rates(now: Totals, before: Totals) -> dict[str, float]:
    passed = now.monotonic - before.monotonic
    increases: dict[str, int] = {}
    for namespace, counters in now.counters.items():
        then = before.counters.get(namespace, {})
        for name, count in counters.items():
            if name in then and count >= then[name]:
                increases[name] = increases.get(name, 0) + count - then[name]
    return {name: increase / passed for name, increase in increases.items()} if passed > 0 else {}


def _dropped(now: Totals, before: Totals) -> dict[int, int]:
    known = now.drops.keys() & before.drops.keys()
    return {cookie: now.drops[cookie] - before.drops[cookie] for cookie in known}
