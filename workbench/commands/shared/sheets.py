"""A sheet in the terminal and as files: its headline and tables."""

from collections.abc import Collection
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from workbench.presentation.blocks import Cell, Table
from workbench.presentation.display import NOTHING
from workbench.presentation.sheet import Sheet, write_sheet
from workbench.runs.run_files import REPORT_FORMS

_GAP = 2  # between two columns


def show_sheet(console: Console, sheet: Sheet, folder: Path, name: str) -> None:
    """Write a sheet's files, print its tables, and say where the files are.

    Raises:
        StoreError: the folder cannot be written.
    """
    write_sheet(sheet, folder, name)
    print_sheet(console, sheet)
    forms = ".md .tex .csv .json" + (", figures as .png .svg .pdf" if sheet.charts else "")
    console.print(f"report: {folder / name}.html (also {forms})", highlight=False, markup=False)


def print_report_place(console: Console, folder: Path, forms: Collection[str]) -> None:
    """Print where a report lies, and in which other forms of `REPORT_FORMS`."""
    others = " ".join(f".{REPORT_FORMS[form]}" for form in forms if form != "html")
    console.print(f"report: {folder / 'report.html'} (also {others})", highlight=False)


def print_sheet(console: Console, sheet: Sheet) -> None:
    """Print headline and tables, of each as many columns as fit side by side."""
    console.print()
    console.print(Text(sheet.headline))
    for table in sheet.tables:
        console.print()
        console.print(rich_table(table, console.width))
        columns = _fitting(table, console.width)
        if columns < len(table.columns):
            left_out = ", ".join(table.columns[columns:])
            console.print(f"not shown here: {left_out}", style="dim", markup=False)


def _fitting(table: Table, width: int) -> int:
    """Return how many columns fit; all of them where not even two do, folded then."""
    needed = [
        _GAP + max(len(_text(cell)) for cell in (name, *(row[place] for row in table.rows)))
        for place, name in enumerate(table.columns)
    ]
    fitting = [n for n in range(1, len(needed) + 1) if sum(needed[:n]) <= width + _GAP]
    return max(fitting, default=0) if len(fitting) > 1 else len(needed)


def rich_table(table: Table, width: int) -> RichTable:
    """Return a table for the terminal, with as many columns as fit side by side."""
    columns = _fitting(table, width)
    shown = RichTable(
        title=Text(table.title, style="bold"),
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
    )
    for column in table.columns[:columns]:
        shown.add_column(Text(column), overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(_text(cell)) for cell in row[:columns]))
    return shown


def _text(cell: Cell) -> str:
    return NOTHING if cell is None else str(cell)
