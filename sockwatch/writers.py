"""Who may change a file that this program believes."""

import os
import stat
from pathlib import Path

from sockwatch.errors import UsageError


def others_who_write(path: Path, opened: os.stat_result | None = None) -> str | None:
    """Who but root and this user may change what the file says, as a sentence; None where nobody may.

    That is who may write the file, as it was `opened`, or any directory in which it could be replaced by another one.
    Raises UsageError where it cannot be told.
    """
    try:
        return _others(path, path.stat() if opened is None else opened)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _others(path: Path, opened: os.stat_result) -> str | None:
    if (others := _writers(opened)) is not None:
        return f"the file {others}"
    for folder in path.resolve().parents:
        found = folder.stat()
        # In a sticky directory, as /tmp, nobody replaces the files of others (unlink(2), EPERM).
        sticky = found.st_mode & stat.S_ISVTX and found.st_uid in {0, os.geteuid()}
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        if not (sticky or read_only) and (others := _writers(found)) is not None:
            return f"the directory {folder} {others}"
    return None


def _writers(found: os.stat_result) -> str | None:
    if found.st_uid not in {0, os.geteuid()}:
        return f"belongs to user {found.st_uid}"
    if found.st_mode & stat.S_IWOTH:
        return "may be written by everybody"
    if found.st_mode & stat.S_IWGRP:
        return f"may be written by group {found.st_gid}"
    return None
