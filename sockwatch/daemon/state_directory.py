"""Where the daemon keeps what has to survive a restart."""

import errno
import fcntl
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from sockwatch.errors import UsageError

_LOCK = "lock"
_MODE = 0o700


def state_directory(configured: str, environment: Mapping[str, str]) -> Path | None:
    """The configured one, else the first that systemd set up, else that of the user (XDG base directories).

    None where that user has no home, as in a container.
    """
    given = configured or environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    home = environment.get("XDG_STATE_HOME", "")
    if home.startswith("/"):  # a relative one is to be ignored, says the specification
        return Path(home) / "sockwatch"
    try:
        return Path.home() / ".local" / "state" / "sockwatch"
    except RuntimeError:  # no HOME, and no such user
        return None


class StateDirectory:
    """Made, ours alone, and locked against a second daemon as long as this one lives.

    Raises UsageError where another daemon has it, and OSError, with a text for people, where it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(mode=_MODE, parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, "is not a directory") from None
        # With DynamicUser= systemd's own directory is a symbolic link; what counts is where it leads.
        self.path = path.resolve(strict=True)
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _check(os.fstat(folder))
            self._lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise UsageError(f"{self.path}: another sockwatch keeps its state there") from None

    def release(self) -> None:
        """Let the next daemon have it."""
        os.close(self._lock)


def _check(status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        _refuse(f"it belongs to user {status.st_uid}, not to {os.geteuid()}, who runs this")
    if stat.S_IMODE(status.st_mode) & ~_MODE:
        _refuse(f"others may use it (mode {stat.S_IMODE(status.st_mode):04o}); chmod 700 it")


def _refuse(why: str) -> NoReturn:
    raise PermissionError(errno.EACCES, why)
