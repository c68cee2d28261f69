"""Columns that grow while a dump comes in, and are never in memory twice."""

from collections.abc import Mapping
from contextlib import suppress
from mmap import MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, PAGESIZE, mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MANY_ROWS = 1 << 16
"""Above this, columns are in huge pages: the kernel gives 2 MB at a time in place of 4 KB, which takes half as long."""
_LARGE_ROOM = 1 << 21
"""Rows that there is room for then; what is not written to takes no memory."""


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

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One column, as a view."""
        return self._view(name, 0)

    def extend(self, rows: int) -> dict[str, NDArray[Any]]:
        """So many new rows, as views to be filled."""
        start, self._rows = self._rows, self._rows + rows
        if self._rows > self._room:
            self._make_room(start)
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

    def _make_room(self, written: int) -> None:
        large = self._room >= _LARGE_ROOM
        self._room = max(self._rows, 2 * self._room)
        if self._rows > _MANY_ROWS and not large:
            self._room = max(self._room, _LARGE_ROOM)
            for name, kind in self._types.items():
                # A new mapping: pages that the old one has would stay small.
                with self._memory[name] as old:
                    self._memory[name] = _map_huge(self._room * kind.itemsize)
                    self._memory[name][: written * kind.itemsize] = old[: written * kind.itemsize]
            return
        for name, kind in self._types.items():
            self._memory[name].resize(self._room * kind.itemsize)

    def _view(self, name: str, start: int) -> NDArray[Any]:
        kind = self._types[name]
        # frombuffer, not ndarray(): only the former tells the mapping that somebody looks at it.
        return np.frombuffer(self._memory[name], kind, self._rows - start, start * kind.itemsize)


def _map_huge(size: int) -> mmap:
    memory = mmap(-1, size, MAP_PRIVATE | MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages
        memory.madvise(MADV_HUGEPAGE)
    return memory
