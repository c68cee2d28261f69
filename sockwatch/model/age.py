"""How long a socket has been in its state, as far as one look at it alone tells."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sockwatch.model.snapshot import Snapshot
from sockwatch.model.sockets import Rows, SocketTable
from sockwatch.model.state import State, Timer

TIME_WAIT_SECONDS = 60.0
"""TCP_TIMEWAIT_LEN (include/net/tcp.h): compiled in, no sysctl changes it."""
FIN_TIMEOUT_SECONDS = 60.0
"""Assumed where net.ipv4.tcp_fin_timeout cannot be read: TCP_FIN_TIMEOUT (include/net/tcp.h)."""

Seconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ages:
    """Bounds of each socket's age in its state, in seconds; NaN where nothing is known."""

    lower: Seconds
    upper: Seconds

    def take(self, chosen: Rows) -> "Ages":
        """The ages of the chosen sockets."""
        return Ages(lower=self.lower[chosen], upper=self.upper[chosen])

    def surely(self, seconds: float | Seconds) -> NDArray[np.bool_]:
        """Which sockets are at least so old."""
        return self.lower >= seconds

    def possibly(self, seconds: float | Seconds) -> NDArray[np.bool_]:
        """Which sockets may be so old; where the upper bound is unknown only what is sure counts."""
        return self.surely(seconds) | (self.upper >= seconds)

    @property
    def oldest(self) -> float | None:
        """The greatest lower bound."""
        return _max(self.lower)

    @property
    def oldest_max(self) -> float | None:
        """The greatest upper bound."""
        return _max(self.upper)


def _max(seconds: Seconds) -> float | None:
    known = seconds[~np.isnan(seconds)]
    return float(known.max()) if len(known) else None


def fin_timeouts(snapshot: Snapshot, sockets: SocketTable) -> Seconds:
    """net.ipv4.tcp_fin_timeout of each socket's namespace, in seconds."""
    values = [n.number_kept("net.ipv4.tcp_fin_timeout") for n in snapshot.namespaces]
    known = np.array([FIN_TIMEOUT_SECONDS if v is None else v for v in values])
    return known[sockets.netns]


def own_ages(snapshot: Snapshot, sockets: SocketTable) -> Ages:
    """What each socket in CLOSE_WAIT, FIN_WAIT_2 and TIME_WAIT says about itself; NaN for other states.

    A FIN that arrives, or the ACK of ours, renews tcpi_last_ack_recv and nothing else; the data clocks are older than
    the FIN. So the state began between the two. Minisockets carry the rest of their life in idiag_expires.
    """
    if not len(sockets):  # what a healthy host has
        return Ages(lower=np.empty(0), upper=np.empty(0))
    lower = np.full(len(sockets), np.nan)
    upper = np.full(len(sockets), np.nan)
    last_ack = sockets.detail("last_ack_recv") / 1e3
    last_data = sockets.detail("last_data_recv") / 1e3
    last_sent = sockets.detail("last_data_sent") / 1e3
    expires = sockets.expires_ms / 1e3

    close_wait = sockets.is_in_state(State.CLOSE_WAIT)
    lower[close_wait] = last_ack[close_wait]
    upper[close_wait] = last_data[close_wait]
    never_accepted = close_wait & (sockets.inode == 0)
    upper[never_accepted] = np.fmin(last_data, last_sent)[never_accepted]

    held = sockets.is_in_state(State.FIN_WAIT_2) & (sockets.inode != 0)
    lower[held] = last_ack[held]
    upper[held] = last_sent[held]

    time_wait = sockets.is_in_state(State.TIME_WAIT)
    lower[time_wait] = upper[time_wait] = np.maximum(TIME_WAIT_SECONDS - expires[time_wait], 0)

    orphan = sockets.is_in_state(State.FIN_WAIT_2) & (sockets.inode == 0)
    timeout = fin_timeouts(snapshot, sockets)
    half = timeout - TIME_WAIT_SECONDS
    mini = sockets.timer == Timer.TIME_WAIT
    life = np.where(timeout <= TIME_WAIT_SECONDS, timeout, np.where(mini, 2 * half, half))
    passed = life - expires
    # expires beyond the whole life: the sysctl was changed since, or TCP_LINGER2 set another one
    fits = passed >= 0
    lower[orphan] = np.where(fits, passed, 0)[orphan]
    upper[orphan & fits] = passed[orphan & fits]
    return Ages(lower=lower, upper=np.where(upper < lower, lower, upper))
