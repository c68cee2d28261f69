"""How likely a client that keeps trying a closed port of its own host gets that very port as its source port.

connect() walks the ports of the parity of the range's low end. Its start moves on by 2, 4, ... or 16 ports with each
connection that gets one (__inet_hash_connect in net/ipv4/inet_hashtables.c), 9 on average: two of nine ports of that
parity are hit in each lap, and over many tries each try hits a certain one with 1/N, N being their number. The other
parity comes only when all of these are taken towards that destination, and reserved ports never do.
"""

import numpy as np

from sockwatch.diagnose.bound_ports import PORTS, is_first
from sockwatch.diagnose.ports import port_range_mask
from sockwatch.model.snapshot import Namespace

CONNECT, BIND = "connect()", "bind() to port 0"


def drawn_first_by(namespace: Namespace, port: int) -> str | None:
    """Which call gets this port as long as its own half of the range has free ones; None where neither does."""
    ends = namespace.port_range()
    choosable = port_range_mask(namespace)
    if ends is None or choosable is None or not choosable[port]:
        return None
    return CONNECT if is_first(np.array([port]), ends[0])[0] else BIND


def tries_on_average(namespace: Namespace, port: int) -> int | None:
    """How many connect() calls it takes on average to get this source port; None where connect() does not draw it."""
    ends = namespace.port_range()
    choosable = port_range_mask(namespace)
    if ends is None or choosable is None or drawn_first_by(namespace, port) != CONNECT:
        return None
    return int((choosable & is_first(np.arange(PORTS), ends[0])).sum())


def chance(namespace: Namespace, port: int, tries: float) -> float:
    """How likely (0 to 1) one of so many connect() calls gets this source port."""
    average = tries_on_average(namespace, port)
    return 0.0 if average is None else 1 - (1 - 1 / average) ** tries
