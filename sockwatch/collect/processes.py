"""A process as people know it: name, start time, systemd unit, container, open files and their limit."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from sockwatch.model.printable import printable
from sockwatch.model.snapshot import Process

_NAME_LENGTH = 255
"""Longest name shown: psutil completes a name that fills the kernel's 15 bytes from the command line, which may be
of any length."""
_UNIT_SUFFIXES = (".service", ".scope", ".slice")
_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?=/|$)")
"""`/docker/ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`, `/kubepods/.../ID`,
and the `...:cri-containerd:ID` that containerd makes without systemd."""
_CONTAINER_LENGTH = 12
"""What the container tools themselves show of an id."""
_OPEN_FILES = "Max open files"


def describe(pid: int, *, proc: Path, fds: int | None = None) -> Process | None:
    """The process, or None where it is gone or hidden (hidepid).

    `fds` is how many open files somebody counted; what count_fds() says comes first.
    """
    import psutil  # noqa: PLC0415 - 20 ms, and a healthy host has nobody to name

    psutil.PROCFS_PATH = str(proc)
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            name, started = process.name(), process.create_time()
    except psutil.Error:
        return None
    folder = proc / str(pid)
    unit, container = parse_cgroup(_read(folder / "cgroup"))
    return Process(
        pid=pid,
        name=printable(os.fsencode(name).decode("utf-8", "backslashreplace"))[:_NAME_LENGTH],
        started=started,
        unit=unit,
        container=container,
        fds=count_fds(folder) or fds,
        fd_limit=_parse_fd_limit(_read(folder / "limits")),
    )


def count_fds(folder: Path) -> int:
    """How many files the process of this folder has open, without listing them; 0 where the kernel does not say.

    It does since v6.2 (f1f1f2569901), to everybody.
    """
    try:
        return (folder / "fd").stat().st_size
    except OSError:
        return 0


def parse_cgroup(text: str) -> tuple[str | None, str | None]:
    """The innermost systemd unit and the innermost container (12 characters) in /proc/PID/cgroup, None where absent."""
    paths = _order_paths(text)
    unit = next((part for path in paths for part in reversed(path.split("/")) if part.endswith(_UNIT_SUFFIXES)), None)
    container = next((found[-1] for path in paths if (found := _CONTAINER.findall(path))), None)
    return (
        None if unit is None else printable(unit),
        None if container is None else container[:_CONTAINER_LENGTH],
    )


def _order_paths(text: str) -> Iterable[str]:
    """The paths of `ID:CONTROLLERS:PATH`: the one of version 2, then systemd's own of version 1, then the others."""
    rank = {"": 0, "name=systemd": 1}
    lines = [line.split(":", 2) for line in text.splitlines() if line.count(":") > 1]
    lines.sort(key=lambda line: rank.get(line[1], 2))
    # cgroup2 marks the group of a process that outlived it (kernel/cgroup/cgroup.c, proc_cgroup_show).
    return [path.removesuffix(" (deleted)") for _, _, path in lines]


def _parse_fd_limit(text: str) -> int | None:
    for line in text.splitlines():
        if line.startswith(_OPEN_FILES):
            soft = line.removeprefix(_OPEN_FILES).split()[0]
            return int(soft) if soft.isdecimal() else None
    return None


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "backslashreplace")
    except OSError:
        return ""
