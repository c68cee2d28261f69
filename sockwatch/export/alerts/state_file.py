"""The alerts' state on disk: one JSON file that is whole at any moment, whoever is killed when.

Written to a new file, synced, renamed over the old one, and the directory synced. Read only if it is what this program
writes: a regular file of this user, with one name, that nobody else can write, of a bounded size and a known version.
Keys may be added within a version; unknown ones are ignored.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sockwatch.export.alerts.tracked import Memory, Tracked
from sockwatch.export.alerts.transitions import MOST_ALERTS
from sockwatch.model.alert import AlertIdentity, AlertState
from sockwatch.model.finding import Severity

VERSION = 1
MOST_BYTES = 16 << 20
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class ForeignError(Exception):
    """The file is not what this program writes; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    identity: AlertIdentity
    state: AlertState
    severity: Severity
    worst: Severity
    summary: str
    cause: str
    remedies: tuple[str, ...]
    count: int
    began: float
    fired: float | None = None
    present: float = 0.0
    away: float = 0.0
    told: Severity | None = None
    told_ago: float = 0.0
    inhibited_by: AlertIdentity | None = None
    wait: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    version: int
    alerts: tuple[_Entry, ...]
    failures: int = 0


_FIELDS = tuple(_Entry.__dataclass_fields__)


def write(path: Path, memory: Memory) -> None:
    """Replace the file. Raises OSError, and then the old one is still there."""
    data = encode(memory)
    new = f".{path.name}.new"
    with _directory(path) as directory:
        _remove(new, directory)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(new, flags, 0o600, dir_fd=directory), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(new, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            _remove(new, directory)
            raise
        os.fsync(directory)


def read(path: Path) -> Memory:
    """What was written last; nothing where there is no file. Raises ForeignError, and OSError for the directory."""
    with _directory(path) as directory:
        _remove(f".{path.name}.new", directory)
        try:
            descriptor = os.open(
                path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
            )
        except FileNotFoundError:
            return Memory()
        except OSError as error:
            raise ForeignError(error.strerror) from error
        try:
            _check(os.fstat(descriptor))
            data = _read(descriptor)
        except OSError as error:
            raise ForeignError(error.strerror) from error
        finally:
            os.close(descriptor)
    if len(data) > MOST_BYTES:
        raise ForeignError(f"it is larger than {MOST_BYTES:,} bytes")
    return decode(data)


def set_aside(path: Path) -> Path:
    """Rename the file to NAME.corrupt, over an earlier one. Raises OSError."""
    aside = path.with_name(f"{path.name}.corrupt")
    path.rename(aside)
    return aside


def encode(memory: Memory) -> bytes:
    """The file's content."""
    alerts = tuple(_Entry(**{name: getattr(one, name) for name in _FIELDS}) for one in memory.alerts.values())
    return msgspec.json.encode(_State(version=VERSION, alerts=alerts, failures=memory.failures))


def decode(data: bytes) -> Memory:
    """The memory that a file's content stands for. Raises ForeignError."""
    try:
        head = msgspec.json.decode(data, type=Mapping[str, msgspec.Raw])
        version = msgspec.json.decode(head.get("version", msgspec.Raw(b"null")))
        if version != VERSION:
            raise ForeignError(f"its version is {version!r}, and this release reads {VERSION}")
        state = msgspec.json.decode(data, type=_State)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ForeignError(str(error)) from error
    if len(state.alerts) > MOST_ALERTS:
        raise ForeignError(f"it has more than {MOST_ALERTS:,} alerts")
    alerts = (Tracked(**{name: getattr(entry, name) for name in _FIELDS}) for entry in state.alerts)
    return Memory(alerts={one.identity: one for one in alerts}, failures=state.failures)


def _check(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ForeignError("it is no regular file")
    if status.st_uid != os.geteuid():
        raise ForeignError(f"it belongs to user {status.st_uid}")
    if status.st_nlink != 1:
        raise ForeignError("it has more than one name")
    if status.st_mode & _OTHERS_WRITE:
        raise ForeignError("others may write it")


def _read(descriptor: int) -> bytes:
    """At most one byte more than there may be."""
    data = b""
    while len(data) <= MOST_BYTES and (part := os.read(descriptor, MOST_BYTES + 1 - len(data))):
        data += part
    return data


def _remove(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
