"""Tables of separated cells (CSV, TSV) as spreadsheets, databases and programs write them.

Quotes are those of RFC 4180: a quote inside a quoted cell is doubled. What programs write beside it
is read only where one reading alone makes sense of the whole file, and named; the rest is refused.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from workbench.errors import TaskError
from workbench.tasks.forms import visible
from workbench.tasks.rows import Table, listed

MAX_COLUMNS = 1000  # a table of labelled texts has a few
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}

_NAMED = re.compile(r'"?sep=([^\w "\\\r\n])"?(?:\r\n|\n|\r)', re.IGNORECASE)  # spreadsheets' own
_QUOTED_AFTER_SPACE = re.compile(r' +".*" *', re.DOTALL)
_SPACED_QUOTE = re.compile(r'[,;|\t\r\n] +"')
_NUM_PROBED = 200  # rows that have to fit where the header fits two separators
_MOST_CELLS = 50_000_000  # some GB as Python rows
_LONGEST_CELL = 2**31 - 1

# The limit is the process's; a file's size is bounded before it is read, a cell needs no other.
csv.field_size_limit(_LONGEST_CELL)


class _Reading(NamedTuple):
    """How the quotes of a file are to be understood."""

    skips_spaces: bool = False
    has_escapes: bool = False


class _Record(NamedTuple):
    """One row, and the line it starts on; cells at its end may be missing."""

    line: int
    cells: list[str]

    def cell(self, place: int) -> str:
        """Return the cell of a column; a missing one is empty."""
        return self.cells[place] if place < len(self.cells) else ""


class _Unreadable(Exception):
    """One way to read a file does not fit it; says where and why."""


def check_columns(path: Path, number: int) -> None:
    """Raise a `TaskError` if a table has more columns than are read."""
    if number > MAX_COLUMNS:
        raise TaskError(
            f"{path}: {number} columns; at most {MAX_COLUMNS} are read. Keep those that matter."
        )


def read_delimited(path: Path, text: str, *, usual: str, separator: str | None) -> Table:
    """Return the rows of a file's text, with the lines they start on.

    Unnamed columns without content, as spreadsheets leave them at the end, are passed over.

    Args:
        path: What to call the file in messages.
        text: Its content.
        usual: The separator that the file's ending stands for.
        separator: The one that is given, itself or its name in `SEPARATORS`; None looks for it.

    Raises:
        TaskError: the file fits no separator, or two; a line has more cells than the header, or
            quotes that are neither doubled nor escaped; columns have no name or one name.
    """
    named = _NAMED.match(text)
    before = 0
    separator = None if separator is None else SEPARATORS.get(separator, separator)
    if named is not None:
        text, before = text[named.end() :], 1
        separator = separator or named[1]
    if not _header(text, separator or usual):
        raise TaskError(f"{path}: the file is empty. Add labelled rows.")
    found = separator or _separator(path, text, usual)
    check_columns(path, len(_header(text, found)))
    table = Table([], [], "line")
    header, records, reading = _read(path, text, found, before)
    if reading.has_escapes:
        table.notes.append(rf"{path.name}: \" inside a quoted cell was read as a quote.")
    if separator is None and found != usual:
        table.notes.append(f"{path.name}: read with {found!r} between the cells.")
    names = [visible(name).strip() for name in header.cells]
    kept = _columns(path, names, records)
    if len(records) * len(kept) > _MOST_CELLS:  # a short line stands for as many as the header has
        raise TaskError(
            f"{path}: {len(records)} rows of {len(kept)} columns; at most {_MOST_CELLS} cells are "
            "read. Take a sample of it."
        )
    for record in records:
        table.rows.append({names[i]: record.cell(i) for i in kept})
        table.places.append(record.line)
    return table


def _separator(path: Path, text: str, usual: str) -> str:
    """Return the separator that gives the header several names, and every row as many cells."""
    marks = [usual, *(mark for mark in SEPARATORS.values() if mark != usual)]
    several = [mark for mark in marks if len(_header(text, mark)) > 1]
    if len(several) < 2:
        return several[0] if several else usual
    fitting = []
    for mark in several:
        header, *rows = _first_records(text, mark, 1 + _NUM_PROBED)
        if all(len(row) == len(header) for row in rows):
            fitting.append(mark)
    if len(fitting) > 1:
        shown = " and ".join(map(repr, fitting))
        raise TaskError(
            f"{path}: {shown} both split every line into as many cells as the header. Say which "
            f"one it is: --separator, or a first line sep={fitting[0]} in the file."
        )
    return (fitting or several)[0]


def _first_records(text: str, separator: str, number: int) -> list[list[str]]:
    """Return the first records with content; quotes that do not fit are taken as they come."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    return list(islice((cells for cells in reader if _has_content(cells)), number))


def _header(text: str, separator: str) -> list[str]:
    """Return the cells of the first record that are not empty."""
    first = _first_records(text, separator, 1)
    return [name for cells in first for name in cells if name.strip()]


def _read(
    path: Path, text: str, separator: str, before: int
) -> tuple[_Record, list[_Record], _Reading]:
    """Return header and rows in the first reading that fits the whole file, and that reading."""
    plain, problem = _attempt(text, separator, before, _Reading())
    if plain is not None and not any(map(_has_spaced_quotes, plain)):
        return plain[0], plain[1:], _Reading()
    others = []
    if _SPACED_QUOTE.search(text):
        others.append(_Reading(skips_spaces=True))
    if plain is None and _has_only_escapes(text):
        others.append(_Reading(has_escapes=True))
    for reading in others:
        found, _ = _attempt(text, separator, before, reading)
        if found is not None:
            return found[0], found[1:], reading
    if plain is None:
        raise TaskError(f"{path}{problem}")
    return plain[0], plain[1:], _Reading()


def _has_only_escapes(text: str) -> bool:
    r"""Return whether a text has `\"`, and no backslash that is not part of it or of `\\`."""
    return r"\"" in text and "\\" not in text.replace("\\\\", "").replace(r"\"", "")


def _attempt(
    text: str, separator: str, before: int, reading: _Reading
) -> tuple[list[_Record] | None, str]:
    """Return header and rows in one reading; or none, and where and why it does not fit."""
    try:
        return list(_records(text, separator, before, reading)), ""
    except _Unreadable as error:
        return None, str(error)


def _records(text: str, separator: str, before: int, reading: _Reading) -> Iterator[_Record]:
    """Yield header and rows, none longer than the header; without rows that have no content.

    Raises:
        _Unreadable: the reading does not fit.
    """
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        escapechar="\\" if reading.has_escapes else None,
        skipinitialspace=reading.skips_spaces,
        strict=True,
    )
    width = 0
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            problem = _quote_problem(error, line + before, reader.line_num + before)
            raise _Unreadable(problem) from error
        if cells is None:
            return
        if _has_content(cells):
            width = width or len(cells)
            if _has_content(cells[width:]):
                raise _Unreadable(
                    f": line {line + before} has {len(cells)} cells, the header {width}. "
                    "Put cells that hold the separator in double quotes."
                )
            yield _Record(line + before, cells[:width])
        line = reader.line_num + 1


def _quote_problem(error: csv.Error, first: int, last: int) -> str:
    if "end of data" in str(error):
        return f", line {first}: a cell opens with a double quote and never closes it. Close it."
    return (
        f", line {last}: a quoted cell goes on after its closing quote. Inside a quoted cell write "
        'each quote twice ("").'
    )


def _columns(path: Path, names: Sequence[str], records: Sequence[_Record]) -> list[int]:
    """Return the positions of the columns to keep: those with a name or content.

    Raises:
        TaskError: names repeat, or several columns have content and no name.
    """
    unnamed = [
        place
        for place, name in enumerate(names)
        if not name and any(record.cell(place).strip() for record in records)
    ]
    if len(unnamed) > 1:
        raise TaskError(
            f"{path}: {listed([str(place + 1) for place in unnamed], 'column')} have content and "
            "no name in the header. Name them."
        )
    kept = [place for place, name in enumerate(names) if name or place in unnamed]
    repeated = [name for name, count in Counter(names[i] for i in kept).items() if count > 1]
    if repeated:
        raise TaskError(
            f"{path}: the header repeats {listed(repeated, 'column')}. Give each a name of its own."
        )
    return kept


def _has_spaced_quotes(record: _Record) -> bool:
    """Return whether a cell was probably quoted, with a space between separator and quote."""
    return any(_QUOTED_AFTER_SPACE.fullmatch(cell) for cell in record.cells)


def _has_content(cells: Sequence[str]) -> bool:
    return any(cell.strip() for cell in cells)
