"""Label values: what processes, namespaces and files are called is chosen by others."""

from hashlib import blake2s

from sockwatch.model.printable import printable

MOST_CHARACTERS = 128
"""A longer value is cut."""
OTHER = "other"
"""The label value of what was folded. What really is called so is counted there as well."""
_DIGEST_BYTES = 4


def label(text: str) -> str:
    """The text as a label value: valid UTF-8 without control characters, of at most MOST_CHARACTERS.

    A value that is cut ends in a digest of the whole, so that two of them stay two.
    """
    safe = printable(text)
    if len(safe) <= MOST_CHARACTERS:
        return safe
    digest = blake2s(safe.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{safe[: MOST_CHARACTERS - len(digest) - 1]}~{digest}"
