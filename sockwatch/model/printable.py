"""Text from outside (process names, paths, captures) that is safe to show."""


def printable(text: str) -> str:
    r"""The text with everything escaped that a terminal or a log might obey: controls, bidi, line ends, surrogates.

    What is escaped reads as in Python (`\n`, `\x1b`, `\u202e`); the result is valid UTF-8 and stays as it is when made
    printable again.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
