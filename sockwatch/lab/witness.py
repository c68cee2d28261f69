"""The socket states as /proc/net/tcp tells them: a second witness, independent of our own dump."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sockwatch.model.state import State

_LISTINGS = (Path("/proc/thread-self/net/tcp"), Path("/proc/thread-self/net/tcp6"))


def count_states() -> Counter[State]:
    """How many sockets of this namespace are in each state, orphans in FIN_WAIT_2 included.

    Bound sockets that are neither connected nor listening are not listed.
    """
    return Counter(State(int(row[3], 16)) for row in _rows())


def time_wait_seconds() -> list[float]:
    """How long each socket in TIME_WAIT will stay there."""
    timers = [row[5] for row in _rows() if int(row[3], 16) == State.TIME_WAIT]
    return [int(timer.partition(":")[2], 16) / os.sysconf("SC_CLK_TCK") for timer in timers]


def _rows() -> Iterator[list[str]]:
    for listing in _LISTINGS:
        if listing.exists():  # a kernel may have no IPv6
            yield from map(str.split, listing.read_text("ascii").splitlines()[1:])


def describe(counts: Counter[State]) -> str:
    """`23 close_wait, 1 listen`, most first."""
    return ", ".join(f"{count} {state.label}" for state, count in counts.most_common() if count) or "no sockets"
