"""Columns that grow while a dump comes in, without ever being in memory twice."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIRST_ROWS = 1 << 12


class Columns:
    """Named columns of equal length; `len()` is the number of rows written."""

    def __init__(self, types: Mapping[str, type[np.generic]]) -> None:
        self._columns: dict[str, NDArray[Any]] = {name: np.empty(0, dtype) for name, dtype in types.items()}
        self._room = 0
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One column as it is now; the view must not outlive the next extend()."""
        return self._columns[name][: self._rows]

    def extend(self, rows: int) -> dict[str, NDArray[Any]]:
        """So many new rows, as views to be filled before anything else happens here."""
        start, self._rows = self._rows, self._rows + rows
        if self._rows > self._room:
            self._reallocate(max(self._rows, self._room + self._room // 4, _FIRST_ROWS))
        return {name: column[start : self._rows] for name, column in self._columns.items()}

    def truncate(self, rows: int) -> None:
        """Forget every row but the first ones."""
        self._rows = rows

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Forget every row but these, and put them in this order."""
        for column in self._columns.values():
            column[: len(rows)] = column[rows]
        self._rows = len(rows)

    def finish(self) -> dict[str, NDArray[Any]]:
        """The columns, at their length; nothing can be added afterwards."""
        self._reallocate(self._rows)
        return self._columns

    def _reallocate(self, rows: int) -> None:
        # The kernel moves the pages of a large array instead of copying them (mremap), so that a million sockets
        # need their columns once, not twice. No view is alive here, which is what refcheck would look for.
        for column in self._columns.values():
            column.resize(rows, refcheck=False)
        self._room = rows
