"""The view of a daemon, through a real web server."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

import reports
from export.tui.scene import Host, Screen, feed_of
from export.web.serving import Served, published
from export.web.test_passwords import ALICE, basic
from sockwatch.clock import SystemClock
from sockwatch.errors import DaemonError
from sockwatch.export.tui.app import Top
from sockwatch.export.tui.daemon import DaemonFeed
from sockwatch.export.tui.head import verdict_text
from sockwatch.export.tui.host import HostFeed
from sockwatch.export.tui.tables import View, listing
from sockwatch.export.tui.view import Look, follow_query
from sockwatch.export.web.published import Published
from sockwatch.export.web.socket_query import Query
from sockwatch.model.report import Status
from sockwatch.model.state import State


def seen() -> tuple[HostFeed, Look, Published]:
    """A host as this program saw it itself, and the same look as a daemon publishes it."""
    feed = feed_of(Host())
    look = feed.look()
    last = published(look.report)
    return feed, look, replace(last, poll=replace(last.poll, snapshot=feed.snapshot))


def url(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}"


def divided(look: Look) -> object:
    return {state: (groups.process, groups.peer, groups.port) for state, groups in look.groups.items()}


def test_a_daemon_shows_what_the_host_itself_would_show() -> None:
    host, own, last = seen()
    with Served() as served:
        served.last = last
        feed = DaemonFeed(url(served))
        look = feed.look()
        assert divided(look) == divided(own)
        assert look.listeners == own.listeners
        assert look.report.by_state == own.report.by_state
        assert look.report.findings[0].sockets == own.report.findings[0].sockets
        assert [(f.name, f.count, f.evidence) for f in look.report.findings] == [
            (f.name, f.count, dict(f.evidence)) for f in own.report.findings
        ]
        assert feed.look() is look
        for query in (Query(states=(State.CLOSE_WAIT,), limit=7, groups=0), follow_query("107"), Query(process="")):
            assert feed.find(query) == host.find(query)


def test_a_daemon_whose_look_failed_is_shown_as_that() -> None:
    with Served() as served:
        served.last = published(reports.failed())
        look = DaemonFeed(url(served)).look()
    assert (look.report.status, look.groups) == (Status.UNKNOWN, {})
    said = verdict_text(look.report, "", age=0.0, late=False, failure="", paused=False).plain
    assert "dump: the kernel refused the dump: Permission denied" in said
    assert listing(View.FINDINGS, look, {}, None).empty == "Nothing could be looked at."


def test_budgets_and_what_is_closing_for_long_are_those_of_the_daemon() -> None:
    _, own, last = seen()
    report = replace(own.report, budgets=reports.sick().budgets, peers=reports.sick().peers)
    with Served() as served:
        served.last = replace(last, poll=replace(last.poll, report=report))
        look = DaemonFeed(url(served)).look()
    shares = [row.cells[4].text for row in listing(View.BUDGETS, look, {}, None).rows]
    assert shares == ["12 %", "10 %"]
    old = {row.key: row.cells[4].text for row in listing(View.STATES, look, {}, None).rows}
    assert old["close_wait"] == "7"


@pytest.mark.parametrize(("age", "interval", "late"), [(3600, 10.0, "1 h"), (45, 10.0, "4"), (100, 60.0, "")])
def test_how_old_the_look_of_a_daemon_is_counts_from_when_it_looked(age: int, interval: float, late: str) -> None:
    _, own, last = seen()
    clock = SystemClock()
    report = replace(own.report, effort=replace(reports.effort(), interval=interval))
    with Served() as served:
        poll = replace(last.poll, report=report, interval=interval, monotonic=clock.monotonic() - age)
        served.last = replace(last, poll=poll)
        feed = DaemonFeed(url(served))
        look = feed.look()
        assert age <= look.age < age + 20
        assert look.interval == interval
        top = Top(feed, look, clock, interval=2.0)

        async def run() -> None:
            async with top.run_test(size=(120, 24)) as pilot:
                await pilot.pause()
                line = Screen(top, pilot).lines[0]
                assert (f"no new look for {late}" if late else served.address[0]) in line
                assert ("no new look" in line) is bool(late)

        asyncio.run(run())


def test_a_daemon_that_asks_for_a_password_gets_it_or_the_reason_is_told(tmp_path: Path) -> None:
    config = tmp_path / "web.yml"
    config.write_text(f"basic_auth_users:\n  alice: {ALICE}\n")
    _, own, last = seen()
    with Served(config_file=str(config)) as served:
        served.last = last
        let_in = DaemonFeed(url(served), authorization=basic("alice", "wonderland")["Authorization"])
        assert divided(let_in.look()) == divided(own)
        with pytest.raises(DaemonError, match="SOCKWATCH_PASSWORD"):
            DaemonFeed(url(served)).look()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (PlainTextResponse("hello"), "this is no answer of sockwatch"),
        (PlainTextResponse('{"schema": "other/1"}'), "this is no answer of sockwatch"),
        (PlainTextResponse("[" * 100_000), "this is no answer of sockwatch"),
        (PlainTextResponse('{"error": "\\u001b[31mred"}', 503), r"HTTP 503: \\x1b\[31mred"),
        (PlainTextResponse("gone", 404), "HTTP 404$"),
        (RedirectResponse("http://127.0.0.1:1/"), "HTTP 307$"),
        (PlainTextResponse(b" " * (65 << 20)), "longer than 64 MiB"),
    ],
    ids=["text", "other schema", "deep", "error", "missing", "elsewhere", "endless"],
)
def test_what_is_no_daemon_is_told_in_one_line(answer: Response, why: str) -> None:
    async def report(_: Request) -> Response:
        return answer

    with Served(routes=[Route("/api/v1/report", report)]) as served, pytest.raises(DaemonError, match=why) as raised:
        DaemonFeed(url(served)).look()
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 400


def test_nobody_listening_is_told_in_one_line() -> None:
    with Served() as served:
        address = url(served)
    with pytest.raises(DaemonError, match=r"no connection: .*refused"):
        DaemonFeed(address).look()
