"""Run as a program: many processes hold many sockets; seconds of CPU time to name their holders, printed as JSON.

All in a private network namespace. `first` reads every socket and names the holders of one service's, as the first look
of a check does; `all` names those of all of them, with name, command line, user and cgroup. `pids` gives no more than
the pid of each holder, as `psutil` does, psutil.net_connections(). `walk` is the part of `first` that is not reading
the sockets, `steady` what the next look takes for the same when nothing changed, `new` when the service has opened a
socket since. `ss` and `lsof` are whole programs, their start included.
"""

import json
import math
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

import numpy as np
import psutil

from bench.dump import seconds
from sockwatch.clock import SystemClock
from sockwatch.collect.dump import dump_sockets
from sockwatch.collect.owners import OwnerFinder
from sockwatch.collect.walk import Walk
from sockwatch.lab.namespace import die_with_parent, enter_private_network
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_PORT = 9000
SERVICE = 5
"""Processes whose sockets are the suspects: one of a hundred."""
LOOKS = 10
"""Looks of which the mean is taken: one takes too little for the clock, and the sweep takes turns."""
SS = ("ss", "-Htanp")
LSOF = ("lsof", "-nP", "-iTCP")


def hold(number: int, each: int, ready: int) -> NoReturn:
    """The child: a listener and connections to it, so many sockets; it opens one more at each SIGUSR1."""
    try:
        listener = socket.create_server(("127.0.0.1", FIRST_PORT + number), backlog=each)
        held = [listener]
        while len(held) + 1 < each:
            held += [socket.create_connection(listener.getsockname()), listener.accept()[0]]
        if len(held) < each:
            held.append(socket.create_server(("127.0.0.1", FIRST_PORT + 20_000 + number)))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        os.write(ready, b".")
        while signal.sigwait([signal.SIGUSR1]):
            held.append(socket.create_server(("127.0.0.1", 0)))
            os.write(ready, b".")
    finally:
        os._exit(1)


class Processes:
    """A context manager with many processes that hold sockets; single-threaded callers only: it forks."""

    def __init__(self, processes: int, sockets: int) -> None:
        self._each = sockets // processes
        self.pids: list[int] = []
        self._ready, done = os.pipe()
        parent = os.getpid()
        for number in range(processes):
            pid = os.fork()
            if not pid:
                die_with_parent(parent, signal.SIGKILL)
                hold(number, self._each, done)
            self.pids.append(pid)
        self.wait(processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self.pids:
            os.waitpid(pid, 0)

    def open_one_more(self, pid: int) -> None:
        """In this process."""
        os.kill(pid, signal.SIGUSR1)
        self.wait(1)

    def wait(self, answers: int) -> None:
        """Until so many have said that they are done."""
        while answers:
            answers -= len(os.read(self._ready, answers))


def read() -> SocketTable:
    """Every socket of this namespace."""
    return dump_sockets(Asks()).sockets


def finder() -> OwnerFinder:
    """One that has seen nothing yet, and takes its time."""
    return OwnerFinder(clock=SystemClock(), budget=60)


def name_service(service: SocketTable) -> None:
    """As a first look that suspects the sockets of one service."""
    read()
    finder().find(service)


def name_all() -> None:
    """As a first look that suspects every socket."""
    sockets = read()
    owners, gaps = finder().find(sockets)
    if gaps or len(owners.inodes) != len(sockets):
        raise SystemExit(f"{len(owners.inodes)} of {len(sockets)} sockets have a known holder: {gaps}")


def give_pids() -> None:
    """The pid of every holder of every socket, as psutil does."""
    wanted = np.unique(read().inode)
    walk, now = Walk(Path("/proc")), SystemClock().monotonic
    walk.begin(wanted, now, math.inf)
    walk.go(wanted, set(wanted.tolist()), (), now, math.inf)
    inodes, _ = walk.holders_of(wanted)
    if len(np.unique(inodes)) != len(wanted):
        raise SystemExit(f"{len(np.unique(inodes))} of {len(wanted)} sockets have a known holder")


def run(command: tuple[str, ...]) -> None:
    """A program, into nothing."""
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def look_on(known: OwnerFinder, suspects: SocketTable) -> None:
    """So many looks at which nothing changed."""
    for _ in range(LOOKS):
        known.find(suspects)


def measure(processes: Processes, pid: int, service: SocketTable) -> dict[str, float]:
    """One turn."""
    known = finder()
    ways: dict[str, Callable[[], object]] = {
        "first": partial(name_service, service),
        "all": name_all,
        "pids": give_pids,
        "psutil": partial(psutil.net_connections, "tcp"),
        "ss": partial(run, SS),
        "lsof": partial(run, LSOF),
        "walk": partial(known.find, service),
    }
    turn = {name: seconds(do) for name, do in ways.items()}
    known.find(service)
    turn["steady"] = seconds(partial(look_on, known, service)) / LOOKS
    before = read().cookie
    processes.open_one_more(pid)
    now = read()
    with_new = SocketTable.concatenate([service, now.take(~np.isin(now.cookie, before))])
    turn["new"] = seconds(partial(known.find, with_new))
    return turn


def main() -> None:
    """`python -m bench.owners ROUNDS PROCESSES SOCKETS`."""
    rounds, processes, sockets = map(int, sys.argv[1:])
    enter_private_network()
    with Processes(processes, sockets) as there:
        found = read()
        if len(found) != sockets:
            raise SystemExit(f"{len(found)} sockets in the dump, {sockets} were opened")
        name_all()  # what is imported late, and the kernel's entries of /proc
        owners, _ = finder().find(found)
        suspects = {process.pid for process in owners.processes[:SERVICE]}
        holders = np.array([process.pid in suspects for process in owners.processes])
        service = found.take(holders[owners.of(found)])
        turns = [measure(there, min(suspects), service) for _ in range(rounds)]
    json.dump(turns, sys.stdout)


if __name__ == "__main__":
    main()
