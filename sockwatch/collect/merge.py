"""Two passes over the same sockets -> one table: a cookie is a socket's identity for as long as it lives."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sockwatch.collect.columns import Columns

_FILTER_BITS = 20
_FILTER_MASK = np.uint64((1 << _FILTER_BITS) - 1)


def drop_doubles(columns: Columns) -> NDArray[np.intp] | None:
    """Keep the last row of each cookie: a socket that moves in the kernel's table while it is listed appears twice.

    Returns the rows that stayed, or None where nothing was double.
    """
    cookies = columns["cookie"]
    ordered = np.sort(cookies)
    if not (ordered[1:] == ordered[:-1]).any():
        return None
    order = np.argsort(cookies, kind="stable")
    last = np.append(cookies[order[1:]] != cookies[order[:-1]], True)
    rows = np.sort(order[last])
    columns.keep(rows)
    return rows


def merge(table: Columns, fresher: Columns) -> NDArray[np.intp]:
    """Overwrite the rows of `table` with those of `fresher` that have the same cookie, and append the others.

    Neither holds a cookie twice. Returns for each row of `fresher` its row in `table`.
    """
    place = _find(fresher["cookie"], table["cookie"])
    known = place >= 0
    names = list(table.extend(0))
    new = np.flatnonzero(~known)
    place[new] = np.arange(len(table), len(table) + len(new))
    appended = table.extend(len(new))
    for name in names:
        values = fresher[name]
        appended[name][:] = values[new]
        table[name][place[known]] = values[known]
    return place


def _find(wanted: NDArray[np.uint64], cookies: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Where in `cookies` each wanted one is, or -1. Few are wanted of many, so a table of bits rules out most."""
    place = np.full(len(wanted), -1, np.intp)
    if not len(wanted):
        return place
    plausible = np.zeros(1 << _FILTER_BITS, np.bool_)
    plausible[wanted & _FILTER_MASK] = True
    rows = np.flatnonzero(plausible[cookies & _FILTER_MASK])
    order = np.argsort(wanted)
    ordered: NDArray[Any] = wanted[order]
    at = np.minimum(np.searchsorted(ordered, cookies[rows]), len(ordered) - 1)
    same = ordered[at] == cookies[rows]
    place[order[at[same]]] = rows[same]
    return place
