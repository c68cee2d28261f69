"""The numbers of one look, or of one step of rollups, in a few hundred bytes: numbers of series, and their values.

A row of SQLite for each would take three times the space, and at every look as much more to write.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_BYTES = 1 << 20
_NUMBER, _VALUE = 4, 8
_FAST = 1

Numbers = NDArray[np.uint32]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Numbers of many looks or steps side by side: when, of which series, and one or several values each."""

    times: NDArray[np.int64]
    series: Numbers
    values: Values
    """One row a column of the table: (columns, rows)."""

    def take(self, chosen: NDArray[np.bool_]) -> "Rows":
        """Some of them."""
        return Rows(times=self.times[chosen], series=self.series[chosen], values=self.values[:, chosen])


def pack(series: Iterable[int], *columns: Iterable[float]) -> bytes:
    """The series ascending, so that they take little space."""
    numbers = np.fromiter(series, "<u4")
    order = np.argsort(numbers)
    values = (np.fromiter(column, "<f8")[order].tobytes() for column in columns)
    return zlib.compress(b"".join((numbers[order].tobytes(), *values)), _FAST)


def unpack(packed: bytes, columns: int) -> tuple[Numbers, Values]:
    """What was packed; nothing where that is damaged: SQLite has no checksums, and one look is no loss."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, _MOST_BYTES)
    except zlib.error:
        data = b""
    row = _NUMBER + columns * _VALUE
    rows = len(data) // row if unpacker.eof and len(data) % row == 0 else 0
    values = np.frombuffer(data, "<f8", rows * columns, rows * _NUMBER)
    return np.frombuffer(data, "<u4", rows), values.reshape(columns, rows)


def join(packed: Iterable[tuple[int, bytes]], columns: int) -> Rows:
    """All rows of packed looks, or steps, in one; each comes with its time."""
    times, series, values = [np.empty(0, np.int64)], [np.empty(0, np.uint32)], [np.empty((columns, 0))]
    for time, data in packed:
        numbers, columns_of_it = unpack(data, columns)
        times.append(np.full(len(numbers), time, np.int64))
        series.append(numbers)
        values.append(columns_of_it)
    return Rows(times=np.concatenate(times), series=np.concatenate(series), values=np.concatenate(values, axis=1))


def summarize(rows: Rows, step: int) -> Rows:
    """One row a series and step, at the step's beginning: the mean of the first values, the highest of the last."""
    if not len(rows.times):
        return Rows(times=rows.times, series=rows.series, values=np.empty((2, 0)))
    starts = rows.times // step * step
    order = np.lexsort((rows.series, starts))
    series, starts, values = rows.series[order], starts[order], rows.values[:, order]
    first = np.flatnonzero(np.r_[True, (series[1:] != series[:-1]) | (starts[1:] != starts[:-1])])
    means = np.add.reduceat(values[0], first) / np.diff(np.r_[first, len(starts)])
    return Rows(
        times=starts[first], series=series[first], values=np.stack([means, np.maximum.reduceat(values[-1], first)])
    )
