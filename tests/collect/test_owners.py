import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

import builders
from sockwatch.clock import SystemClock
from sockwatch.collect import owners
from sockwatch.collect.owners import OwnerFinder
from sockwatch.collect.walk import SWEEP_SHARE
from sockwatch.model.snapshot import Gap, Owners
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

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


class ManualClock(SystemClock):
    """Stands still until it is told."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class HastyClock(ManualClock):
    """A second passes at each look."""

    def monotonic(self) -> float:
        self.now += 1
        return self.now


class SlowClock(ManualClock):
    """A thirtieth of a second passes at each look."""

    def monotonic(self) -> float:
        self.now += 1 / 30
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


def suspects(*inodes: int) -> SocketTable:
    return builders.table([builders.socket(State.CLOSE_WAIT, "127.0.0.1:1", "127.0.0.1:2", inode=i) for i in inodes])


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


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc where pids can be used again at will."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", "/proc")
    (tmp_path / "stat").write_text("btime 1700000000\n")
    return tmp_path


def put_process(proc: Path, pid: int, name: str, *, ticks: int, inodes: Sequence[int]) -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True, exist_ok=True)
    # The fields of proc_pid_stat(5) from the third on; the start time is the 22nd.
    (folder / "stat").write_text(f"{pid} ({name}) S {' '.join(['1'] * 18)} {ticks} {' '.join(['0'] * 30)}\n")
    for empty in ("status", "cmdline", "cgroup", "limits"):
        (folder / empty).touch()
    for link in (folder / "fd").iterdir():
        link.unlink()
    for number, each in enumerate(inodes):
        (folder / "fd" / str(number)).symlink_to(f"socket:[{each}]")


def test_sockets_that_nobody_has_are_a_gap(proc: Path) -> None:
    put_process(proc, 10, "app", ticks=100, inodes=[7])
    found, gaps = OwnerFinder(clock=ManualClock(), proc=proc).find(suspects(7, 8, 9))
    assert found.inodes.tolist() == [7]
    assert [(gap.what, gap.why.partition(" (")[0], gap.count, gap.fatal) for gap in gaps] == [
        ("owners", "2 sockets: nobody seen has them", 2, False)
    ]


def test_a_reused_pid_with_the_same_descriptor_and_inode_is_another_process(proc: Path) -> None:
    finder = OwnerFinder(clock=ManualClock(), proc=proc)
    put_process(proc, 10, "first", ticks=100, inodes=[7])
    put_process(proc, 11, "parent", ticks=50, inodes=[7])
    table = suspects(7)
    assert [p.name for p in finder.find(table)[0].holders(table)] == ["parent", "first"]
    put_process(proc, 10, "second", ticks=101, inodes=[7])
    assert [p.name for p in finder.find(table)[0].holders(table)] == ["parent", "second"]


def test_a_pid_is_no_measure_of_age(proc: Path) -> None:
    put_process(proc, 10, "young", ticks=200, inodes=[7])
    put_process(proc, 400, "old", ticks=100, inodes=[7])
    table = suspects(7)
    found, _ = OwnerFinder(clock=ManualClock(), proc=proc).find(table)
    assert [(p.name, p.started) for p in found.processes] == [
        (name, 1_700_000_000 + ticks / os.sysconf("SC_CLK_TCK")) for name, ticks in (("old", 100), ("young", 200))
    ]


def test_who_a_process_is_does_not_change_when_the_clock_of_the_host_is_set(proc: Path) -> None:
    finder = OwnerFinder(clock=ManualClock(), proc=proc)
    put_process(proc, 10, "app", ticks=100, inodes=[7])
    first, _ = finder.find(suspects(7))
    (proc / "stat").write_text("btime 1700000001\n")
    second, _ = finder.find(suspects(7))
    assert first.processes == second.processes


def test_the_walk_remembers_sockets_that_nobody_asked_about_yet(proc: Path) -> None:
    finder = OwnerFinder(clock=ManualClock(), proc=proc)
    put_process(proc, 10, "app", ticks=100, inodes=[7, 8])
    put_process(proc, 11, "other", ticks=200, inodes=[])
    finder.find(suspects(7))
    put_process(proc, 11, "other", ticks=200, inodes=[8])
    found, _ = finder.find(suspects(8))
    assert [p.name for p in found.processes] == ["app"], "a walk would have seen the other"


def test_what_was_passed_to_a_process_that_is_known_is_seen_when_the_sweep_comes_by(proc: Path) -> None:
    finder = OwnerFinder(clock=ManualClock(), proc=proc)
    for pid in range(10, 33):
        put_process(proc, pid, f"app{pid}", ticks=pid, inodes=[pid])
    table = suspects(10)
    finder.find(table)
    put_process(proc, 32, "app32", ticks=32, inodes=[10])
    seen = [[p.pid for p in finder.find(table)[0].processes] for _ in range(int(1 / SWEEP_SHARE) + 2)]
    assert (seen[0], seen[-1]) == ([10], [10, 32])


def test_a_process_with_most_of_the_files_gets_its_turn_in_the_sweep(proc: Path) -> None:
    finder = OwnerFinder(clock=ManualClock(), proc=proc)
    put_process(proc, 10, "app", ticks=10, inodes=[7])
    put_process(proc, 11, "large", ticks=11, inodes=range(100, 1000))
    table = suspects(7)
    finder.find(table)
    put_process(proc, 11, "large", ticks=11, inodes=range(7, 907))
    seen = [[p.pid for p in finder.find(table)[0].processes] for _ in range(2 * int(1 / SWEEP_SHARE) + 2)]
    assert (seen[0], seen[-1]) == ([10], [10, 11])


def test_what_a_walk_did_not_find_costs_no_further_walk_for_a_while(proc: Path) -> None:
    clock = ManualClock()
    finder = OwnerFinder(clock=clock, proc=proc)
    put_process(proc, 10, "app", ticks=100, inodes=[7])
    put_process(proc, 11, "late", ticks=200, inodes=[])
    table = suspects(7, 8)
    finder.find(table)
    put_process(proc, 11, "late", ticks=200, inodes=[8])
    assert [p.name for p in finder.find(table)[0].processes] == ["app"]
    clock.now += owners.REMEMBER_SECONDS + 1
    assert [p.name for p in finder.find(table)[0].processes] == ["app", "late"]


def test_another_socket_with_the_inode_of_one_that_nobody_had_is_looked_for(proc: Path) -> None:
    """Inode numbers have 32 bits and come again; cookies do not."""
    finder = OwnerFinder(clock=ManualClock(), proc=proc)
    put_process(proc, 10, "app", ticks=100, inodes=[])
    first, second = (replace(suspects(7), cookie=np.array([cookie], np.uint64)) for cookie in (1, 2))
    assert finder.find(first)[0].processes == ()
    put_process(proc, 10, "app", ticks=100, inodes=[7])
    assert [p.name for p in finder.find(second)[0].processes] == ["app"]


def test_a_walk_that_ran_out_of_time_goes_on_where_it_stopped(proc: Path) -> None:
    for pid in range(10, 50):
        put_process(proc, pid, f"app{pid}", ticks=pid, inodes=[pid])
    table = suspects(10, 30, 49)
    finder = OwnerFinder(clock=SlowClock(), proc=proc, budget=0.5)
    known, unreached = [], []
    gaps: tuple[Gap, ...] = ()
    for _ in range(12):
        found, gaps = finder.find(table)
        known.append(len(found.inodes))
        unreached += [int(gap.why.split()[0]) for gap in gaps if "not read within" in gap.why]
    assert len(set(unreached)) > 3
    assert unreached == sorted(unreached, reverse=True)
    assert known == sorted(known)
    assert (known[-1], gaps) == (3, ())


def test_a_process_with_more_files_than_fit_into_the_time_is_read_over_several_looks(proc: Path) -> None:
    put_process(proc, 10, "large", ticks=10, inodes=range(1, 12_001))
    table = suspects(1, 6000, 12_000)
    finder = OwnerFinder(clock=SlowClock(), proc=proc, budget=0.2)
    known = []
    gaps: tuple[Gap, ...] = ()
    for _ in range(12):
        found, gaps = finder.find(table)
        known.append(len(found.inodes))
    assert known[0] < 3, "the first look has the time for a part of it"
    assert (known[-1], gaps) == (3, ())


def test_few_processes_that_may_not_be_read_are_named(monkeypatch: pytest.MonkeyPatch, proc: Path) -> None:
    for pid in (10, 11, 12):
        put_process(proc, pid, "app", ticks=100, inodes=[7])
    listdir = os.listdir
    refused: set[int] = set()

    def refuse(folder: int) -> list[str]:
        if int(Path(os.readlink(f"/proc/self/fd/{folder}")).parent.name) in refused:  # noqa: PTH115 - no Path has this
            raise PermissionError
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    said = []
    for more in ({10}, {11, 12}):
        refused |= more
        said += [g.why.partition(":")[0] for g in OwnerFinder(clock=ManualClock(), proc=proc).find(suspects(9))[1]]
    assert said == ["1 process (pid 10)", "3 processes (pids 10, 11, 12)"]


def test_a_name_with_parentheses_does_not_make_a_process_older(proc: Path) -> None:
    put_process(proc, 10, ") S 1 (", ticks=200, inodes=[7])
    put_process(proc, 11, "old", ticks=100, inodes=[7])
    found, _ = OwnerFinder(clock=ManualClock(), proc=proc).find(suspects(7))
    assert [p.name for p in found.processes] == ["old", ") S 1 ("]


def test_when_the_only_holder_was_replaced_the_next_one_is_found_at_once(proc: Path) -> None:
    finder = OwnerFinder(clock=ManualClock(), proc=proc)
    for name, ticks in (("first", 100), ("second", 101)):
        put_process(proc, 10, name, ticks=ticks, inodes=[7])
        assert [p.name for p in finder.find(suspects(7))[0].processes] == [name]
