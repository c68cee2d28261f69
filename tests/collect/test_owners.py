import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import builders
from fake_proc import ManualClock, suspects
from sockwatch.clock import SystemClock
from sockwatch.collect import owners
from sockwatch.collect.owners import OwnerFinder
from sockwatch.model.snapshot import Owners
from sockwatch.model.sockets import SocketTable

COUNT = 23
NOBODYS = 0xFFFF_FFF0
"""An inode that no socket has: the kernel numbers them from 1 on."""
WAIT = "import sys; print(flush=True); sys.stdin.read()"
RECEIVE = """
import os, socket, sys
channel = socket.socket(fileno=int(sys.argv[1]))
_, fds, _, _ = socket.recv_fds(channel, 1, 23)
print(len(fds), flush=True)
sys.stdin.read()
"""
AS_NOBODY = """
import json, os, psutil, socket, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[1])
import builders
from sockwatch.clock import SystemClock
from sockwatch.collect.owners import OwnerFinder
from sockwatch.collect.walk import SWEEP_SHARE
from sockwatch.model.state import State
"\\n".encode("unicode_escape")  # loaded while the standard library can be read
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
refused, kernel = 0, 0
for pid in psutil.pids():
    try:
        os.listdir(f"/proc/{pid}/fd")
    except PermissionError:
        refused += 1
        kernel += pid == 2 or os.path.exists(f"/proc/{pid}/stat") and psutil.Process(pid).ppid() == 2
    except FileNotFoundError:
        pass
mine = socket.socket()
inodes = [os.fstat(mine.fileno()).st_ino, *map(int, sys.argv[2:])]
rows = [builders.socket(State.CLOSE_WAIT, "127.0.0.1:1", "127.0.0.1:2", inode=i) for i in inodes]
owners, gaps = OwnerFinder(clock=SystemClock(), budget=60).find(builders.table(rows))
print(json.dumps({
    "holders": [p.pid for p in owners.processes], "known": owners.inodes.tolist() == inodes[:1],
    "gaps": [[g.what, g.why, g.count] for g in gaps], "pid": os.getpid(), "refused": refused, "kernel": kernel,
}))
"""


class HastyClock(ManualClock):
    """A second passes at each look."""

    def monotonic(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def finder() -> OwnerFinder:
    return OwnerFinder(clock=SystemClock(), budget=60)


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Real sockets of this process, neither bound nor connected."""
    opened = [socket.socket() for _ in range(COUNT)]
    yield opened
    for each in opened:
        each.close()


def inode(of: socket.socket) -> int:
    return os.fstat(of.fileno()).st_ino


@contextmanager
def child(code: str, *arguments: str, fds: Sequence[int] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that has said something and now waits."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, pass_fds=fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def pids(found: Owners, of: SocketTable) -> list[int]:
    return [process.pid for process in found.holders(of)]


def test_every_socket_has_its_holder(finder: OwnerFinder, sockets: list[socket.socket]) -> None:
    table = suspects(*map(inode, sockets))
    found, gaps = finder.find(table)
    assert found.of(table).tolist() == [0] * COUNT
    assert [process.pid for process in found.processes] == [os.getpid()]
    assert found.processes[0].started == psutil.Process().create_time()
    assert (found.inodes.tolist(), dict(found.others), gaps) == (sorted(map(inode, sockets)), {}, ())


def test_a_socket_of_several_processes_has_every_one_of_them_the_oldest_first(
    finder: OwnerFinder, sockets: list[socket.socket]
) -> None:
    shared = sockets[:3]
    with child(WAIT, fds=[s.fileno() for s in shared]) as older, child(WAIT, fds=[shared[0].fileno()]) as younger:
        found, gaps = finder.find(suspects(*map(inode, sockets)))
        by_age = [os.getpid(), older.pid, younger.pid]
    assert [process.pid for process in found.processes] == by_age
    assert set(found.first.tolist()) == {0}
    assert found.others == {inode(shared[0]): (1, 2), inode(shared[1]): (1,), inode(shared[2]): (1,)}
    assert pids(found, suspects(inode(shared[1]))) == by_age[:2]
    assert gaps == ()


def test_sockets_that_were_handed_over_belong_to_the_process_that_has_them_now(finder: OwnerFinder) -> None:
    ours, theirs = socket.socketpair()
    sent = [socket.socket() for _ in range(COUNT)]
    table = suspects(*map(inode, sent))
    socket.send_fds(ours, [b"x"], [each.fileno() for each in sent])
    for each in sent:
        each.close()
    with ours, theirs, child(RECEIVE, str(theirs.fileno()), fds=[theirs.fileno()]) as receiver:
        found, gaps = finder.find(table)
        assert pids(found, table) == [receiver.pid]
    assert gaps == ()


def test_several_descriptors_of_one_process_are_one_holder(finder: OwnerFinder, sockets: list[socket.socket]) -> None:
    copies = [sockets[0].dup() for _ in range(COUNT)]
    found, _ = finder.find(suspects(inode(sockets[0])))
    for copy in copies:
        copy.close()
    assert (found.inodes.tolist(), found.first.tolist(), dict(found.others)) == ([inode(sockets[0])], [0], {})


def test_a_thread_is_no_holder_of_its_own(finder: OwnerFinder) -> None:
    opened: list[socket.socket] = []
    asked, done = threading.Event(), threading.Event()

    def open_and_stay() -> None:
        opened.append(socket.socket())
        asked.set()
        done.wait(60)

    thread = threading.Thread(target=open_and_stay)
    thread.start()
    asked.wait(60)
    with opened[0] as only:
        found, _ = finder.find(suspects(inode(only)))
    done.set()
    thread.join()
    assert [process.pid for process in found.processes] == [os.getpid()]


def test_a_socket_without_an_inode_has_no_holder_and_is_no_gap() -> None:
    finder = OwnerFinder(clock=SystemClock(), proc=Path("/nonexistent"))
    found, gaps = finder.find(suspects(0, 0, 0))
    assert (found.processes, gaps) == ((), ())
    assert finder.find(SocketTable.empty())[1] == ()


def test_without_proc_the_gap_says_so() -> None:
    found, gaps = OwnerFinder(clock=SystemClock(), proc=Path("/nonexistent")).find(suspects(7))
    assert found.processes == ()
    assert [(gap.what, gap.why) for gap in gaps] == [("owners", "/nonexistent: No such file or directory")]


def test_an_ordinary_user_sees_his_own_and_is_told_how_many_processes_he_may_not_see(
    sockets: list[socket.socket],
) -> None:
    paths = json.dumps([str(Path(builders.__file__).parent), str(Path(owners.__file__).parents[2])])
    theirs = inode(sockets[0]) if os.geteuid() == 0 else NOBODYS
    output = subprocess.check_output([sys.executable, "-c", AS_NOBODY, paths, str(theirs)], text=True)
    seen = json.loads(output)
    assert (seen["holders"], seen["known"]) == ([seen["pid"]], True)
    [[what, why, count]] = seen["gaps"]
    assert what == "owners"
    assert why.startswith(f"{count} process")
    assert why.endswith(": no permission to read their file descriptors (CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH)")
    # Others start and end processes meanwhile; the kernel's own threads have no files that anybody could miss.
    assert abs(count - (seen["refused"] - seen["kernel"])) < 10


def test_when_the_time_is_over_the_gap_says_how_many_were_not_reached(sockets: list[socket.socket]) -> None:
    found, gaps = OwnerFinder(clock=HastyClock(), budget=0.5).find(suspects(*map(inode, sockets)))
    assert found.processes == ()
    assert any("not read within 0.5 s" in gap.why for gap in gaps if gap.count > 0)


def test_more_than_can_be_kept_is_a_gap(sockets: list[socket.socket]) -> None:
    found, gaps = OwnerFinder(clock=SystemClock(), budget=60, capacity=8).find(suspects(*map(inode, sockets)))
    assert 4 <= len(found.inodes) <= 8, "at least half of the room is for what was asked"
    assert f"{COUNT - len(found.inodes)} open sockets: more than the 8 that are kept" in [gap.why for gap in gaps]


def test_a_remembered_holder_is_believed_only_while_it_has_the_socket(sockets: list[socket.socket]) -> None:
    finder = OwnerFinder(clock=ManualClock())
    table = suspects(*map(inode, sockets))
    first, _ = finder.find(table)
    closed = sockets[5]
    old, number = inode(closed), closed.fileno()
    closed.close()
    sockets[5] = socket.socket()
    assert sockets[5].fileno() == number
    second, gaps = finder.find(table)
    assert first.inodes.tolist() == sorted([old, *second.inodes.tolist()])
    assert gaps


def test_a_process_that_inherited_a_socket_since_the_last_look_is_seen_at_once(sockets: list[socket.socket]) -> None:
    finder = OwnerFinder(clock=ManualClock())
    table = suspects(*map(inode, sockets))
    finder.find(table)
    with child(WAIT, fds=[sockets[0].fileno()]) as younger:
        assert pids(finder.find(table)[0], table) == [os.getpid(), younger.pid]


def test_a_holder_that_ended_is_nobody_and_its_other_holders_remain(sockets: list[socket.socket]) -> None:
    finder = OwnerFinder(clock=ManualClock())
    table = suspects(*map(inode, sockets))
    with child(WAIT, fds=[sockets[0].fileno()]) as younger:
        assert pids(finder.find(table)[0], table) == [os.getpid(), younger.pid]
    found, gaps = finder.find(table)
    assert (pids(found, table), dict(found.others), gaps) == ([os.getpid()], {}, ())


@pytest.mark.parametrize("looks", [1, 2, 3, 5, 23])
def test_a_holder_may_end_at_any_moment_of_the_walk(looks: int, sockets: list[socket.socket]) -> None:
    """The clock is what the walk looks at between processes: here it ends one of them."""
    only = socket.socket()
    table = suspects(inode(only), *map(inode, sockets))

    class DeadlyClock(ManualClock):
        left = looks

        def monotonic(self) -> float:
            self.left -= 1
            if not self.left:
                holder.kill()
                holder.wait()
            return self.now

    with child(WAIT, fds=[only.fileno()]) as holder:
        only.close()
        found, _ = OwnerFinder(clock=DeadlyClock()).find(table)
    assert set(pids(found, table)) - {holder.pid} == {os.getpid()}
    assert set(map(inode, sockets)) <= set(found.inodes.tolist())
