"""What there is, as a table in the terminal."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from workbench.options import declared_options

_GAP = "  "  # between columns
_NARROWEST = 4  # a column is not made narrower than that, however narrow the terminal


@dataclass
class Listing:
    """A table whose cells are plain text, wrapped where the terminal is too narrow for it.

    Made for lists of a thousand lines: the tables of rich take a second for those.

    Attributes:
        columns: Their titles.
        rows: Cells by row.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add_row(self, *cells: str) -> None:
        """Add a row with a cell for each column."""
        self.rows.append(cells)

    def lines(self, width: int) -> list[str]:
        """Return title line and rows for a terminal with so many places."""
        rows = [self.columns, *self.rows]
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        room = width - len(_GAP) * (len(widths) - 1)
        widths = _narrowed(widths, max(room, _NARROWEST * len(widths)))
        return [line for row in rows for line in _wrapped(row, widths)]


def listing(*columns: str) -> Listing:
    """Return an empty table with these columns."""
    return Listing(columns)


def print_listing(table: Listing) -> None:
    """Print a table as it is: no cell is markup."""
    console = Console()
    title, *lines = table.lines(console.width)
    console.out(title, style="bold", highlight=False)
    if lines:
        console.out("\n".join(lines), highlight=False)


def print_options(found: type) -> None:
    """Print the options of a method or reading: default, what is allowed, and what it does."""
    table = listing("option", "default", "allowed", "what")
    for option in declared_options(found).values():
        allowed = ", ".join(option.choices or ()) or option.bounds
        table.add_row(option.name, str(option.default), allowed, option.help)
    print_listing(table)


def _narrowed(widths: Sequence[int], room: int) -> list[int]:
    """Return widths that fit into the room: the widest columns give way, down to one width."""
    found = sorted(widths)
    for number, width in enumerate(found):
        share = room // (len(found) - number)
        if width > share:  # it and all wider ones get an equal part of what is left
            return [min(one, share) for one in widths]
        room -= width
    return list(widths)


def _wrapped(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the lines of a row."""
    cells = [_lines(cell, width) for cell, width in zip(row, widths, strict=True)]
    return [
        _GAP.join(
            set_cell_size(part, width) for part, width in zip(parts, widths, strict=True)
        ).rstrip()
        for parts in zip_longest(*cells, fillvalue="")
    ]


def _lines(cell: str, width: int) -> list[str]:
    """Return a cell's text in lines that fit, broken between words where that is possible."""
    if not (cell.isascii() and cell.isprintable()):  # letters of two places, tabs, line ends
        return [line.plain for line in Text(cell).wrap(Console(), width, overflow="fold")] or [""]
    if len(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_on_hyphens=False)
