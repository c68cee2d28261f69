"""The same sockets in two tables: a cookie is a socket's identity for as long as it lives.

Cookies are numbered as sockets are first listed, so their low bits spread well: a table indexed by them rules out
almost every row, and only the rest is sorted.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NOT_THERE = -1
_BITS = 20


def find_cookies(wanted: NDArray[np.uint64], cookies: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Where in `cookies` each wanted one is, or NOT_THERE; few are wanted of many, and neither has one twice."""
    place = np.full(len(wanted), NOT_THERE, np.intp)
    if not len(wanted):
        return place
    plausible = np.zeros(1 << _BITS, np.bool_)
    plausible[slots(wanted, _BITS)] = True
    rows = np.flatnonzero(plausible[slots(cookies, _BITS)])
    order = np.argsort(wanted)
    ordered: NDArray[Any] = wanted[order]
    at = np.minimum(np.searchsorted(ordered, cookies[rows]), len(ordered) - 1)
    same = ordered[at] == cookies[rows]
    place[order[at[same]]] = rows[same]
    return place


def slots(cookies: NDArray[np.uint64], bits: int) -> NDArray[np.int32]:
    """The place of each cookie in a table of 2**bits."""
    return (cookies & np.uint64((1 << bits) - 1)).astype(np.int32)
