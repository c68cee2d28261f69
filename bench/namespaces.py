"""Run as a program: looks into many idle network namespaces, in turns with full dumps of them; prints CPU seconds.

Each namespace has a process of its own, as a pod has. A third of them has nothing, a third a listener, and a third a
listener whose last connections are gone. `poll` is a look of the daemon, with what it remembers of the looks before,
`first` the look of a new process, `full` everything that is read of a namespace that is not idle, `dump` its TCP
sockets alone. All see the same sockets.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Self

from bench.dump import seconds
from sockwatch.clock import SystemClock
from sockwatch.collect.counters import read_counters
from sockwatch.collect.dump import dump_sockets
from sockwatch.collect.live import LiveSource
from sockwatch.collect.mptcp import read_mptcp
from sockwatch.collect.namespaces import Place, visit
from sockwatch.collect.netns_listing import NamespaceLister
from sockwatch.collect.sysctls import read_sysctls
from sockwatch.collect.udp import read_udp
from sockwatch.diagnose.registry import load_detectors
from sockwatch.lab.namespace import die_with_parent, enter_private_network, write_sysctl
from sockwatch.model.snapshot import Asks

PROC = Path("/proc")
PORT = 80
ASKS = Asks.union(detector.asks for detector in load_detectors().values())


class Pods:
    """A context manager: so many processes, each alone in a network namespace. Needs a single-threaded caller."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pids: list[int] = []

    def __enter__(self) -> Self:
        ready, done = os.pipe()
        for number in range(self._count):
            parent, pid = os.getpid(), os.fork()
            if not pid:
                _stand(number, parent, done)
            self._pids.append(pid)
        os.close(done)
        with os.fdopen(ready, "rb") as answers:
            said = answers.read(self._count)
        if len(said) < self._count:
            raise OSError(f"{self._count - len(said)} of {self._count} processes could not make a namespace")
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self._pids:
            os.waitpid(pid, 0)

    @property
    def inodes(self) -> set[int]:
        """Of the namespaces."""
        return {(PROC / str(pid) / "ns" / "net").stat().st_ino for pid in self._pids}


def _stand(number: int, parent: int, done: int) -> NoReturn:
    """The child: sets up its namespace, says so, and waits to be ended."""
    with suppress(BaseException):
        die_with_parent(parent, signal.SIGKILL)
        enter_private_network()
        listener = socket.create_server(("127.0.0.1", PORT))
        if number % 3 == 0:
            listener.close()
        elif number % 3 == 1:
            write_sysctl("net.ipv4.tcp_max_tw_buckets", "0")
            socket.create_connection(("127.0.0.1", PORT)).close()
            listener.accept()[0].close()
        os.write(done, b".")
        os.close(done)
        signal.pause()
    os._exit(1)


def read_in_full(_place: Place) -> None:
    """All that is read of a namespace where anything may be."""
    dump_sockets(ASKS)
    read_udp()
    read_mptcp(read_counters(PROC)[0])
    read_sysctls(ASKS.sysctls, PROC)


def read_tcp(_place: Place) -> None:
    """The TCP sockets of a namespace."""
    dump_sockets(ASKS)


def main() -> None:
    """`python -m bench.namespaces ROUNDS NAMESPACES`."""
    rounds, count = int(sys.argv[1]), int(sys.argv[2])
    clock = SystemClock()
    with Pods(count) as pods:
        inodes = pods.inodes
        source = LiveSource(clock=clock, netns="all")
        places = [place for place in NamespaceLister(clock=clock).find().places if place.inode in inodes]
        sockets: list[int] = []
        visit(places, lambda _place: sockets.append(len(dump_sockets(ASKS).sockets)))
        expected = sum(number % 3 > 0 for number in range(count))
        for _ in range(2):
            look = source.look(ASKS)
            numbers = [number for number, namespace in enumerate(look.namespaces) if namespace.inode in inodes]
            seen = sum(int((look.sockets.netns == number).sum()) for number in numbers)
            if not (len(numbers) == len(places) == count and seen == sum(sockets) == expected):
                raise SystemExit(f"{seen} sockets in a look, {sum(sockets)} in full dumps, {expected} were opened")
        ways = {
            "poll": lambda: source.look(ASKS),
            "first": lambda: LiveSource(clock=clock, netns="all").look(ASKS),
            "full": lambda: visit(places, read_in_full),
            "dump": lambda: visit(places, read_tcp),
        }
        turns = []
        for turn in range(rounds):
            names = list(ways)[:: -1 if turn % 2 else 1]
            turns.append({name: seconds(ways[name]) for name in names})
    json.dump(turns, sys.stdout)


if __name__ == "__main__":
    main()
