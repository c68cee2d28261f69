"""Two passes over the same sockets -> one table: a cookie is a socket's identity for as long as it lives.

Cookies are numbered as sockets are first listed, so their low bits spread well: tables indexed by them rule out almost
every row, and only the rest is sorted.
"""

import numpy as np
from numpy.typing import NDArray

from sockwatch.collect.columns import Columns
from sockwatch.model.identity import find_cookies, slots

_FEW_BITS = 20


def drop_doubles(columns: Columns) -> NDArray[np.intp] | None:
    """Keep the last row of each cookie: a socket that moves in the kernel's table while it is listed appears twice.

    Returns the rows that stayed, or None where nothing was double.
    """
    cookies = columns["cookie"]
    numbers = np.arange(len(cookies), dtype=np.int32)
    bits = max(len(cookies).bit_length() + 1, _FEW_BITS)
    slot = slots(cookies, bits)
    holder = np.empty(1 << bits, np.int32)
    holder[slot] = numbers
    displaced = holder[slot] != numbers
    if not displaced.any():
        return None
    shared = np.zeros(1 << bits, np.bool_)
    shared[slot[displaced]] = True
    rows = np.flatnonzero(shared[slot])
    order = np.argsort(cookies[rows], kind="stable")
    ordered = cookies[rows[order]]
    doubled = np.append(ordered[1:] == ordered[:-1], False)
    if not doubled.any():
        return None
    stays = np.ones(len(cookies), np.bool_)
    stays[rows[order[doubled]]] = False
    kept = np.flatnonzero(stays)
    columns.keep(kept)
    return kept


def merge(table: Columns, fresher: Columns) -> NDArray[np.intp]:
    """Overwrite the rows of `table` with those of `fresher` that have the same cookie, and append the others.

    Neither holds a cookie twice. Returns for each row of `fresher` its row in `table`.
    """
    place = find_cookies(fresher["cookie"], table["cookie"])
    new = np.flatnonzero(place < 0)
    place[new] = np.arange(len(table), len(table) + len(new))
    for name, column in table.extend(len(new)).items():
        column[:] = fresher[name][new]
        table[name][place] = fresher[name]
    return place
