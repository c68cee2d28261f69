"""A self-budget that is far too small, on the real kernel: what is left out, counted, and transferred."""

import resource
import socket
from dataclasses import replace

from netns import PrivateNetns, keep
from sockwatch.clock import SystemClock
from sockwatch.collect.dump import dump_sockets
from sockwatch.collect.live import LiveSource
from sockwatch.collect.netlink import NetlinkSocket
from sockwatch.diagnose.registry import load_detectors
from sockwatch.model.effort import Step
from sockwatch.model.report import Report, Result
from sockwatch.model.settings import PollSettings
from sockwatch.model.snapshot import COUNTED_BY_KERNEL, Asks
from sockwatch.model.state import State
from sockwatch.pipeline import Pipeline

PAIRS, WAITING = 523, 1103
NEEDED_FILES = 2 * PAIRS + 200


def connect_many() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(NEEDED_FILES, 1024), hard))
    listener = keep(socket.create_server(("127.0.0.1", 0), backlog=64))
    for i in range(PAIRS + WAITING):
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        if i < PAIRS:
            keep((client, server))
        else:
            client.close()
            server.close()


class TickingClock(SystemClock):
    """Hardly goes on, so that no purse fills."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now


def poll_poorly() -> list[Report]:
    """Looks that may cost next to nothing, until nothing is left to leave out."""
    limits = PollSettings(cpu_share=1e-9, seconds=1e6)
    pipeline = Pipeline(LiveSource(clock=SystemClock()), load_detectors(), TickingClock(), limits=limits)
    return [pipeline.step() for _ in range(7)]


def test_with_no_budget_sockets_are_counted_not_read_and_the_counts_stay_exact() -> None:
    with PrivateNetns() as netns:
        netns.run(connect_many)
        reports = netns.run(poll_poorly)
    taken = [() if report.effort is None else report.effort.steps for report in reports]
    order = [
        Step.TIME_WAIT_COUNTED,
        Step.ESTABLISHED_COUNTED,
        Step.INTERVAL_DOUBLED,
        Step.INTERVAL_FOURFOLD,
        Step.INTERVAL_EIGHTFOLD,
    ]
    assert taken == [tuple(order[:number]) for number in range(6)] + [tuple(order)]
    for report in reports:
        assert report.by_state[State.ESTABLISHED] == 2 * PAIRS
        assert report.by_state[State.TIME_WAIT] == WAITING
        assert report.total == 2 * PAIRS + WAITING + 1
    results = {outcome.code: outcome.result for outcome in reports[-1].outcomes}
    assert results["dead_peer"] is results["port_exhaustion"] is results["time_wait_buildup"] is Result.NO_DATA
    assert results["close_wait_leak"] is Result.CLEAN


class Measuring(NetlinkSocket):
    """Counts what the kernel sends."""

    received = 0

    def recv_into(self, buffer: memoryview) -> tuple[int, int]:
        size, sender = super().recv_into(buffer)
        Measuring.received += size
        return size, sender


def transferred(asks: Asks) -> int:
    Measuring.received = 0
    dump_sockets(asks, Measuring)
    return Measuring.received


def test_the_kernel_does_not_send_what_is_left_out() -> None:
    whole = Asks(states=frozenset({State.ESTABLISHED, State.CLOSE_WAIT}), details=frozenset({"last_ack_recv"}))
    with PrivateNetns() as netns:
        netns.run(connect_many)
        every, no_time_wait, neither = (
            netns.run(transferred, replace(whole, unread=frozenset(unread)))
            for unread in ((), {State.TIME_WAIT}, COUNTED_BY_KERNEL)
        )
    assert every - no_time_wait >= WAITING * 72
    assert neither < every / 100
