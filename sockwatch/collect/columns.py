"""Columns that grow while a dump comes in, and are never in memory twice."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, PAGESIZE, mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MADV_POPULATE_WRITE = 23
"""include/uapi/asm-generic/mman-common.h (v5.14, 4ca9b3859dac)."""
_MANY_ROWS = 1 << 12


class Columns:
    """Named columns of equal length; `len()` is the number of rows written.

    Each lives in a mapping of its own: to grow, the kernel moves its pages instead of copying them (mremap), and room
    that nobody has written to takes no memory. A mapping that somebody looks at cannot move, so no view that was taken
    from here may be alive when rows are added; Python raises BufferError if one is.
    """

    def __init__(self, types: Mapping[str, type[np.generic]]) -> None:
        self._types = {name: np.dtype(kind) for name, kind in types.items()}
        self._memory = {name: mmap(-1, PAGESIZE, MAP_PRIVATE | MAP_ANONYMOUS) for name in types}
        self._room = PAGESIZE // max((kind.itemsize for kind in self._types.values()), default=1)
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    @property
    def names(self) -> Collection[str]:
        """Of the columns."""
        return self._types.keys()

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One column, as a view."""
        return self._view(name, 0)

    def extend(self, rows: int) -> dict[str, NDArray[Any]]:
        """So many new rows, as views to be filled."""
        start, self._rows = self._rows, self._rows + rows
        if self._rows > self._room:
            self._room = max(self._rows, 2 * self._room)
            self._grow(start)
        if rows >= _MANY_ROWS:
            self._populate(start)
        return {name: self._view(name, start) for name in self._types}

    def truncate(self, rows: int) -> None:
        """Forget every row but the first ones."""
        self._rows = rows

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Forget every row but these, and put them in this order."""
        for name in self._types:
            column = self._view(name, 0)
            column[: len(rows)] = column[rows]
        self._rows = len(rows)

    def finish(self) -> dict[str, NDArray[Any]]:
        """Every column, as a view that keeps it alive; nothing can be added while there is one."""
        return {name: self._view(name, 0) for name in self._types}

    def _grow(self, _rows: int) -> None:
        """To the room that there is now, with so many rows kept."""
        for name, memory in self._memory.items():
            memory.resize(self._room * self._types[name].itemsize)

    def _populate(self, start: int) -> None:
        """Have the kernel map the pages of all rows from here on at once, in place of one fault for each."""
        with suppress(OSError):  # a kernel before v5.14
            for name, memory in self._memory.items():
                size = self._types[name].itemsize
                low = -(-start * size // PAGESIZE) * PAGESIZE
                high = min(-(-self._rows * size // PAGESIZE) * PAGESIZE, len(memory))
                if low < high:
                    memory.madvise(_MADV_POPULATE_WRITE, low, high - low)

    def _view(self, name: str, start: int) -> NDArray[Any]:
        kind = self._types[name]
        # frombuffer, not ndarray(): only the former tells the mapping that somebody looks at it.
        return np.frombuffer(self._memory[name], kind, self._rows - start, start * kind.itemsize)


class FewColumns(Columns):
    """The same for few rows, of which it is known how many: ordinary memory, which need not be mapped for each look."""

    def __init__(self, types: Mapping[str, type[np.generic]], room: int) -> None:
        super().__init__({})
        self._types = {name: np.dtype(kind) for name, kind in types.items()}
        self._room = room
        self._arrays = {name: np.empty(room, kind) for name, kind in self._types.items()}

    def _grow(self, rows: int) -> None:
        for name, array in self._arrays.items():
            self._arrays[name] = np.empty(self._room, self._types[name])
            self._arrays[name][:rows] = array[:rows]

    def _populate(self, _start: int) -> None:
        """Nothing: this memory has mostly been written to before."""

    def _view(self, name: str, start: int) -> NDArray[Any]:
        return self._arrays[name][start : self._rows]
