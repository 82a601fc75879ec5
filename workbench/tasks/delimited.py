"""Tables of separated cells (CSV, TSV) as spreadsheets, databases and programs write them.

Quotes are those of RFC 4180: a quote inside a quoted cell is doubled. What programs write beside it
is read only where one reading alone makes sense of the whole file, and named; the rest is refused.
A file is looked through once, then its rows are read as a stream: a file larger than memory is read
by the same rules as a small one.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

from workbench.errors import TaskError
from workbench.tasks.forms import visible
from workbench.tasks.rows import PlacedRow, Table, listed

MAX_COLUMNS = 1000  # a table of labelled texts has a few
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
LONGEST_ROW = 1 << 24  # characters; many times the longest context, and little beside a base

_NAMED = re.compile(r'"?sep=([^\w "\\\r\n])"?(?:\r\n|\n|\r)', re.IGNORECASE)  # spreadsheets' own
_QUOTED_AFTER_SPACE = re.compile(r' +".*" *', re.DOTALL)
_SPACED_QUOTE = re.compile(r'[,;|\t] +"')
_SPACED_QUOTE_FIRST = re.compile(r' +"')  # in a line that is not the first
_NUM_PROBED = 200  # rows that have to fit where the header fits two separators
_MOST_CELLS = 50_000_000  # some GB as Python rows
_LONGEST_CELL = 2**31 - 1

# The limit is the process's; a row's length is bounded before it is read, a cell needs no other.
csv.field_size_limit(_LONGEST_CELL)

Source = Callable[[], TextIO]
"""Opens a text at its beginning, line ends as they are (`newline=""`)."""


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


@dataclass(frozen=True)
class _Text:
    """A text that can be read again and again; the first lines may be no rows."""

    source: Source
    before: int = 0

    def lines(self) -> Iterator[str]:
        """Yield lines with their ends; one that is too long comes in pieces."""
        with self.source() as stream:
            for _ in range(self.before):
                stream.readline()
            while line := stream.readline(LONGEST_ROW):
                yield line


@dataclass
class _Seen:
    """What a pass over the whole text has seen.

    Attributes:
        header: The first row.
        num_rows: How many come after it.
        filled: Positions of columns without a name that have content.
        has_spaced_quotes: Whether a cell was probably quoted after a space.
    """

    header: _Record
    num_rows: int = 0
    filled: set[int] = field(default_factory=set)
    has_spaced_quotes: bool = False


@dataclass(frozen=True)
class DelimitedRows:
    """The rows of a text that was looked through, read anew at each call.

    Attributes:
        path: What the file is called in messages.
        columns: Names of the columns that are kept, in order.
        num_rows: How many rows there are.
        notes: What had to be guessed, as sentences.
    """

    path: Path
    columns: tuple[str, ...]
    num_rows: int
    notes: list[str]
    _text: _Text
    _separator: str
    _reading: _Reading
    _kept: tuple[int, ...]

    def rows(self) -> Iterator[PlacedRow]:
        """Yield each row with the line it starts on.

        Raises:
            TaskError: the text is not the one that was looked through.
        """
        records = _records(self._text, self._separator, self._reading)
        try:
            for record in islice(records, 1, None):
                cells = map(record.cell, self._kept)
                yield record.line, dict(zip(self.columns, cells, strict=True))
        except _Unreadable as error:
            raise TaskError(f"{self.path}{error}") from error


def check_columns(path: Path, number: int) -> None:
    """Raise a `TaskError` if a table has more columns than are read."""
    if number > MAX_COLUMNS:
        raise TaskError(
            f"{path}: {number} columns; at most {MAX_COLUMNS} are read. Keep those that matter."
        )


def read_delimited(path: Path, text: str, *, usual: str, separator: str | None) -> Table:
    """Return the rows of a file's text, with the lines they start on; see `look_through`.

    Raises:
        TaskError: see `look_through`; or more cells than are held in memory.
    """
    found = look_through(
        path, lambda: io.StringIO(text, newline=""), usual=usual, separator=separator
    )
    num = len(found.columns)
    if found.num_rows * num > _MOST_CELLS:  # a short line stands for as many as the header has
        raise TaskError(
            f"{path}: {found.num_rows} rows of {num} columns; at most {_MOST_CELLS} cells are "
            "read. Take a sample of it."
        )
    table = Table([], [], "line", found.notes)
    for place, row in found.rows():
        table.rows.append(row)
        table.places.append(place)
    return table


def look_through(path: Path, source: Source, *, usual: str, separator: str | None) -> DelimitedRows:
    """Return how a text of separated cells is to be read, found out by a pass over all of it.

    Unnamed columns without content, as spreadsheets leave them at the end, are passed over.

    Args:
        path: What to call the file in messages.
        source: Opens its content.
        usual: The separator that the file's ending stands for.
        separator: The one that is given, itself or its name in `SEPARATORS`; None looks for it.

    Raises:
        TaskError: the file fits no separator, or two; a line has more cells than the header, or
            quotes that are neither doubled nor escaped, or is too long; columns have no name or
            one name.
    """
    separator = None if separator is None else SEPARATORS.get(separator, separator)
    text = _Text(source)
    named = _NAMED.fullmatch(next(text.lines(), ""))
    if named is not None:
        text, separator = _Text(source, before=1), separator or named[1]
    if not _header(text, separator or usual):
        raise TaskError(f"{path}: the file is empty. Add rows.")
    found = separator or _separator(path, text, usual)
    check_columns(path, len(_header(text, found)))
    seen, reading = _looked_through(path, text, found)
    notes = []
    if reading.has_escapes:
        notes.append(rf"{path.name}: \" inside a quoted cell was read as a quote.")
    if separator is None and found != usual:
        notes.append(f"{path.name}: read with {found!r} between the cells.")
    names = _names(seen.header)
    kept = _columns(path, names, seen.filled)
    columns = tuple(names[place] for place in kept)
    return DelimitedRows(path, columns, seen.num_rows, notes, text, found, reading, kept)


def _names(header: _Record) -> list[str]:
    return [visible(name).strip() for name in header.cells]


def _separator(path: Path, text: _Text, usual: str) -> str:
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


def _first_records(text: _Text, separator: str, number: int) -> list[list[str]]:
    """Return the first records with content; quotes that do not fit are taken as they come."""
    beginning = _up_to(text.lines(), LONGEST_ROW)
    reader = csv.reader(beginning, delimiter=separator, skipinitialspace=True)
    return list(islice((cells for cells in reader if _has_content(cells)), number))


def _up_to(lines: Iterable[str], most: int) -> Iterator[str]:
    """Yield the first lines, at most so many characters: a quote may stay open to the end."""
    for line in lines:
        yield line
        most -= len(line)
        if most <= 0:
            return


def _header(text: _Text, separator: str) -> list[str]:
    """Return the cells of the first record that are not empty."""
    first = _first_records(text, separator, 1)
    return [name for cells in first for name in cells if name.strip()]


def _looked_through(path: Path, text: _Text, separator: str) -> tuple[_Seen, _Reading]:
    """Return the first reading that fits the whole file, and what was seen in it."""
    plain, problem = _attempt(text, separator, _Reading())
    if plain is not None and not plain.has_spaced_quotes:
        return plain, _Reading()
    others = []
    if _has_spaced_quote(text):
        others.append(_Reading(skips_spaces=True))
    if plain is None and _has_only_escapes(text):
        others.append(_Reading(has_escapes=True))
    for reading in others:
        found, _ = _attempt(text, separator, reading)
        if found is not None:
            return found, reading
    if plain is None:
        raise TaskError(f"{path}{problem}")
    return plain, _Reading()


def _has_spaced_quote(text: _Text) -> bool:
    """Return whether a quote stands after a separator, or a line's end, and spaces."""
    return any(
        _SPACED_QUOTE.search(line) or (number and _SPACED_QUOTE_FIRST.match(line))
        for number, line in enumerate(text.lines())
    )


def _has_only_escapes(text: _Text) -> bool:
    r"""Return whether a text has `\"`, and no backslash that is not part of it or of `\\`."""
    is_there = False
    for line in text.lines():
        is_there = is_there or r"\"" in line
        if "\\" in line.replace("\\\\", "").replace(r"\"", ""):
            return False
    return is_there


def _attempt(text: _Text, separator: str, reading: _Reading) -> tuple[_Seen | None, str]:
    """Return what one reading sees; or nothing, and where and why it does not fit."""
    records = _records(text, separator, reading)
    try:
        header = next(records)
        seen = _Seen(header, has_spaced_quotes=_has_spaced_quotes(header))
        unnamed = [place for place, name in enumerate(_names(header)) if not name]
        for record in records:
            seen.num_rows += 1
            seen.filled.update(place for place in unnamed if record.cell(place).strip())
            seen.has_spaced_quotes = seen.has_spaced_quotes or _has_spaced_quotes(record)
    except _Unreadable as error:
        return None, str(error)
    return seen, ""


def _records(text: _Text, separator: str, reading: _Reading) -> Iterator[_Record]:
    """Yield header and rows, none longer than the header; without rows that have no content.

    Raises:
        _Unreadable: the reading does not fit.
    """
    lines = _RowLines(text.lines())
    reader = csv.reader(
        lines,
        delimiter=separator,
        escapechar="\\" if reading.has_escapes else None,
        skipinitialspace=reading.skips_spaces,
        strict=True,
    )
    width = 0
    line = 1 + text.before
    while True:
        lines.size = 0
        try:
            cells = next(reader, None)
        except csv.Error as error:
            problem = _quote_problem(error, line, reader.line_num + text.before)
            raise _Unreadable(problem) from error
        except _TooLong as error:
            raise _Unreadable(
                f", line {line}: a row of {LONGEST_ROW} characters or more. If a cell there "
                "opens with a double quote, close it."
            ) from error
        if cells is None:
            return
        if _has_content(cells):
            width = width or len(cells)
            if _has_content(cells[width:]):
                raise _Unreadable(
                    f": line {line} has {len(cells)} cells, the header {width}. "
                    "Put cells that hold the separator in double quotes."
                )
            yield _Record(line, cells[:width])
        line = reader.line_num + text.before + 1


class _TooLong(Exception):
    """A row goes on for too long."""


class _RowLines:
    """Hands lines to a reader, and ends with an error where a row takes too many of them.

    Attributes:
        size: Characters handed over since it was set to 0.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.size = 0

    def __iter__(self) -> "_RowLines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.size += len(line)
        if self.size >= LONGEST_ROW:
            raise _TooLong
        return line


def _quote_problem(error: csv.Error, first: int, last: int) -> str:
    if "end of data" in str(error):
        return f", line {first}: a cell opens with a double quote and never closes it. Close it."
    return (
        f", line {last}: a quoted cell goes on after its closing quote. Inside a quoted cell write "
        'each quote twice ("").'
    )


def _columns(path: Path, names: Sequence[str], filled: set[int]) -> tuple[int, ...]:
    """Return the positions of the columns to keep: those with a name or content.

    Raises:
        TaskError: names repeat, or several columns have content and no name.
    """
    if len(filled) > 1:
        raise TaskError(
            f"{path}: {listed([str(place + 1) for place in sorted(filled)], 'column')} have "
            "content and no name in the header. Name them."
        )
    kept = tuple(place for place, name in enumerate(names) if name or place in filled)
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
