"""CSV that a spreadsheet opens without running anything that came from data."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

Cell = str | int | float | None

# A spreadsheet takes such a cell for a formula; white space before it does not help.
_FORMULA = re.compile(r"^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\n]")


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a header and one line per row; text like a formula gets a "'" before it."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(map(safe_cell, columns))
    writer.writerows(map(safe_cell, row) for row in rows)
    return target.getvalue()


def safe_cell(value: Cell) -> Cell:
    """Return a cell that stays what it is and can be written.

    Lone surrogates, which no file can hold, are escaped. Carriage returns become line feeds: the
    writer leaves a lone one unquoted, and what follows it would start a line of its own.
    """
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "backslashreplace").decode("utf-8")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if _FORMULA.search(text) else text
