"""Run as a program: reads every socket of this namespace in turns with two others, prints seconds of CPU time as JSON.

`drain` asks the kernel for the same dump, receives it into a buffer as large and drops it: what the kernel alone takes.
`ss` is `ss -Htan`, start of the program included. `dump` makes columns and counts by state, port and peer. `judge` is
all that diagnosis does with a look that has what `sockwatch check` asks for. `render` is what the daemon does besides
at each poll, for its metrics.
"""

import json
import resource
import secrets
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sockwatch.clock import SystemClock
from sockwatch.collect.dump import dump_sockets
from sockwatch.collect.live import LiveSource
from sockwatch.diagnose.holders import Holders
from sockwatch.diagnose.registry import load_detectors
from sockwatch.diagnose.run import diagnose, find_follow_up
from sockwatch.diagnose.watch import watch
from sockwatch.diagnose.window import Window
from sockwatch.export.metrics.page import render
from sockwatch.model.grouping import group
from sockwatch.model.poll import Poll
from sockwatch.model.settings import MetricsSettings
from sockwatch.model.snapshot import Asks, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.pipeline import Pipeline

BUFFER_BYTES = 4 << 20
NETLINK_SOCK_DIAG = 4
TCPDIAG_GETSOCK = 18
NLM_F_REQUEST_DUMP = 0x301
NLMSG_DONE = 3
DONE_BYTES = 20
STATES = sum(1 << state for state in range(1, 14))
BUFFER = memoryview(bytearray(BUFFER_BYTES))


def drain() -> int:
    """Receive what dump() receives, in one walk over both families, and drop it; how many bytes that were."""
    received = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        question = struct.pack("=BBBB48xI4x", socket.AF_UNSPEC, 0, 0, 0, STATES)
        header = struct.pack("=IHHII", 16 + len(question), TCPDIAG_GETSOCK, NLM_F_REQUEST_DUMP, secrets.randbits(32), 0)
        kernel.send(header + question)
        last = (0, 0)
        while last != (DONE_BYTES, NLMSG_DONE):
            size = kernel.recv_into(BUFFER)
            last = struct.unpack_from("=IH", BUFFER, size - DONE_BYTES)
            received += size
    return received


def dump() -> SocketTable:
    """Read every socket and count by state, by local port, and by peer."""
    sockets = dump_sockets(Asks()).sockets
    sockets.count_by_state()
    group(sockets.sport)
    group(sockets.dst_hi, sockets.dst_lo, sockets.dport)
    return sockets


def judge(look: Snapshot) -> None:
    """Let every detector choose its suspects, and then judge."""
    window = Window(current=look)
    find_follow_up(window, load_detectors())
    diagnose(window, load_detectors())


def first_poll() -> tuple[Poll, Snapshot]:
    """What the daemon has after its first look, holders included."""
    clock = SystemClock()
    pipeline = Pipeline(LiveSource(clock=clock), load_detectors(), clock, watching=True)
    began = clock.monotonic()
    report, look = pipeline.step(), pipeline.snapshot
    if look is None:
        raise SystemExit("no look")
    ended = clock.monotonic()
    poll = Poll(number=1, time=report.time, monotonic=began, ended=ended, interval=10.0, report=report, snapshot=look)
    return poll, look


def render_metrics(poll: Poll, look: Snapshot) -> None:
    """Infer what is worth watching, believe the holders of the first look, and render the page in all its forms."""
    watch(Window(current=look))
    complete = Holders.seen_in(look).complete(look)
    render(replace(poll, snapshot=complete), MetricsSettings())


def run_ss() -> None:
    """`ss -Htan` into nothing."""
    subprocess.run(["ss", "-Htan"], stdout=subprocess.DEVNULL, check=True)


def cpu_seconds() -> float:
    """CPU time so far, user and system, of this process and of the children that ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def seconds(do: Callable[[], object]) -> float:
    """How much CPU time it takes."""
    start = cpu_seconds()
    do()
    return cpu_seconds() - start


def main() -> None:
    """`python -m bench.dump ROUNDS SOCKETS`."""
    rounds, expected = int(sys.argv[1]), int(sys.argv[2])
    seen = len(dump())
    if seen != expected:
        raise SystemExit(f"{seen} sockets in the dump, {expected} were opened")
    asks = Asks.union(detector.asks for detector in load_detectors().values())
    look = LiveSource(clock=SystemClock()).look(asks)
    ways: dict[str, Callable[[], object]] = {
        "drain": drain,
        "dump": dump,
        "ss": run_ss,
        "judge": partial(judge, look),
        "render": partial(render_metrics, *first_poll()),
    }
    turns = []
    for turn in range(rounds):
        names = list(ways)[:: -1 if turn % 2 else 1]  # each comes after each: the kernel's tables stay in the cache
        turns.append({name: seconds(ways[name]) for name in names})
    json.dump(turns, sys.stdout)


if __name__ == "__main__":
    main()
