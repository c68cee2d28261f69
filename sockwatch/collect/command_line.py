"""A command line as people read it: on one line, of bounded length, and without what looks like a secret."""

import re
import shlex
from collections.abc import Iterator, Sequence

from sockwatch.model.printable import printable

LONGEST = 1000
"""Characters that are kept."""
LONGEST_READ = 4096
"""Bytes of a command line that are looked at; where there are as many it is taken for cut."""
_TELLING = re.compile(
    r"(?:passw(?:or)?d|passphrase|pass(?![a-z])|pwd(?![a-z])|secret|token|(?:api|access|private)[-_]?key|credential"
    r"|authorization|masterauth|bearer)(?P<rest>[\w.-]*)",
    re.IGNORECASE,
)
"""A part of a name that says that its value is a secret, and what follows of the name."""
_NOT_THE_SECRET = re.compile(r"(?:file|path|dir)\Z", re.IGNORECASE)
"""The end of a name that says where the secret is."""
_ASSIGNS = re.compile(r"[\"']?\s*[=:]\s*[\"']?(?=.)", re.DOTALL)
_FOLLOWS = re.compile(r"(?:[\"']?\s*[=:,]\s*|[\"']?\s+)[\"']?(?=.)", re.DOTALL)
"""What stands between an option, in a command inside of a word or a title, and its value."""
_BREAK = re.compile(r"[\s\"'=:,;|&()\[\]{}]")
_USER = re.compile(r"(?:-[uU]|--(?:proxy-)?user)(?P<value>.*)", re.DOTALL)
"""`-u user:password`, as curl and many others take it."""
_USER_INSIDE = re.compile(r"(?P<before>\s(?:-[uU]|--(?:proxy-)?user)(?:\s+|=)?[\"']?[^\s:\"'/]+:)\S.*", re.DOTALL)
_MASK = "***"


def format_command(raw: bytes) -> str | None:
    r"""What /proc/PID/cmdline holds, as a shell would take it, printable; `...` at the end where it is cut.

    A process may have written a title over it, without the NUL between arguments: that is shown as it is.
    """
    words = [word.decode("utf-8", "backslashreplace") for word in raw.rstrip(b"\0").split(b"\0")]
    masked = [printable(word) for word in _mask(words)]
    text = masked[0] if len(masked) == 1 else " ".join(map(shlex.quote, masked))
    if len(text) > LONGEST or len(raw) >= LONGEST_READ:
        text = text[: LONGEST - 3] + "..."
    return text or None


def _mask(words: Sequence[str]) -> Iterator[str]:
    """The words without secrets, however many words of a shell each of them holds."""
    value_follows = user_follows = False
    for word in words:
        if value_follows:
            yield _MASK
            value_follows = False
            continue
        user = _USER.fullmatch(word)
        if user_follows or (user is not None and ":" in user["value"]):
            yield _mask_user(word)
        else:
            yield _mask_inside(word)
        user_follows = user is not None and not user["value"]
        value_follows = _is_option(word)


def _is_option(word: str) -> bool:
    """Whether this is an option and no more, of which the next word is the secret."""
    if not word.startswith("-") or _BREAK.search(word):
        return False
    names = list(_TELLING.finditer(word))
    return bool(names) and not _NOT_THE_SECRET.search(names[-1]["rest"])


def _mask_user(word: str) -> str:
    user, colon, _ = word.partition(":")
    return f"{user}:{_MASK}" if colon else word


def _mask_inside(word: str) -> str:
    """From the first secret on all of it: where that ends, who reads it may see it otherwise than we."""
    for name in _TELLING.finditer(word):
        sign = (_FOLLOWS if _is_dashed(word, name.start()) or _is_bearer(name) else _ASSIGNS).match(word, name.end())
        if sign is not None and not _NOT_THE_SECRET.search(name["rest"]):
            word = word[: sign.end()] + _MASK
            break
    word = _USER_INSIDE.sub(rf"\g<before>{_MASK}", word)
    if "://" not in word:
        return word
    return "".join(_mask_url(run) for run in re.split(r"(\s+)", word))


def _is_dashed(word: str, at: int) -> bool:
    """Whether the name at this place is that of an option."""
    while at and not _BREAK.match(word, at - 1):
        at -= 1
    return word.startswith("-", at)


def _is_bearer(name: re.Match[str]) -> bool:
    return name[0].lower() == "bearer"


def _mask_url(run: str) -> str:
    """What stands before the last `@`: a password may hold anything. The name of a user is shown, a token is not."""
    scheme, separator, rest = run.partition("://")
    secret, at, host = rest.rpartition("@")
    if not secret:
        return run
    user, colon, _ = secret.partition(":")
    shown = f"{user}:" if colon and not set(user) & set("/@?#") else ""
    return f"{scheme}{separator}{shown}{_MASK}{at}{host}"
