"""A host with a million sockets is answered about as quickly as one with a thousand."""

import gc
import math
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import reports
from builders import process, snapshot, socket
from export.web.serving import Served, published
from sockwatch.export.web.published import Published
from sockwatch.model.sockets import COLUMN_TYPES
from sockwatch.model.state import State

FEW, MANY = 1_000, 1_000_000
PATHS = ("/", "/api/v1/report", "/api/v1/sockets?state=close_wait", "/sockets?state=close_wait", "/api/v1/sockets")
TIMES = 20


def of(count: int) -> Published:
    """A poll that saw so many sockets: a tenth of them leaked, a few that listen, the rest in TIME_WAIT."""
    seen = snapshot(
        *(socket(State.LISTEN, f"0.0.0.0:{80 + i}", inode=10 + i, send_q=128) for i in range(23)),
        holders={10: [process(812, "app")]},
    )
    columns: Any = {name: np.resize(getattr(seen.sockets, name), count) for name in COLUMN_TYPES}
    columns["state"][23:] = np.where(np.arange(23, count) % 10, State.TIME_WAIT, State.CLOSE_WAIT)
    columns["dst_lo"][23:] = 0xFFFF_0A00_0000 + np.arange(23, count) % 9973
    columns["dport"][23:] = 1024 + np.arange(23, count) % 60_000
    columns["cookie"] = np.arange(1, count + 1, dtype=np.uint64)
    seen = replace(seen, sockets=replace(seen.sockets, **columns))
    last = published(reports.report(reports.leak(count=count // 10), by_state=seen.sockets.count_by_state()))
    return replace(last, poll=replace(last.poll, snapshot=seen))


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Served, Served]]:
    with Served() as few, Served() as many:
        few.last, many.last = of(FEW), of(MANY)
        yield few, many


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_takes_at_most_three_times_as_long(both: tuple[Served, Served], path: str) -> None:
    for served in both:  # the first counts what the others find counted
        assert served.get(path).status == 200
    quickest = [math.inf, math.inf]
    for _ in range(TIMES):
        for i, served in enumerate(both):
            began = time.perf_counter()
            served.get(path)
            quickest[i] = min(quickest[i], time.perf_counter() - began)
    assert quickest[1] <= 3 * quickest[0]


def polled(served: Served) -> None:
    """As the daemon does it: another poll, which is prepared, and then published and told of."""
    assert served.last is not None
    assert served.last.poll.snapshot is not None
    seen = replace(served.last.poll.snapshot)
    served.lists.prepare(seen)
    served.last = replace(served.last, poll=replace(served.last.poll, snapshot=seen))

    async def tell() -> None:
        served.lists.move_on()

    served.run(tell)


@pytest.mark.parametrize("path", [path for path in PATHS if "sockets" in path])
def test_who_asks_the_same_of_each_poll_does_not_wait_for_it(both: tuple[Served, Served], path: str) -> None:
    quickest = [math.inf, math.inf]
    for served in both:
        assert served.get(path).status == 200
    for _ in range(TIMES // 2):
        for i, served in enumerate(both):
            polled(served)
            began = time.perf_counter()
            served.get(path)
            quickest[i] = min(quickest[i], time.perf_counter() - began)
    assert quickest[1] <= 3 * quickest[0]


def test_with_the_next_poll_nothing_of_this_one_is_kept(both: tuple[Served, Served]) -> None:
    few, _ = both
    assert few.get("/api/v1/sockets").status == 200
    now = few.lists._now  # noqa: SLF001 - what is kept is told nowhere
    assert now is not None
    kept = weakref.ref(now)
    del now
    polled(few)
    gc.collect()
    assert kept() is None
