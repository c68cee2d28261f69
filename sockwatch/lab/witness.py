"""The socket states as /proc/net/tcp tells them: a second witness, independent of our own dump."""

from collections import Counter
from pathlib import Path

from sockwatch.model.state import State

_LISTINGS = (Path("/proc/thread-self/net/tcp"), Path("/proc/thread-self/net/tcp6"))


def count_states() -> Counter[State]:
    """How many sockets of this namespace are in each state, orphans in FIN_WAIT_2 included.

    Bound sockets that are neither connected nor listening are not listed.
    """
    counts: Counter[State] = Counter()
    for listing in _LISTINGS:
        if listing.exists():  # a kernel may have no IPv6
            rows = listing.read_text("ascii").splitlines()[1:]
            counts.update(State(int(row.split()[3], 16)) for row in rows)
    return counts


def describe(counts: Counter[State]) -> str:
    """`23 close_wait, 1 listen`, most first."""
    return ", ".join(f"{count} {state.label}" for state, count in counts.most_common() if count) or "no sockets"
