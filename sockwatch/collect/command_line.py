"""A command line as people read it: on one line, of bounded length, and without what looks like a secret."""

import re
import shlex
from collections.abc import Iterator, Sequence

from sockwatch.model.printable import printable

LONGEST = 1000
"""Characters that are kept."""
LONGEST_READ = 4096
"""Bytes of a command line that are looked at; where there are as many it is taken for cut."""
_TELLING_NAME = (
    r"[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[-_]?key|access[-_]?key|credential|authorization)[\w.-]*"
)
_NOT_THE_SECRET = re.compile(r"(?:file|path|dir)\Z", re.IGNORECASE)
"""The end of an option's name that says where the secret is."""
_ASSIGNED = re.compile(rf"(?P<name>{_TELLING_NAME})(?P<sign>\s*[=:]\s*)(?P<value>.+)", re.IGNORECASE | re.DOTALL)
_OPTION = re.compile(rf"--?(?P<name>{_TELLING_NAME})", re.IGNORECASE)
_IN_URL = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(?=@)", re.IGNORECASE)
_MASK = "***"


def format_command(raw: bytes) -> str | None:
    r"""What /proc/PID/cmdline holds, as a shell would take it, printable; `...` at the end where it is cut.

    A process may have written a title over it, without the NUL between arguments: that is shown as it is.
    """
    words = [printable(word.decode("utf-8", "backslashreplace")) for word in raw.rstrip(b"\0").split(b"\0")]
    masked = list(_mask(words))
    text = masked[0] if len(masked) == 1 else " ".join(map(shlex.quote, masked))
    if len(text) > LONGEST or len(raw) >= LONGEST_READ:
        text = text[: LONGEST - 3] + "..."
    return text or None


def _mask(words: Sequence[str]) -> Iterator[str]:
    value_follows = False
    for word in words:
        if value_follows and not word.startswith("-"):
            yield _MASK
            value_follows = False
            continue
        option = _OPTION.fullmatch(word)
        value_follows = option is not None and not _NOT_THE_SECRET.search(option["name"])
        yield _IN_URL.sub(rf"\g<before>{_MASK}", _ASSIGNED.sub(_mask_value, word))


def _mask_value(assigned: re.Match[str]) -> str:
    if _NOT_THE_SECRET.search(assigned["name"]):
        return assigned[0]
    return f"{assigned['name']}{assigned['sign']}{_MASK}"
