"""How long a socket has been in its state: a lower and an upper bound from one look, narrower from two."""

import numpy as np

from sockwatch.diagnose.ends import NOT_HERE, other_ends
from sockwatch.diagnose.window import Window
from sockwatch.model.age import TIME_WAIT_SECONDS, Ages, Seconds, fin_timeouts, own_ages
from sockwatch.model.identity import NOT_THERE
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

__all__ = [
    "DATED",
    "DETAILS",
    "TIME_WAIT_SECONDS",
    "Ages",
    "Seconds",
    "ages",
    "fin_timeouts",
    "orphan_life",
    "remembered",
]

DETAILS = frozenset({"last_ack_recv", "last_data_recv", "last_data_sent"})
"""The details that ages rest on; a detector that wants ages of full sockets asks for them."""

DATED = (State.CLOSE_WAIT, State.FIN_WAIT_2, State.TIME_WAIT)
"""The states whose beginning leaves a trace."""


def ages(window: Window, sockets: SocketTable) -> Ages:
    """The ages of sockets in CLOSE_WAIT, FIN_WAIT_2 and TIME_WAIT of the current look; NaN for other states.

    Where the other end is on this host its bounds narrow these, and so does the previous look: a cookie that was
    in the same state then has been in it all the while, one that was not entered it since. A look takes its time, and
    between its two readings a socket may have had less or more of it than passed between the looks' beginnings.
    """
    found = _remembered(window, sockets, _mirrored(window.current, sockets))
    if window.previous is None or window.elapsed is None:
        return found
    return _since(window, window.previous, window.elapsed, sockets, found)


def orphan_life(timeout: Seconds) -> Seconds:
    """How long a closed socket stays in FIN_WAIT_2: T up to 60 s, 2 x (T - 60) s above.

    Above TCP_TIMEWAIT_LEN the kernel keeps the full socket for T - 60 s on the keepalive timer and then a minisocket
    for as long again (tcp_close in net/ipv4/tcp.c, tcp_keepalive_timer in net/ipv4/tcp_timer.c).
    """
    return np.where(timeout <= TIME_WAIT_SECONDS, timeout, 2 * (timeout - TIME_WAIT_SECONDS))


def _mirrored(snapshot: Snapshot, sockets: SocketTable) -> Ages:
    """CLOSE_WAIT here began when FIN_WAIT_2 there did; an orphan's clock starts at close(), which may be later."""
    own = own_ages(snapshot, sockets)
    half_closed = np.flatnonzero(sockets.is_in_state(State.CLOSE_WAIT, State.FIN_WAIT_2))
    rows = other_ends(snapshot, sockets.take(half_closed))
    if not (rows != NOT_HERE).any():
        return own
    lower, upper = own.lower.copy(), own.upper.copy()
    mine = half_closed[rows != NOT_HERE]
    theirs = snapshot.sockets.take(rows[rows != NOT_HERE])
    other = own_ages(snapshot, theirs)
    closing = sockets.is_in_state(State.CLOSE_WAIT)[mine] & theirs.is_in_state(State.FIN_WAIT_2)
    waiting = (
        sockets.is_in_state(State.FIN_WAIT_2)[mine] & (sockets.inode != 0)[mine] & theirs.is_in_state(State.CLOSE_WAIT)
    )
    agrees = (other.lower <= own.upper[mine]) | np.isnan(own.upper[mine])
    use = (closing | waiting) & agrees
    lower[mine[use]] = np.fmax(own.lower[mine[use]], other.lower[use])
    exact = use & (waiting | (theirs.inode != 0))
    upper[mine[exact]] = np.fmax(np.fmin(own.upper[mine[exact]], other.upper[exact]), lower[mine[exact]])
    return Ages(lower=lower, upper=upper)


def remembered(window: Window, sockets: SocketTable) -> Seconds:
    """For how long the looks before have known each socket in the state it has; NaN where they do not know it so."""
    rows = window.history.find(sockets)
    known = np.flatnonzero(rows != NOT_THERE)
    known = known[window.history.state[rows[known]] == sockets.state[known]]
    seconds = np.full(len(sockets), np.nan)
    seconds[known] = np.maximum(window.current.monotonic - window.history.since[rows[known]], 0)
    return seconds


def _remembered(window: Window, sockets: SocketTable, found: Ages) -> Ages:
    """A socket that was remembered in this state has been in it since."""
    seconds = np.where(sockets.is_in_state(*DATED), remembered(window, sockets), np.nan)
    known = ~np.isnan(seconds)
    lower, upper = np.fmax(found.lower, seconds), found.upper.copy()
    upper[known] = np.maximum(upper[known], lower[known])
    return Ages(lower=lower, upper=upper)


def _since(window: Window, previous: Snapshot, elapsed: float, sockets: SocketTable, found: Ages) -> Ages:
    dated = sockets.is_in_state(*DATED)
    if not dated.any():
        return found
    before = previous.sockets.in_state(*DATED)
    same = np.zeros(len(sockets), np.bool_)
    row = np.zeros(len(sockets), np.intp)
    if len(before):
        order = np.argsort(before.cookie)
        at = np.searchsorted(before.cookie, sockets.cookie, sorter=order)
        row = order[np.minimum(at, len(order) - 1)]
        same = dated & (before.cookie[row] == sockets.cookie) & (before.state[row] == sockets.state)
    lower, upper = found.lower.copy(), found.upper.copy()
    then = _mirrored(previous, before.take(row[same]))
    at_least, at_most = max(elapsed - previous.took, 0.0), elapsed + window.current.took
    lower[same] = np.fmax(lower[same], np.fmax(then.lower, 0) + at_least)
    # an orphan keeps its cookie and its state, but its clock started anew at close()
    upper[same] = np.maximum(upper[same], lower[same])  # what is not known stays unknown
    looked_at = np.array([window.number_before(i) is not None for i in range(len(window.namespaces))])
    new = dated & ~same & looked_at[sockets.netns]
    upper[new] = np.fmin(upper[new], at_most)
    lower[new] = np.minimum(lower[new], at_most)  # what is not known stays unknown
    return Ages(lower=lower, upper=upper)
