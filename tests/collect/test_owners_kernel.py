"""Holders among real processes: in cgroups of their own, with hostile names, appearing and vanishing meanwhile."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import builders
from sockwatch.clock import SystemClock
from sockwatch.collect.cgroup import ROOT_ID, CgroupTree
from sockwatch.collect.dump import dump_sockets
from sockwatch.collect.owners import OwnerFinder
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

ROUNDS = 1000
EACH = 10
"""Of so many processes one is looked for: a look over all of a busy host takes longer than they do."""
PROC = Path("/proc")
HOSTILE = (
    b'a\nb"} 1',
    b"\x1b[2J\x1b[H",
    b") S 1 (",
    b"\xff\xfe",
    "\u202egnp".encode(),
    b"fifteen-bytes-x",
    b"it's $(id)",
)
HOLD = """
import os, socket, sys
from pathlib import Path
if sys.argv[1]:
    Path(sys.argv[1], "cgroup.procs").write_text("0")
listener = socket.create_server(("127.0.0.1", 0))
clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
accepted = [listener.accept()[0] for _ in clients]
print(*(os.fstat(each.fileno()).st_ino for each in (listener, *clients, *accepted)), flush=True)
sys.stdin.read()
"""
CHURN = """
import ctypes, os, socket, sys
ctypes.CDLL(None).prctl(15, b"churner")
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if not child:
        own = socket.socket()
        ctypes.CDLL(None).prctl(15, b"owns-%d" % os.fstat(own.fileno()).st_ino)
        os.write(1, b"%d\\n" % os.fstat(own.fileno()).st_ino)
        sys.stdin.buffer.raw.read(1)
        os._exit(0)
    os.waitpid(child, 0)
"""
END_MAIN_THREAD = """
import ctypes, os, socket, sys, threading
only = socket.socket()
print(os.fstat(only.fileno()).st_ino, flush=True)
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).pthread_exit(None)
"""
OPEN_ONE_MORE = """
import signal, socket, sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text("0")
opened = []
signal.signal(signal.SIGUSR1, lambda *_: opened.append(socket.socket()))
print(flush=True)
sys.stdin.read()
"""
RENAMED = """
import ctypes, os, socket, sys
ctypes.CDLL(None).prctl(15, bytes.fromhex(sys.argv[1]))
only = socket.socket()
print(os.fstat(only.fileno()).st_ino, flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(code: str, *arguments: bytes | str) -> Iterator[tuple[int, list[int]]]:
    """A process that holds sockets: its pid and their inodes."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.pid, list(map(int, process.stdout.readline().split()))
        process.kill()


def wait_for_sockets(pid: int) -> list[int]:
    """The inodes of the sockets that a process has, once it has some."""
    until = SystemClock().monotonic() + 60
    while SystemClock().monotonic() < until:
        links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
        if inodes := [int(link[8:-1]) for link in links if link.startswith("socket:[")]:
            return inodes
    raise TimeoutError


def suspects(*inodes: int) -> SocketTable:
    return builders.table([builders.socket(State.CLOSE_WAIT, "127.0.0.1:1", "127.0.0.1:2", inode=i) for i in inodes])


@pytest.fixture
def service() -> Iterator[Path]:
    """A real cgroup of version 2 with the name of a service."""
    tree = CgroupTree(PROC)
    tree.refresh()
    if tree.mount is None:
        pytest.skip("kernel: cgroup2 is not mounted here")
    folder = tree.mount / f"sockwatch-owners-{os.getpid()}.service"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"kernel: no cgroup can be made here: {error.strerror}")
    yield folder
    folder.rmdir()


@pytest.mark.needs_root
def test_a_socket_is_told_by_the_cgroup_in_which_it_was_created(service: Path) -> None:
    finder = OwnerFinder(clock=SystemClock(), budget=60)
    with holder(HOLD, str(service)) as (pid, inodes):
        sockets = dump_sockets(Asks()).sockets
        mine = sockets.take(np.isin(sockets.inode, inodes))
        assert len(mine) == len(inodes)
        assert set(mine.cgroup.tolist()) == {service.stat().st_ino}
        found, gaps = finder.find(mine)
        assert [(p.pid, p.unit) for p in found.processes] == [(pid, service.name)]
        assert found.cgroups[service.stat().st_ino].unit == service.name
        orphan = replace(mine, inode=np.zeros(len(mine), np.uint32))
        known, no_gaps = finder.find(orphan)
        inside = known.cgroups[service.stat().st_ino].processes
        assert [known.processes[i].pid for i in inside] == [pid]
        assert (gaps, no_gaps) == ((), ())


@pytest.mark.needs_root
def test_the_cgroup_of_a_new_socket_says_where_to_look_first(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody is known; of a socket that is new since then only those in its cgroup are read, until it is found."""
    finder = OwnerFinder(clock=SystemClock(), budget=60)
    with holder(HOLD, str(service)) as (pid, inodes), holder(OPEN_ONE_MORE, str(service)) as (second, _):
        finder.find(suspects(*inodes))
        os.kill(second, signal.SIGUSR1)
        [new] = wait_for_sockets(second)
        read: list[int] = []
        listdir = os.listdir
        folder_of = Path("/proc/self/fd")

        def spy(folder: int) -> list[str]:
            read.append(int((folder_of / str(folder)).readlink().parent.name))
            return listdir(folder)

        monkeypatch.setattr(os, "listdir", spy)
        found, _ = finder.find(replace(suspects(new), cgroup=np.array([service.stat().st_ino], np.uint64)))
    assert [p.pid for p in found.processes] == [second]
    assert second in read[:2]
    assert set(read[:2]) <= {pid, second}


def test_sockets_of_the_root_cgroup_say_nothing() -> None:
    table = suspects(0)
    finder = OwnerFinder(clock=SystemClock(), proc=Path("/nonexistent"))
    assert finder.find(replace(table, cgroup=np.array([ROOT_ID], np.uint64)))[1] == ()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_names_its_own_process_and_nothing_else(name: bytes) -> None:
    with holder(RENAMED, name.hex()) as (pid, inodes):
        found, gaps = OwnerFinder(clock=SystemClock(), budget=60).find(suspects(*inodes))
    assert [p.pid for p in found.processes] == [pid]
    assert found.processes[0].name.isprintable()
    assert found.processes[0].command is not None
    assert found.processes[0].command.isprintable()
    assert gaps == ()


def test_a_process_whose_main_thread_has_ended_still_holds_its_sockets() -> None:
    with holder(END_MAIN_THREAD) as (pid, inodes):
        until = SystemClock().monotonic() + 60
        while ") Z " not in Path(f"/proc/{pid}/stat").read_text():
            assert SystemClock().monotonic() < until
        finder = OwnerFinder(clock=SystemClock(), budget=60)
        for _ in range(2):
            found, gaps = finder.find(suspects(*inodes))
            assert ([p.pid for p in found.processes], gaps) == ([pid], ())


def test_processes_that_come_and_go_are_never_taken_for_one_another() -> None:
    """A child makes a thousand children, one after the other, each with a socket of ours and one of its own.

    The name of each says which is its own. It is looked for while it is there, and while it ends and the next comes.
    """
    finder = OwnerFinder(clock=SystemClock(), budget=60)
    mine = os.getpid()
    named = 0
    with socket.socket() as ours:
        shared = os.fstat(ours.fileno()).st_ino
        command = [sys.executable, "-c", CHURN, str(ROUNDS)]
        churner = subprocess.Popen(command, pass_fds=[ours.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with churner:
            assert churner.stdin is not None
            assert churner.stdout is not None
            for number in range(ROUNDS):
                own = int(churner.stdout.readline())
                if number % EACH == 0:
                    [holder_of_own] = finder.find(suspects(own))[0].processes
                    assert holder_of_own.name == f"owns-{own}"
                churner.stdin.write(b".")
                churner.stdin.flush()
                if number % EACH == 0:
                    table = suspects(shared, own)
                    found, _ = finder.find(table)
                    assert found.holders(table)[0].pid == mine
                    wrong = {p.name for p in found.holders(suspects(own))} - {f"owns-{own}"}
                    assert not wrong
                    named += 1
        assert churner.returncode == 0
        assert named == ROUNDS // EACH
        assert [process.pid for process in finder.find(suspects(shared))[0].processes] == [mine]
    assert finder.find(suspects(shared))[0].processes == ()
