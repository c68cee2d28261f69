"""Reading a file that somebody named in a config: regular, not too large, and without waiting."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from sockwatch.errors import UsageError

_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """What is in a file, and whose it is."""

    data: bytes
    status: os.stat_result | None
    """As it was opened; None where the text stands elsewhere."""

    @property
    def public(self) -> bool:
        """Whether every user of this host may read it."""
        return self.status is not None and bool(self.status.st_mode & stat.S_IROTH)


def read_regular(path: Path) -> FileContent:
    """Raises UsageError where that cannot be."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{path}: no regular file")
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{path}: larger than 1 MiB")
    return FileContent(data=data, status=status)


def _open_at_once(path: str, flags: int) -> int:
    """Opening a FIFO would wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)
