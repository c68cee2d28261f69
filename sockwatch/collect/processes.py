"""A process as people know it: name, command line, user, systemd unit, container, open files and their limit."""

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from sockwatch.collect.cgroup import parse_cgroup
from sockwatch.collect.command_line import LONGEST_READ, format_command
from sockwatch.collect.fd_walk import VANISHED, opened, read_file, read_stat
from sockwatch.model.printable import printable
from sockwatch.model.snapshot import Process

PASSWD = Path("/etc/passwd")
_LONGEST_NAME = 255
"""A name that fills the kernel's 15 bytes is completed from the command line, which may be of any length."""
_COMM_LENGTH = 15
"""TASK_COMM_LEN without its NUL (include/linux/sched.h)."""
_FILE_BYTES = 1 << 16
_OPEN_FILES = b"Max open files"
_TICKS = os.sysconf("SC_CLK_TCK")


class Describer:
    """Describes processes, each time afresh: what a process is changes with exec, setuid, and the cgroup it is put in.

    Only when one started is remembered: seconds since 1970 move when the clock is set; who it is must not.
    """

    def __init__(self, *, proc: Path, passwd: Path = PASSWD) -> None:
        self._proc = proc
        self._passwd = passwd
        self._started: dict[tuple[int, float | None], float] = {}
        """By pid and start since boot."""
        self._used: dict[tuple[int, float | None], float] = {}
        self._boot_time: float | None = None

    def describe(self, pid: int, *, ticks: int | None = None, files: int = 0) -> Process | None:
        """The process; None where it is gone or hidden, or did not start at `ticks` since boot.

        `files` is how many open files somebody counted.
        """
        if self._boot_time is None:
            self._boot_time = read_boot_time(self._proc)
        process = describe(pid, proc=self._proc, fds=files, passwd=self._passwd, ticks=ticks, boot_time=self._boot_time)
        if process is None:
            return None
        key = (pid, process.since_boot)
        self._used[key] = self._started.get(key, process.started)
        return replace(process, started=self._used[key])

    def forget_unused(self) -> None:
        """Remember only what was asked for since the last time."""
        self._started, self._used = self._used, {}
        self._boot_time = None


def describe(
    pid: int,
    *,
    proc: Path,
    fds: int | None = None,
    passwd: Path = PASSWD,
    ticks: int | None = None,
    boot_time: float | None = None,
) -> Process | None:
    """The process, or None where it is gone or hidden (hidepid), or did not start at `ticks` since boot.

    `fds` is how many open files somebody counted; what count_fds() says comes first. `boot_time` is read_boot_time(),
    which takes long on a host with many CPUs.
    """
    folder = f"{proc}/{pid}"
    try:
        with opened(folder) as process:
            stat = read_stat(process)
            if ticks is not None and stat.start_ticks != ticks:
                return None
            command, status, cgroup, limits = (
                read_file(name, process, most)
                for name, most in (
                    ("cmdline", LONGEST_READ),
                    ("status", _FILE_BYTES),
                    ("cgroup", _FILE_BYTES),
                    ("limits", _FILE_BYTES),
                )
            )
    except (*VANISHED, PermissionError):
        return None
    place = parse_cgroup(cgroup.decode("utf-8", "backslashreplace"))
    uid = _parse_uid(status)
    return Process(
        pid=pid,
        name=_name(stat.comm, command),
        started=(read_boot_time(proc) if boot_time is None else boot_time) + stat.start_ticks / _TICKS,
        command=format_command(command),
        user=None if uid is None else _user(uid, place.container, passwd),
        unit=place.unit,
        unit_manager=place.unit_manager,
        container=place.container,
        runtime=place.runtime,
        pod=place.pod,
        fds=count_fds(folder) or fds,
        fd_limit=_parse_fd_limit(limits),
        since_boot=stat.start_ticks / _TICKS,
    )


def count_fds(folder: str) -> int:
    """How many files the process of this folder has open, without listing them; 0 where the kernel does not say.

    It does since v6.2 (f1f1f2569901), to everybody.
    """
    try:
        return os.stat(f"{folder}/fd").st_size  # noqa: PTH116 - a Path costs more than the call
    except OSError:
        return 0


def _name(comm: bytes, command: bytes) -> str:
    """The name, in full where the kernel cut it and the command line begins with the same."""
    program = command.partition(b"\0")[0].rpartition(b"/")[2]
    if len(comm) >= _COMM_LENGTH and program.startswith(comm):
        comm = program
    return printable(comm.decode("utf-8", "backslashreplace"))[:_LONGEST_NAME]


def read_boot_time(proc: Path) -> float:
    """When the kernel booted, in whole seconds since 1970; it moves when the clock is set."""
    for line in (proc / "stat").read_bytes().split(b"\n"):
        if line.startswith(b"btime "):
            return float(line.split()[1])
    return 0.0


def _parse_uid(status: bytes) -> int | None:
    """The effective uid; the name, which comes before, has its newlines escaped (proc_task_name, fs/proc/array.c)."""
    for line in status.split(b"\n"):
        if line.startswith(b"Uid:"):
            return int(line.split()[2])
    return None


def _user(uid: int, container: str | None, passwd: Path) -> str:
    """The name that this host's own file of users has for a uid; other sources of names may take a network to ask.

    A container has a file of its own, so that there only the number means anything; but root is root.
    """
    if container is not None and uid:
        return str(uid)
    try:
        changed = passwd.stat().st_mtime_ns
    except OSError:
        return str(uid)
    return _user_names(passwd, changed).get(uid, str(uid))


@lru_cache(maxsize=1)
def _user_names(passwd: Path, _changed: int) -> dict[int, str]:
    names: dict[int, str] = {}
    try:
        text = passwd.read_bytes().decode("utf-8", "backslashreplace")
    except OSError:
        return names
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdecimal():  # noqa: PLR2004 - name, password, uid (passwd(5))
            names.setdefault(int(fields[2]), printable(fields[0])[:_LONGEST_NAME])
    return names


def _parse_fd_limit(limits: bytes) -> int | None:
    for line in limits.split(b"\n"):
        if line.startswith(_OPEN_FILES):
            soft = line.removeprefix(_OPEN_FILES).split()[0]
            return int(soft) if soft.isdigit() else None
    return None
