"""The errors that sockwatch raises on purpose; each message is one line a person can act on.

SockwatchError
├── UsageError       an option, a name or a path on the command line is wrong
│   ├── ConfigError  the config file is wrong (file, line, key, nearest valid name)
│   └── CaptureError a capture cannot be read
├── DumpError        the kernel refused the dump, or its answer cannot be trusted
├── DeadlineError    the time given with --timeout is over
├── HistoryError     the history cannot be read
│   └── NoHistoryError  there is none
├── DaemonError      a daemon does not answer, or not as one does
└── ProvokeError     the lab could not provoke the misbehaviour here
"""


class SockwatchError(Exception):
    """Root of the tree; the command line prints the message and exits 3."""


class UsageError(SockwatchError):
    """What the user asked for cannot be: a wrong option, an unknown name, a namespace that is not there."""


class ConfigError(UsageError):
    """The config file is wrong: every mistake of it, each with file, line, key and the nearest valid name."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class CaptureError(UsageError):
    """A capture file is no capture, is damaged, or is of a version this release cannot read."""


class DumpError(SockwatchError):
    """A socket dump failed or was malformed; `errno` is the kernel's answer, or None when the bytes were wrong."""

    def __init__(self, message: str, *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class DeadlineError(SockwatchError):
    """The time given with --timeout is over; the message names the stage that was running."""


class HistoryError(SockwatchError):
    """There is no history, it cannot be read, or it is damaged; the message names the file."""


class NoHistoryError(HistoryError):
    """There is no history: no daemon has kept one here."""


class DaemonError(SockwatchError):
    """A daemon cannot be reached, refuses, or its answer is none of sockwatch; the message names its address."""


class ProvokeError(SockwatchError):
    """The lab could not set the stage; the message says what the kernel or the permissions refused.

    `by_chance`: the sockets did not come into the states that they were to be in; another try may succeed.
    """

    def __init__(self, message: str, *, by_chance: bool = False) -> None:
        super().__init__(message)
        self.by_chance = by_chance
