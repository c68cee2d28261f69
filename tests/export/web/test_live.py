"""What two polls tell together, and how those who wait get the next one."""

import gc
import json
import weakref
from contextlib import suppress
from dataclasses import replace

import reports
from builders import later, namespace, snapshot, socket
from export.web.serving import Served, published, until
from sockwatch.clock import SystemClock
from sockwatch.export.web import events
from sockwatch.export.web.live import Live
from sockwatch.export.web.page.frame import StatusPage
from sockwatch.export.web.published import Published
from sockwatch.model.report import Report
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.state import State


def seen(passed: float = 0.0, *, drops: float = 0.0, inode: int = 1, **counters: int) -> Snapshot:
    """A look with a listener and counters, so many seconds later."""
    named = {name.replace("_", "."): count for name, count in counters.items()}
    where = replace(namespace(counters=named), inode=inode)
    return later(snapshot(socket(State.LISTEN, "0.0.0.0:80", cookie=7, skmem_drops=drops), namespaces=[where]), passed)


def poll(look: Snapshot | None, report: Report | None = None, *, number: int = 1, time: float = 0.0) -> Published:
    last = published(report, number=number)
    return replace(last, poll=replace(last.poll, snapshot=look, time=time))


def test_rates_are_the_increase_of_counters_over_the_time_between() -> None:
    polls = [poll(seen(Tcp_ActiveOpens=100, Tcp_OutRsts=5)), poll(seen(4, Tcp_ActiveOpens=192, Tcp_OutRsts=5))]
    live = Live(lambda: polls[0])
    first = live.current()
    assert first is not None
    assert (first.rates, first.dropped) == ({}, {})
    polls.pop(0)
    second = live.current()
    assert second is not None
    assert second.rates == {"Tcp.ActiveOpens": 23.0, "Tcp.OutRsts": 0.0}
    assert live.current() is second


def test_a_counter_that_fell_or_is_of_another_namespace_has_no_rate() -> None:
    looks = [
        seen(Tcp_ActiveOpens=100, Tcp_OutRsts=5),
        seen(1, Tcp_ActiveOpens=99, Tcp_OutRsts=6),
        seen(2, inode=2, Tcp_ActiveOpens=500, Tcp_OutRsts=500),
    ]
    last = poll(looks[0])
    live = Live(lambda: last)
    live.current()
    told = []
    for look in looks[1:]:
        last = poll(look)
        shown = live.current()
        told.append(shown and shown.rates)
    assert told == [{"Tcp.OutRsts": 1.0}, {}]


def test_drops_are_those_since_the_poll_before() -> None:
    last = poll(seen(drops=23))
    live = Live(lambda: last)
    live.current()
    last = poll(seen(10, drops=36))
    shown = live.current()
    assert shown is not None
    assert (shown.totals.drops, shown.dropped) == ({7: 36}, {7: 13})


def test_after_a_poll_that_failed_nothing_is_compared_with_it() -> None:
    last = poll(seen(Tcp_ActiveOpens=1))
    live = Live(lambda: last)
    for look, report in ((seen(), None), (None, reports.failed()), (seen(20, Tcp_ActiveOpens=300), None)):
        last = poll(look, report)
        live.current()
    shown = live.current()
    assert shown is not None
    assert shown.rates == {}


def test_a_status_lasts_from_the_poll_that_brought_it() -> None:
    told = []
    last = poll(None, reports.healthy(), time=1)
    live = Live(lambda: last)
    for time, report in enumerate(
        (reports.healthy(), reports.healthy(), reports.report(reports.leak()), reports.report(reports.leak())), 1
    ):
        last = poll(None, report, time=time)
        shown = live.current()
        told.append(shown and (shown.since, shown.from_start))
    assert told == [(1, True), (1, True), (3, False), (3, False)]


def followed(served: Served, live: Live, heartbeat: float = 60.0) -> None:
    """Serve the events of this `live` instead of the site's."""
    made = events.routes(live, StatusPage(history=False), SystemClock(), heartbeat)
    served.server._gate._site.router.routes[:0] = made  # type: ignore[attr-defined] # noqa: SLF001 - the site is Starlette's


def test_whoever_follows_gets_the_newest_poll_once_and_not_those_between() -> None:
    with Served() as served:
        live = Live(lambda: served.last)
        followed(served, live)
        with served.connect() as client:
            client.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            text = b""

            def polls() -> list[int]:
                nonlocal text
                client.settimeout(0.02)
                with suppress(TimeoutError):
                    text += client.recv(1 << 20)
                return [int(part.split(b",")[0]) for part in text.split(b'"poll": ')[1:]]

            async def tell() -> None:
                live.tell()

            until(lambda: polls() == [1])
            served.run(tell)  # nothing new: nothing is sent
            for number in (2, 3):
                served.last = published(number=number)
            served.run(tell)
            until(lambda: polls() == [1, 3])
    assert text.count(b"event: poll") == 2


def test_whoever_follows_gets_the_parts_that_changed_since_the_poll_it_got_before() -> None:
    with Served() as served, served.connect() as client:
        client.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        text = b""
        told: list[set[str]] = []
        for report in (reports.healthy(), reports.healthy(), reports.report(reports.leak()), reports.healthy()):
            served.last = published(report, number=len(told) + 1)
            served.tell()
            while text.count(b"event: poll") <= len(told) or not text.endswith(b"}\n\n\r\n"):
                text += client.recv(1 << 20)
            data = text.rpartition(b"data: ")[2].partition(b"\n")[0]
            told.append(set(json.loads(data)["parts"]))
        assert b'"parts": {}' in text
        everything, nothing, leak, none = told
        assert everything >= {"verdict-text", "findings", "states", "budgets", "listeners", "not-seen"}
        assert (nothing, leak) == (set(), none)
        assert {"verdict-text", "findings"} <= leak < everything
        # Another one starts with all that there is.
        with served.connect() as late:
            late.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            text = b""
            while b"}\n\n" not in text:
                text += late.recv(1 << 20)
    assert set(json.loads(text.rpartition(b"data: ")[2].partition(b"\n")[0])["parts"]) == everything


def test_while_nothing_happens_a_heartbeat_shows_that_both_are_there() -> None:
    with Served() as served:
        followed(served, Live(lambda: served.last), heartbeat=0.01)
        with served.connect() as client:
            client.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            text = b""
            while text.count(b": still here\n\n") < 3:
                text += client.recv(1 << 16)
    assert text.count(b"event: poll") == 1


def test_no_poll_is_kept_longer_than_it_is_the_last() -> None:
    with Served() as served:
        served.last = poll(seen())
        kept = weakref.ref(served.last.poll.snapshot or seen())
        with served.connect() as client:
            client.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in client.recv(1 << 16)
            for path in ("/", "/sockets", "/api/v1/report", "/api/v1/sockets?state=listen", "/metrics"):
                assert served.get(path).status == 200
            served.last = poll(seen(10), number=2)
            assert served.get("/-/ready").status == 200
            assert served.get("/").status == 200
            gc.collect()
            assert kept() is None
