"""How long to leave a sink alone that failed."""

import random

FIRST, FACTOR, LONGEST = 0.5, 1.5, 60.0
JITTER = 0.2
"""Waits are up to this part shorter, so that many hosts do not come back at once."""
LONGEST_ASKED = 300.0
"""A longer Retry-After is not believed."""


def pause(failures: int, retry_after: float | None = None, *, first: float = FIRST) -> float:
    """Seconds until the next try after so many failures in a row, at least 1."""
    grown = first * FACTOR ** min(failures - 1, 50)
    shortened = min(grown, LONGEST) * (1 - JITTER * random.random())  # noqa: S311 - spreads load, guards nothing
    return max(shortened, min(retry_after or 0.0, LONGEST_ASKED))
