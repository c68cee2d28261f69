"""The nearest valid name for one that is wrong, as the end of an error message."""

from collections.abc import Iterable

_LIST_AT_MOST = 8


def nearest(word: str, valid: Iterable[str]) -> str:
    """`did you mean NAME?`, else the valid names where they are few, else an empty string."""
    import difflib  # noqa: PLC0415 - only a mistake needs it

    names = list(valid)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"valid: {', '.join(names)}" if len(names) <= _LIST_AT_MOST else ""


def unknown(what: str, word: str, valid: Iterable[str]) -> str:
    """`unknown WHAT "WORD"`, with the nearest valid name where there is one."""
    return "; ".join(part for part in (f'unknown {what} "{word}"', nearest(word, valid)) if part)
