"""Writing a file that only its owner can read: all of it or nothing."""

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from sockwatch.errors import UsageError
from sockwatch.model.printable import printable


def write_private(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write what `write` puts into the stream, mode 0600; what is there is replaced when all is written.

    Raises UsageError where that cannot be, and leaves what was there.
    """
    try:
        # As root a rename would replace /dev/null itself, or what somebody else's symbolic link is.
        if not stat.S_ISREG(path.lstat().st_mode):
            raise UsageError(f"{printable(str(path))}: exists and is no regular file (- is standard output)")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise cannot(path, error) from None
    try:
        # Mode 0600, O_EXCL and O_NOFOLLOW.
        handle, temporary = tempfile.mkstemp(prefix=".sockwatch-", dir=path.parent)
    except OSError as error:
        raise cannot(path, error) from None
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        raise cannot(path, error) from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def cannot(path: Path, error: OSError | ValueError) -> UsageError:
    """Why a path cannot be read or written, in one line."""
    return UsageError(f"{printable(str(path))}: {error.strerror if isinstance(error, OSError) else error}")
