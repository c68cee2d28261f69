"""The program of a hook: nobody but root and the user that runs the daemon may be able to change it."""

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from sockwatch.errors import UsageError

_MOST_LINKS = 40
"""As the kernel's MAXSYMLINKS."""


@contextmanager
def opened_program(path: str) -> Iterator[int]:
    """A descriptor (O_PATH) of the program, reached without following what others could redirect.

    Raises UsageError, one line, where it is missing, cannot be executed, or belongs to or can be written by somebody
    else, it or any folder or symbolic link on the way to it.
    """
    program = _walk(path)
    try:
        status = os.fstat(program)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path}: not a program")
        if not os.access(f"/proc/self/fd/{program}", os.X_OK, effective_ids=True):
            raise UsageError(f"{path}: not executable")
        yield program
    finally:
        os.close(program)


def _walk(path: str) -> int:
    """The last component of an absolute path, opened, after all before it have been looked at."""
    parts = deque(_parts(path))
    here, shown, links = _open_root(), "", 0
    try:
        while parts:
            name = parts.popleft()
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))  # noqa: TRY301 - as the kernel would
                target = os.readlink(name, dir_fd=here)
                parts.extendleft(reversed(_parts(target)))
                if target.startswith("/"):
                    os.close(here)
                    here, shown = _open_root(), ""
                continue
            following = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here, shown = following, f"{shown}/{name}"
            _check(os.fstat(here), shown)
    except OSError as error:
        os.close(here)
        raise UsageError(f"{path}: {error.strerror}") from None
    except UsageError:
        os.close(here)
        raise
    return here


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _open_root() -> int:
    return os.open("/", os.O_PATH | os.O_CLOEXEC)


def _check(status: os.stat_result, shown: str) -> None:
    if status.st_uid not in {0, os.geteuid()}:
        raise UsageError(f"{shown}: belongs to user {status.st_uid}, who could change what runs")
    # The group's bits are also the mask of an ACL (acl(5)): no named user can write where they do not say so.
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    # In a sticky folder nobody can rename or remove what belongs to others (inode(7)), and we look at that too.
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if writable and not sticky:
        raise UsageError(f"{shown}: others may write to it (mode {stat.S_IMODE(status.st_mode):04o})")
