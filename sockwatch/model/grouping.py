"""Which rows agree in every one of several columns: counts by state, by port, by peer, and the groups of findings.

Sorting a million wide keys costs more than reading the sockets. Here each row claims a slot of a hash table, the first
row that claims a slot represents it, and every other row is compared with its representative column by column; those
that differ try again in another table. So the hash decides only how fast the answer is, never what it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.integer[Any]] | NDArray[np.bool_]

_MULTIPLIERS = (0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0xD6E8_FEB8_6659_FD93)
"""Odd numbers with well-spread bits (golden ratio, xxHash, splitmix64), one table each."""
_WORD_BITS = 64
_MIN_TABLE_BITS = 16
_MAX_TABLE_BITS = 20
"""4 MB, which stay in the cache; with a million different keys a larger table is no faster."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Groups:
    """`index` is each row's group; `first` is each group's first row, ascending; `count` is how many rows it has.

    Groups are numbered in the order of their first rows, so the same table gives the same numbers.
    """

    index: NDArray[np.int32]
    first: NDArray[np.int32]
    count: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)


def group(column: Column, /, *columns: Column) -> Groups:
    """Group the rows in which all columns agree. Columns are integers or booleans of equal length.

    Raises ValueError for columns of unequal length and TypeError for columns that are neither.
    """
    rows = len(column)
    words = _pack((column, *columns))
    if not words:
        return Groups(
            index=np.zeros(rows, np.int32),
            first=np.zeros(min(rows, 1), np.int32),
            count=np.full(min(rows, 1), rows, np.int64),
        )
    leader = _find_leaders(words)
    leads = leader == np.arange(rows, dtype=np.int32)
    number = np.cumsum(leads, dtype=np.int32)
    number -= 1
    first = np.flatnonzero(leads).astype(np.int32)
    index = number[leader]
    return Groups(index=index, first=first, count=np.bincount(index, minlength=len(first)))


def _pack(columns: Sequence[Column]) -> list[NDArray[np.uint64]]:
    """The columns side by side in as few 64-bit words as hold what varies in them, 32 bits for IPv4 addresses."""
    words: list[NDArray[np.uint64]] = []
    free = 0
    for column in columns:
        if column.dtype.kind not in "iub":
            raise TypeError(f"cannot group by {column.dtype}")
        if len(column) != len(columns[0]):
            raise ValueError(f"columns of {len(columns[0])} and of {len(column)} rows")
        if not len(column):
            continue
        numbers = column.view(f"u{column.dtype.itemsize}")
        least = int(numbers.min())
        bits = (int(numbers.max()) - least).bit_length()
        if not bits:
            continue
        word = numbers.astype(np.uint64)
        word -= np.uint64(least)
        if bits <= free:
            words[-1] <<= np.uint64(bits)
            words[-1] |= word
            free -= bits
        else:
            words.append(word)
            free = _WORD_BITS - bits
    return words


def _find_leaders(words: Sequence[NDArray[np.uint64]]) -> NDArray[np.int32]:
    """For each row the first row that equals it."""
    rows = len(words[0])
    bits = min(max((2 * rows).bit_length(), _MIN_TABLE_BITS), _MAX_TABLE_BITS)
    if len(words) == 1 and int(words[0].max()) < 1 << bits:
        slot = words[0].astype(np.int32)
        return _claim(slot, np.arange(rows, dtype=np.int32), bits)[slot]
    leader = pending = np.arange(rows, dtype=np.int32)
    left = list(words)
    for multiplier in _MULTIPLIERS:
        slot = _hash(left, multiplier, bits)
        claimed = _claim(slot, pending, bits)[slot]
        agrees = np.ones(len(pending), np.bool_)
        for word, rest in zip(words, left, strict=True):
            agrees &= word[claimed] == rest
        if len(pending) == rows:
            leader = claimed
        else:
            leader[pending] = claimed
        pending = pending[~agrees]  # what does not agree is written again
        if not len(pending):
            return leader
        left = [word[pending] for word in words]
    leader[pending] = pending[_find_leaders_by_sorting(left)]
    return leader


def _hash(words: Sequence[NDArray[np.uint64]], multiplier: int, bits: int) -> NDArray[np.int32]:
    """A slot for each row; the high bits of a product depend on all bits of its factors."""
    factor = np.uint64(multiplier)
    mixed = words[0] * factor
    high = np.empty_like(mixed)
    for word in words[1:]:
        mixed ^= np.right_shift(mixed, 32, out=high)
        mixed ^= word
        mixed *= factor
    mixed ^= np.right_shift(mixed, 29, out=high)
    mixed *= factor
    mixed >>= np.uint64(_WORD_BITS - bits)
    return mixed.astype(np.int32)


def _claim(slot: NDArray[np.int32], rows: NDArray[np.int32], bits: int) -> NDArray[np.int32]:
    """For each slot the first of `rows` in it: of several assignments to one place numpy keeps the last."""
    table = np.empty(1 << bits, np.int32)
    table[slot[::-1]] = rows[::-1]
    return table


def _find_leaders_by_sorting(words: Sequence[NDArray[np.uint64]]) -> NDArray[np.intp]:
    """The same by sorting: slower, for the keys that collide in every table, as somebody may choose them to."""
    order = np.lexsort(words)
    starts = np.zeros(len(order), np.bool_)
    starts[0] = True
    for word in words:
        sorted_word = word[order]
        starts[1:] |= sorted_word[1:] != sorted_word[:-1]
    leader = np.empty(len(order), np.intp)
    leader[order] = order[starts][np.cumsum(starts) - 1]
    return leader
