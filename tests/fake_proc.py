"""A /proc made of files, where pids can be used again at will, and clocks that a walk over it looks at."""

from collections.abc import Sequence
from pathlib import Path

import builders
from sockwatch.clock import SystemClock
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State


class ManualClock(SystemClock):
    """Stands still until it is told."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class SlowClock(ManualClock):
    """Some time passes at each look, a thirtieth of a second unless said otherwise."""

    def __init__(self, step: float = 1 / 30) -> None:
        self.step = step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


def suspects(*inodes: int) -> SocketTable:
    """Sockets with these inodes, whose holders are asked for."""
    return builders.table([builders.socket(State.CLOSE_WAIT, "127.0.0.1:1", "127.0.0.1:2", inode=i) for i in inodes])


def put_process(proc: Path, pid: int, name: str, *, ticks: int, inodes: Sequence[int]) -> None:
    """A process with these sockets open, and no other one of this pid any more."""
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
