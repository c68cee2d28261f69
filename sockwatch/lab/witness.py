"""The socket states as /proc/net/tcp tells them: a second witness, independent of our own dump."""

from collections import Counter
from pathlib import Path

from sockwatch.model.state import State

_LISTINGS = (Path("/proc/thread-self/net/tcp"), Path("/proc/thread-self/net/tcp6"))


def count_states(port: int | None = None) -> Counter[State]:
    """How many sockets of this namespace are in each state; with `port`, of those that have it as their local one.

    Orphans in FIN_WAIT_2 count as such. Bound sockets that are neither connected nor listening are not listed.
    """
    counts: Counter[State] = Counter()
    for listing in _LISTINGS:
        if not listing.exists():  # a kernel without IPv6
            continue
        for line in listing.read_text("ascii").splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if port is None or int(local.rpartition(":")[2], 16) == port:
                counts[State(int(state, 16))] += 1
    return counts


def describe(counts: Counter[State]) -> str:
    """`23 close_wait, 1 listen`, most first."""
    return ", ".join(f"{count} {state.label}" for state, count in counts.most_common() if count) or "no sockets"
