"""The daemon's log: stderr, one printable line after the other."""

import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from sockwatch.errors import ConfigError, SockwatchError
from sockwatch.model.printable import printable

_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""syslog.h; the journal takes them as `<N>` before a line (sd-daemon(3))."""

_STDERR = 2

_log = logging.getLogger(__name__)


def start_log(environment: Mapping[str, str]) -> None:
    """Send what this program and its libraries log to stderr; the libraries only from a warning on."""
    journal = _is_journal(environment.get("JOURNAL_STREAM", ""))
    _fill_standard_descriptors()
    handler = logging.NullHandler() if sys.stderr is None else _Lines(sys.stderr)
    handler.setFormatter(_Formatter(journal=journal))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("sockwatch").setLevel(logging.INFO)
    logging.raiseExceptions = False


def _fill_standard_descriptors() -> None:
    """Where the caller closed one, the next socket would become our stderr."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(fd)


def log_mistakes(error: SockwatchError, lead: str = "") -> None:
    """One line for each thing that is wrong."""
    for mistake in error.mistakes if isinstance(error, ConfigError) else (str(error),):
        _log.error("%s%s", lead, mistake)


class _Lines(logging.StreamHandler):  # type: ignore[type-arg]  # generic only for the type checker
    """Whoever reads may be gone, as a terminal that was closed: then there is nobody to tell."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Forget the line."""


class _Formatter(logging.Formatter):
    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """The message, and a traceback if there is one; each of its lines is one that the reader can trust."""
        if self._journal:
            lead = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        else:
            lead = f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%SZ} {record.levelname.lower()} "
        lines = [record.getMessage()]
        if record.exc_info:
            lines += self.formatException(record.exc_info).splitlines()
        return "\n".join(lead + printable(line) for line in lines)


def _is_journal(stream: str) -> bool:
    """Whether stderr is what systemd says it connected to the journal: `DEVICE:INODE` (systemd.exec(5))."""
    try:
        status = os.fstat(_STDERR)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"
