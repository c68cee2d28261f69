"""Metrics of real sockets, in a private network namespace with exact counts."""

import socket
from pathlib import Path

from export.metrics.pages import series, total, value
from netns import PrivateNetns, keep
from sockwatch.clock import SystemClock
from sockwatch.collect.live import LiveSource
from sockwatch.diagnose.registry import load_detectors
from sockwatch.export.metrics.exposition import Exposition
from sockwatch.export.metrics.page import render
from sockwatch.model.poll import Poll
from sockwatch.model.settings import MetricsSettings
from sockwatch.pipeline import Pipeline

COUNT, WAITING = 23, 7


class LeapingClock(SystemClock):
    """61 s pass at once when it is told to leap."""

    leapt = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.leapt


def provoke() -> tuple[int, str]:
    """Connections that the client closed and the server did not, and some that nobody accepted."""
    listener = keep(socket.create_server(("127.0.0.1", 0), backlog=2 * COUNT))
    for _ in range(COUNT):
        with socket.create_connection(listener.getsockname()):
            keep(listener.accept()[0])
    for _ in range(WAITING):
        keep(socket.create_connection(listener.getsockname()))
    return listener.getsockname()[1], Path("/proc/self/comm").read_text().strip()


def look_twice() -> Exposition:
    """The page of a second poll, a minute after the first."""
    clock = LeapingClock()
    pipeline = Pipeline(LiveSource(clock=clock), load_detectors(), clock, watching=True)
    pipeline.step()
    clock.leapt = 61.0
    report = pipeline.step()
    poll = Poll(
        number=2,
        time=report.time,
        monotonic=clock.monotonic(),
        ended=clock.monotonic(),
        interval=10.0,
        report=report,
        snapshot=pipeline.snapshot,
    )
    return render(poll, MetricsSettings())


def test_what_the_kernel_has_is_on_the_page() -> None:
    with PrivateNetns() as netns:
        port, name = netns.run(provoke)
        inode = Path(netns.path).stat().st_ino
        page = netns.run(look_twice)
    where = {"netns": f"net:[{inode}]"}
    ends = {"local": f"127.0.0.1:{port}", "peer": "127.0.0.1:*"}
    assert value(page, "sockwatch_poll_success") == 1
    assert value(page, "sockwatch_sockets", **where, family="ipv4", state="close_wait") == COUNT
    assert value(page, "sockwatch_sockets", **where, family="ipv4", state="fin_wait_2") == COUNT
    assert value(page, "sockwatch_sockets", **where, family="ipv4", state="established") == 2 * WAITING
    assert total(page, "sockwatch_sockets") == 1 + 2 * COUNT + 2 * WAITING
    assert value(page, "sockwatch_listener_sockets", **where, port=str(port), state="close_wait") == COUNT
    assert value(page, "sockwatch_listener_sockets", **where, port=str(port), state="established") == WAITING
    [ratio] = series(page, "sockwatch_listener_queue_ratio").values()
    assert ratio == WAITING / (2 * COUNT)
    assert total(page, "sockwatch_process_sockets", process=name, state="close_wait") == COUNT
    assert total(page, "sockwatch_process_sockets", process="", state="fin_wait_2") == COUNT
    assert total(page, "sockwatch_process_sockets", process="", state="established") == WAITING
    assert value(page, "sockwatch_peer_sockets", **where, **ends, state="close_wait") == COUNT
    other_end = {"local": ends["peer"], "peer": ends["local"]}
    assert value(page, "sockwatch_peer_sockets", **where, **other_end, state="fin_wait_2") == COUNT
    assert value(page, "sockwatch_tcp_passive_opens_total", **where) == COUNT + WAITING
    assert value(page, "sockwatch_findings", code="close_wait_leak", severity="warning") == 1
    assert value(page, "sockwatch_finding_sockets", code="close_wait_leak", severity="warning") == COUNT
