"""Which of very many established sockets get a closer look this time.

A socket with details is four times as long as one without, so on a host with a million connections the kernel builds
them for a part only: those with either port in a few ranges, which begin somewhere else at each look. Both ends of a
connection share its ports, so they get the closer look together.
"""

import numpy as np
from numpy.typing import NDArray

from sockwatch.collect.bytecode import Ports

_PORTS = 1 << 16
_COMMON_SHARE = 10
"""A port that a tenth of the limit has, a server's port, chooses nothing: all its sockets would be taken at once."""
_MOST_RANGES = 16
"""The kernel compares each socket with each range."""


def choose_ports(sport: NDArray[np.uint16], dport: NDArray[np.uint16], limit: int, start: int) -> Ports:
    """Port ranges, from port `start` on, that about `limit` of these sockets have as local or remote port.

    It is never more than that, unless every socket has a common port at both ends: then all ports are chosen.
    """
    sockets = np.bincount(sport, minlength=_PORTS) + np.bincount(dport, minlength=_PORTS)
    ports = np.roll(np.arange(_PORTS), -start)
    ports = ports[sockets[ports] <= limit // _COMMON_SHARE]
    chosen = ports[np.cumsum(sockets[ports]) <= limit]
    if sockets[chosen].sum() < limit // _COMMON_SHARE:
        return [(0, _PORTS - 1)]
    breaks = np.flatnonzero(np.diff(chosen) != 1) + 1
    return [(int(part[0]), int(part[-1])) for part in np.split(chosen, breaks)[:_MOST_RANGES]]
