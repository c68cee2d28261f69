"""Namespaces that come and go while somebody looks, and none that a look keeps."""

import ctypes
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from box import until
from netns import CLONE_NEWNET, PrivateNetns, keep
from sockwatch.clock import SystemClock
from sockwatch.collect import namespaces
from sockwatch.collect.live import LiveSource
from sockwatch.collect.namespaces import Place, own_inode, visit
from sockwatch.diagnose.registry import load_detectors
from sockwatch.errors import DumpError
from sockwatch.lab.namespace import exit_now
from sockwatch.model.snapshot import Asks
from veth import join

ROUNDS = 1000
LOOKS = 50
ASKS = Asks.union(detector.asks for detector in load_detectors().values())


def listen(address: str = "127.0.0.1", port: int = 0) -> None:
    keep(socket.create_server((address, port)))


def come_and_go(connection: Any) -> None:
    """A process that leaves each namespace for a new one, some times for each look."""
    libc = ctypes.CDLL(None)
    for look in range(LOOKS):
        for _ in range(ROUNDS // LOOKS):
            libc.unshare(CLONE_NEWNET)
            socket.socket().bind(("0.0.0.0", 0))  # noqa: S104 - in a namespace without interfaces
        connection.send((look, own_inode()))
        connection.recv()


def race() -> dict[str, Any]:
    """Look while namespaces come and go."""
    from multiprocessing import Pipe  # noqa: PLC0415 - in the child

    mine, theirs = Pipe()
    pid = os.fork()
    if not pid:
        try:
            come_and_go(theirs)
        finally:
            exit_now()
    source = LiveSource(clock=SystemClock(), netns="all")
    home, seen, last = own_inode(), set(), 0
    wrong: list[object] = []
    for number in range(LOOKS):
        snapshot = source.look(Asks())
        names = [namespace.name for namespace in snapshot.namespaces]
        wrong += [n for n in snapshot.namespaces if n.name.startswith("net:[") and n.name != f"net:[{n.inode}]"]
        wrong += [gap for gap in snapshot.gaps if gap.fatal]
        if len(set(names)) < len(names) or snapshot.namespaces[0].inode != home or own_inode() != home:
            wrong.append(names)
        look, last = mine.recv()
        wrong += [] if look == number else [look]
        if number % 5 == 0:  # the one that it is in stays
            seen |= {n.cookie for n in source.look(Asks()).namespaces if n.inode == last}
        mine.send(None)
    os.waitpid(pid, 0)
    fds = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {
        "wrong": wrong,
        "namespaces": len(seen),
        "still": [n.name for n in source.look(Asks()).namespaces if n.inode == last],
        "fds": [link for link in fds if link.startswith("net:")],
        "threads": threading.active_count(),
    }


def test_namespaces_that_come_and_go_while_somebody_looks_are_no_error_and_are_not_kept() -> None:
    with PrivateNetns() as netns:
        assert netns.run(race) == {
            "wrong": [],
            "namespaces": LOOKS // 5,
            "still": [],
            "fds": [],
            "threads": 1,
        }


def look_at_a_veth() -> None:
    """A namespace that is joined to ours is looked at, then its process ends: our end of the veth goes with it."""
    with PrivateNetns() as netns:
        join(os.getpid(), netns.pid)
        netns.run(listen)
        source = LiveSource(clock=SystemClock(), netns="all")
        for _ in range(3):
            assert netns.path.stat().st_ino in {n.inode for n in source.look(ASKS).namespaces}
    devices = Path("/proc/thread-self/net/dev")
    until(lambda: f"v{os.getpid()}" not in devices.read_text(), what="the namespace that was looked at is gone")


def test_a_namespace_that_was_looked_at_is_not_kept() -> None:
    with PrivateNetns() as netns:
        netns.run(look_at_a_veth)


def test_a_caller_that_is_elsewhere_afterwards_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "own_inode", iter([1, 2]).__next__)
    with pytest.raises(DumpError, match="in another network namespace than before"):
        visit([], lambda _place: None)


def test_places_are_visited_by_a_thread_that_ends() -> None:
    with PrivateNetns() as netns:
        assert netns.run(visit_and_tell) == (True, True)


def visit_and_tell() -> tuple[bool, bool]:
    with PrivateNetns() as one, PrivateNetns() as two:
        places = [Place(inode=netns.path.stat().st_ino, name="x", paths=(str(netns.path),)) for netns in (one, two)]
        home, seen, threads = own_inode(), [], set()

        def note(_place: Place | None = None) -> None:
            seen.append(own_inode())
            threads.add(threading.get_ident())

        visit(places, note, first=note)
        inside = seen == [home, *(place.inode for place in places)] and own_inode() == home
        return inside, len(threads) == 1 and threading.get_ident() not in threads and threading.active_count() == 1
