"""What the walk over /proc remembers and reads again, in a /proc made of files."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from fake_proc import ManualClock, SlowClock, put_process, suspects
from sockwatch.collect import owners
from sockwatch.collect.owners import OwnerFinder
from sockwatch.collect.walk import SWEEP_SECONDS, SWEEP_SHARE

if TYPE_CHECKING:
    from sockwatch.model.snapshot import Gap


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc where pids can be used again at will."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", "/proc")
    (tmp_path / "stat").write_text("btime 1700000000\n")
    return tmp_path


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


def test_what_was_passed_on_is_seen_within_a_minute_of_looks(proc: Path) -> None:
    clock = ManualClock()
    finder = OwnerFinder(clock=clock, proc=proc)
    for pid in range(10, 33):
        put_process(proc, pid, f"app{pid}", ticks=pid, inodes=[pid])
    finder.find(suspects(10))
    put_process(proc, 32, "app32", ticks=32, inodes=[10])
    seen = []
    for _ in range(6):
        clock.now += SWEEP_SECONDS / 6
        seen.append([p.pid for p in finder.find(suspects(10))[0].processes])
    assert (seen[0], seen[-1]) == ([10], [10, 32])


def test_a_long_pause_sweeps_no_more_than_a_short_one(proc: Path) -> None:
    clock = ManualClock()
    finder = OwnerFinder(clock=clock, proc=proc)
    for pid in range(10, 33):
        put_process(proc, pid, f"app{pid}", ticks=pid, inodes=[pid])
    finder.find(suspects(10))
    put_process(proc, 32, "app32", ticks=32, inodes=[10])
    clock.now += 100 * SWEEP_SECONDS
    assert [p.pid for p in finder.find(suspects(10))[0].processes] == [10]


def test_a_process_that_becomes_another_keeps_no_old_description(proc: Path) -> None:
    finder = OwnerFinder(clock=ManualClock(), proc=proc)
    put_process(proc, 10, "python3", ticks=100, inodes=[7])
    for script, uid in (("first.py", 0), ("second.py", 4711)):
        (proc / "10/cmdline").write_bytes(f"python3\0{script}\0".encode())
        (proc / "10/status").write_text(f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        (proc / "10/cgroup").write_text(f"0::/system.slice/{script}.service\n")
        [now] = finder.find(suspects(7))[0].processes
        assert (now.command, now.user, now.unit) == (
            f"python3 {script}",
            "4711" if uid else "root",
            f"{script}.service",
        )


def test_verifying_the_many_sockets_of_a_process_is_cut_short_and_goes_on_at_the_next_look(proc: Path) -> None:
    clock = ManualClock()
    finder = OwnerFinder(clock=clock, proc=proc, budget=2)
    put_process(proc, 10, "large", ticks=10, inodes=range(1, 12_001))
    table = suspects(*range(1, 12_001))
    assert len(finder.find(table)[0].inodes) == 12_000
    slow = SlowClock(step=0.2)
    finder._clock = slow  # noqa: SLF001 - it gets slow between two looks
    before = slow.now
    known = [len(finder.find(table)[0].inodes)]
    assert 1024 <= known[0] < 12_000
    assert slow.now - before < 3, "a look takes no longer than it may, but for a batch"
    gap = finder.find(table)[1]
    assert [g.why for g in gap if "not read within 2 s; the next look goes on there" in g.why]
    finder._clock = clock  # noqa: SLF001 - one that runs on while it verifies
    assert len(finder.find(table)[0].inodes) == 12_000
