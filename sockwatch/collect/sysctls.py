"""The sysctls that detectors ask for, from /proc/sys."""

import os
from collections.abc import Collection
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from sockwatch.model.snapshot import Gap

_USUAL_BYTES, _MOST_BYTES = 1 << 12, 1 << 20
"""The kernel gives a value in one read or cuts it, and makes as much room as is asked for (fs/proc/proc_sysctl.c). A
list of reserved ports may have 200 KB."""


def read_sysctls(names: Collection[str], proc: Path) -> tuple[dict[str, str], tuple[Gap, ...]]:
    """`{"net.ipv4.tcp_fin_timeout": "60", ...}` in the calling thread's namespace, and what could not be read.

    /proc/sys/net follows the thread that opens it. Values are without the final newline; where one has several
    parts, they stay apart as the kernel writes them (a tab). A sysctl that this kernel or namespace does not have
    is absent; where there are none at all (another file system over /proc/sys), that is a gap.
    """
    values: dict[str, str] = {}
    gaps: list[Gap] = []
    if not names:
        return values, ()
    if names and not (proc / "sys" / "net").is_dir():
        why = f"{proc / 'sys' / 'net'} is not there: what depends on a sysctl is not judged"
        return values, (Gap(what="sysctls", why=why),)
    # In each namespace /proc/sys/net has entries of its own under the same names, and to find one the kernel passes by
    # those of all others (proc_sys_compare, fs/proc/proc_sysctl.c): so each folder is looked up once.
    for folder, found in groupby(sorted(name.rpartition(".")[::2] for name in names), itemgetter(0)):
        try:
            handle = os.open(f"{proc}/sys/{folder.replace('.', '/')}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            for _, last in found:
                name = f"{folder}.{last}"
                try:
                    content = _read(last, handle)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    gaps.append(Gap(what=name, why=error.strerror or str(error)))
                else:
                    values[name] = content.decode("utf-8", "backslashreplace").strip()
        finally:
            os.close(handle)
    return values, tuple(gaps)


def _read(name: str, folder: int, most: int = _USUAL_BYTES) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        content = os.read(fd, most)
    finally:
        os.close(fd)
    return _read(name, folder, _MOST_BYTES) if len(content) == most == _USUAL_BYTES else content
