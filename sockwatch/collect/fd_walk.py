"""The open sockets of one process, read from /proc/PID/fd.

Everything is read through a descriptor of the process's folder: that is of one process, even if its pid is used again.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VANISHED = (FileNotFoundError, ProcessLookupError)
_BATCH = 1024
"""Files between two looks at the clock: some 4 ms."""
_SOCKET = "socket:["
_AT = len(_SOCKET)
_PF_KTHREAD = 0x0020_0000
"""include/linux/sched.h"""

Identity = tuple[int, int]
"""Pid and start time in clock ticks since boot: no two processes of one boot share both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """What /proc/PID/stat says: the name in the kernel's 15 bytes, the start in clock ticks since boot.

    `leader_ended` says that the first thread has ended and others go on.
    """

    comm: bytes
    start_ticks: int
    kernel_thread: bool
    state: bytes
    leader_ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The sockets that a process had open, in two parallel columns; of one that is `refused` this user may see none.

    `resume_at` is the file descriptor before which the time was over; None where all was read. `files` is how many of
    any kind were read. `turn` numbers the look at which it was.
    """

    identity: Identity
    turn: int
    inodes: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    fds: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    files: int = 0
    resume_at: int | None = None
    refused: bool = False

    def without(self, lost: NDArray[np.bool_]) -> "Reading":
        """The reading less some of its sockets."""
        return replace(self, inodes=self.inodes[~lost], fds=self.fds[~lost])


def read_sockets(
    proc: Path, pid: int, turn: int, *, before: Reading | None = None, out_of_time: Callable[[], bool]
) -> Reading | None:
    """The sockets of a process; None where it is gone.

    A reading of the same process that was cut short goes on where it stopped.
    """
    identity = (pid, 0)
    refused = True
    try:
        with opened(f"{proc}/{pid}") as process:
            stat = read_stat(process)
            identity = (pid, stat.start_ticks)
            refused = not stat.kernel_thread  # it has no open files that anybody could miss
            if before is not None and (before.identity != identity or before.resume_at is None):
                before = None
            with opened(_table(process, stat), process) as folder:
                return _read(folder, identity, turn, before, out_of_time)
    except VANISHED:
        return None
    except PermissionError:  # with hidepid not even its start time is told
        return Reading(identity=identity, turn=turn, refused=refused)


def _table(process: int, stat: Stat) -> str:
    """The folder of the open files, in that of the process: of a thread that lives, where the first one has ended."""
    if not stat.leader_ended:
        return "fd"
    with opened("task", process) as tasks:
        for thread in os.listdir(tasks):  # noqa: PTH208 - a file descriptor, not a path
            with suppress(*VANISHED), opened(thread, tasks) as task:
                if read_stat(task).state != b"Z":
                    return f"task/{thread}/fd"
    return "fd"


def _read(
    folder: int, identity: Identity, turn: int, before: Reading | None, out_of_time: Callable[[], bool]
) -> Reading:
    inodes: list[int] = []
    fds: list[int] = []
    start = before.resume_at if before is not None else None
    resume_at, files = None, 0
    names = os.listdir(folder)
    if len(names) > _BATCH:
        names.sort(key=int)
    if start is not None:
        names = [name for name in names if int(name) >= start]
    for at in range(0, len(names), _BATCH):
        if out_of_time():
            resume_at = int(names[at])
            break
        batch = names[at : at + _BATCH]
        files += len(batch)
        links = _links(batch, folder)
        inodes += [int(link[_AT:-1]) for link in links if link[:_AT] == _SOCKET]
        fds += [int(name) for name, link in zip(batch, links, strict=True) if link[:_AT] == _SOCKET]
    # sock_diag gives the low 32 bits (inet_diag_msg, include/uapi/linux/inet_diag.h).
    inode_column = np.array(inodes, np.uint64).astype(np.uint32)
    fd_column = np.array(fds, np.int32)
    if before is not None:
        inode_column = np.concatenate([before.inodes, inode_column])
        fd_column, files = np.concatenate([before.fds, fd_column]), before.files + files
    return Reading(identity=identity, turn=turn, inodes=inode_column, fds=fd_column, files=files, resume_at=resume_at)


def _links(names: Sequence[str], folder: int) -> list[str]:
    """What these files are links to; empty for one that was closed meanwhile."""
    readlink = os.readlink
    try:
        return [readlink(name, dir_fd=folder) for name in names]
    except FileNotFoundError:
        return [_link(name, folder) for name in names]


def _link(name: str, folder: int) -> str:
    try:
        return os.readlink(name, dir_fd=folder)
    except FileNotFoundError:
        return ""


def verify(
    proc: Path, reading: Reading, rows: NDArray[np.intp], out_of_time: Callable[[], bool]
) -> NDArray[np.bool_] | None:
    """Whether the process still has these sockets of the reading; None where it is gone, another one, or refuses.

    Of fewer rows where the time was over, but for some at least.
    """
    inodes, fds = reading.inodes[rows].tolist(), reading.fds[rows].tolist()
    pid, start_ticks = reading.identity
    same: list[bool] = []
    try:
        with opened(f"{proc}/{pid}") as process:
            stat = read_stat(process)
            if stat.start_ticks != start_ticks:
                return None
            with opened(_table(process, stat), process) as folder:
                for at in range(0, len(rows), _BATCH):
                    if at and out_of_time():
                        break
                    batch = slice(at, at + _BATCH)
                    same += [_inode(str(fd), folder) == i for fd, i in zip(fds[batch], inodes[batch], strict=True)]
    except (*VANISHED, PermissionError):
        return None
    return np.array(same, np.bool_)


def _inode(name: str, folder: int) -> int | None:
    """The inode of the socket that this is; None where it is none. Raises ProcessLookupError or PermissionError."""
    link = _link(name, folder)
    return int(link[_AT:-1]) & 0xFFFF_FFFF if link.startswith(_SOCKET) else None


def list_processes(proc: Path) -> dict[int, int]:
    """Every process by its pid, with the inode of its folder, by which a pid that is used again is noticed early.

    Another process has another folder (pid_delete_dentry, fs/proc/base.c); the same one may get another, too.
    """
    with os.scandir(proc) as entries:
        return {int(entry.name): entry.inode() for entry in entries if entry.name.isdecimal()}


class opened:  # noqa: N801 - it is called as a function; contextlib's takes as long as the kernel here
    """A folder as a file descriptor, which the end of `with` closes."""

    __slots__ = ("_fd",)

    def __init__(self, path: str, folder: int | None = None) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def read_file(name: str, folder: int, most: int) -> bytes:
    """A file of a process, at most so many bytes; empty where it may not be read."""
    try:
        fd = os.open(name, os.O_RDONLY, dir_fd=folder)
    except PermissionError:
        return b""
    try:
        return os.read(fd, most)
    except PermissionError:
        return b""
    finally:
        os.close(fd)


def read_stat(process: int) -> Stat:
    """The name in /proc/PID/stat may hold anything, parentheses included: what follows is after the last one."""
    fd = os.open("stat", os.O_RDONLY, dir_fd=process)
    try:
        text = os.read(fd, 4096)
    finally:
        os.close(fd)
    end = text.rindex(b")")
    fields = text[end + 2 :].split()  # from the third on
    return Stat(
        comm=text[text.index(b"(") + 1 : end],
        start_ticks=int(fields[19]),
        kernel_thread=bool(int(fields[6]) & _PF_KTHREAD),
        state=fields[0],
        leader_ended=fields[0] == b"Z" and int(fields[17]) > 1,
    )
