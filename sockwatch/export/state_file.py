"""A file in the state directory that is whole at all times, whenever the power goes."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_NOT_OURS = {errno.ELOOP, errno.ENXIO}
"""What open() says to a symbolic link and to a socket (open(2)); all else may be over at the next start."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class StateFile:
    """`name` in `directory`; readable by its owner only, never larger than `most_bytes`.

    Every method raises OSError, with a text for people, where the directory or the file cannot be used.
    """

    def __init__(self, directory: Path, name: str, *, most_bytes: int) -> None:
        self.path = directory / name
        self._directory = directory
        self._name = name
        self._most_bytes = most_bytes

    def read(self) -> bytes | None:
        """What was written last, or None if nothing was. Raises ValueError where it is no file that write() made."""
        with self._folder() as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=folder)
            try:
                # O_NONBLOCK: a FIFO must not stop us.
                file = os.open(self._name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    raise
                raise ValueError(error.strerror) from None
            try:
                self._check(os.fstat(file))
                with os.fdopen(file, "rb", closefd=False) as opened:
                    return opened.read(self._most_bytes)
            finally:
                os.close(file)

    def write(self, data: bytes) -> None:
        """Replace what is there: after a return it is on the disk, after an error the old file is as it was."""
        if len(data) > self._most_bytes:
            raise OSError(errno.EFBIG, f"it would be larger than {self._most_bytes} bytes")
        with self._folder() as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(self._temporary, flags, 0o600, dir_fd=folder)
            try:
                with os.fdopen(file, "wb") as opened:
                    opened.write(data)
                    opened.flush()
                    os.fsync(file)
                os.rename(self._temporary, self._name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(self._temporary, dir_fd=folder)  # on a full disk it is in the way
                raise
            os.fsync(folder)

    def set_aside(self) -> Path:
        """Rename what is there, so that people can look at it, and give the new path; of several the last is kept."""
        aside = f"{self._name}.corrupt"
        with self._folder() as folder:
            os.rename(self._name, aside, src_dir_fd=folder, dst_dir_fd=folder)
        return self._directory / aside

    @property
    def _temporary(self) -> str:
        return f"{self._name}.tmp"

    @contextlib.contextmanager
    def _folder(self) -> Iterator[int]:
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)

    def _check(self, status: os.stat_result) -> None:
        if (why := foreign(status)) is not None:
            raise ValueError(why)
        if status.st_size > self._most_bytes:
            raise ValueError(f"it is larger than {self._most_bytes} bytes")


def foreign(status: os.stat_result) -> str | None:
    """Why a file in the state directory is not one that only we write, if so."""
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    if status.st_uid != os.geteuid() or status.st_nlink != 1 or status.st_mode & _OTHERS_WRITE:
        return "it belongs to others, others may write it, or it has a second name"
    return None
