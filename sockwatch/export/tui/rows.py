"""The table below the verdict."""

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from sockwatch.export.tui.tables import Listing, Row


class Rows(DataTable[Text]):
    """Keys that open a row are shown below."""

    beyond = ""
    """The columns that are cut off, or wholly off the screen, before it is scrolled to the right."""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Open")]

    def show(self, table: Listing, rows: tuple[Row, ...], sort: int) -> None:
        """Numbers to the right; the column that is sorted by has a mark."""
        self.clear(columns=True)
        self.beyond = ""
        widths, left = [], self.size.width
        for i, column in enumerate(table.columns):
            title = f"{column.title}{'*' if i == sort else ''}"
            width = max([len(title), *(_width(row.cells[i].text) for row in rows)])
            widths.append(width if column.numeric else 0)
            self.add_column(Text(title.rjust(widths[i]), no_wrap=True), width=width + 2)
            left -= width
            if left < 0 < self.size.width:
                self.beyond += f" {column.title}"
            left -= 2
        for row in rows:
            cells = [
                Text(cell.text.rjust(width), cell.style, no_wrap=True)
                for cell, width in zip(row.cells, widths, strict=True)
            ]
            self.add_row(*cells, key=row.key, height=max(cell.text.count("\n") for cell in row.cells) + 1)


def _width(text: str) -> int:
    return max(map(len, text.split("\n")))
