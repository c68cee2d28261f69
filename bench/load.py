"""Many real TCP sockets in this network namespace, held by as many processes as the file limit makes necessary."""

import os
import resource
import signal
import socket
from typing import NoReturn, Self

from sockwatch.lab.namespace import die_with_parent

IP_BIND_ADDRESS_NO_PORT = 24  # Linux 4.2; socket.IP_BIND_ADDRESS_NO_PORT is Python 3.12
FIRST_PORT = 9000
PEERS = 250
SPARE_FILES = 64
MOST_FILES = 20_000


class Load:
    """A context manager; `grow(n)` returns when exactly n sockets exist. Needs a single-threaded caller: it forks.

    Each process connects to a listener of its own, most of them over IPv4 from 250 addresses, every fourth over ::1.
    """

    def __init__(self) -> None:
        _, self._files = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._files = min(self._files, MOST_FILES)
        self._pids: list[int] = []
        self._sockets = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self._pids:
            os.waitpid(pid, 0)

    def grow(self, sockets: int) -> None:
        """Open sockets until there are this many. Raises OSError if a process cannot open its share."""
        ready, done = os.pipe()
        started = 0
        while self._sockets < sockets:
            share = min(self._files - SPARE_FILES, sockets - self._sockets)
            self._start(share, done)
            self._sockets += share
            started += 1
        os.close(done)
        with os.fdopen(ready, "rb") as answers:
            said = answers.read(started)
        if len(said) < started:
            raise OSError(f"{started - len(said)} of {started} processes could not open their sockets")

    def _start(self, share: int, done: int) -> None:
        number, parent = len(self._pids), os.getpid()
        pid = os.fork()
        if not pid:
            _hold(number, parent, share, done)
        self._pids.append(pid)


def _hold(number: int, parent: int, share: int, done: int) -> NoReturn:
    """The child: opens `share` sockets, says so, and waits to be ended."""
    try:
        die_with_parent(parent, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_NOFILE, (share + SPARE_FILES,) * 2)
        held = _open(number, share)
        if len(held) == share:
            os.write(done, b".")
            os.close(done)
            signal.pause()
    finally:
        os._exit(1)


def _open(number: int, share: int) -> list[socket.socket]:
    family, address = (socket.AF_INET6, "::1") if number % 4 == 3 else (socket.AF_INET, f"127.1.{number}.1")
    port = FIRST_PORT + 2 * number
    listener = socket.create_server((address, port), family=family, backlog=16)
    held = [listener]
    for i in range((share - 1) // 2):
        client = socket.socket(family)
        if family is socket.AF_INET:
            client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            client.bind((f"127.2.{number}.{1 + i % PEERS}", 0))
        client.connect((address, port))
        held += [client, listener.accept()[0]]
    if len(held) < share:
        held.append(socket.create_server((address, port + 1), family=family))
    return held
