"""Rows out of CSV, TSV, JSONL, JSON and Parquet files: all of them, or as a stream.

A file is read whole or refused; only lines without any content are passed over.
"""

import codecs
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TextIO

import pyarrow as pa

from workbench.errors import TaskError
from workbench.sealed import file_digest, version_of
from workbench.tasks.delimited import LONGEST_ROW, look_through, read_delimited
from workbench.tasks.json_rows import (
    LINES_ADVICE,
    JsonColumns,
    Problems,
    objects,
    read_json,
    read_json_lines,
)
from workbench.tasks.parquet_rows import declared_parquet_rows, parquet_columns, parquet_rows
from workbench.tasks.rows import ColumnMapping, PlacedRow, Row, Table, samples_from_rows

__all__ = ["ColumnMapping", "RowFile", "open_rows", "read_rows", "read_table", "samples_from_rows"]

MAX_FILE_BYTES = 200_000_000  # bytes; a table of this size already takes some GB as Python rows
_USUAL_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_SUFFIXES = (".csv", ".json", ".jsonl", ".parquet", ".tsv")
_PIECE_BYTES = 1 << 20  # of a text that is looked at


@dataclass(frozen=True)
class RowFile:
    """A file that was looked through once, whose rows are read as a stream.

    Attributes:
        path: The file.
        columns: Arrow type of the cells by column, in order; of text files text, of JSON what all
            of a column's cells are, and text where they are of many kinds.
        num_rows: How many rows there are.
        unit: What the places of rows count: lines of a text file, or rows.
        notes: What had to be guessed to read it, as sentences that name it without folder.
    """

    path: Path
    columns: Mapping[str, Any]
    num_rows: int
    unit: Literal["line", "row"]
    notes: list[str]
    _read: Callable[[], Iterator[PlacedRow]] = field(repr=False)
    _version: tuple[int, ...] = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """Digest of its bytes.

        Raises:
            TaskError: it cannot be read any more.
        """
        try:
            return file_digest(self.path)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def rows(self) -> Iterator[PlacedRow]:
        """Yield each row and its place, from the first one on.

        Raises:
            TaskError: the file is not what it was when it was looked through.
        """
        try:
            yield from self._read()
        except UnicodeDecodeError as error:
            raise self._changed from error
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def check_unchanged(self) -> None:
        """Refuse a file that was written to since it was looked through.

        Raises:
            TaskError: it was, or it is gone.
        """
        try:
            is_same = version_of(self.path.resolve()) == self._version
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if not is_same:
            raise self._changed

    @property
    def _changed(self) -> TaskError:
        return TaskError(
            f"{self.path}: was changed while it was read. Leave it as it is meanwhile."
        )


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; see `read_table`."""
    return read_table(path).rows


def read_table(path: Path, *, separator: str | None = None) -> Table:
    """Return the rows of a .csv, .tsv, .jsonl, .json or .parquet file, with their places.

    CSV and TSV cells are text as written ("NA" and "007" stay); text files are UTF-8, with or
    without a byte order mark.

    Args:
        path: The file.
        separator: What stands between the cells of a CSV or TSV file; None finds it out.

    Raises:
        TaskError: the file is missing, unreadable, too large, of another kind, malformed or empty.
    """
    _check_file(path, most_bytes=MAX_FILE_BYTES)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        rows = list(parquet_rows(path, most_bytes=MAX_FILE_BYTES))
        table = Table(rows, list(range(1, len(rows) + 1)), "row")
    elif suffix in _USUAL_SEPARATORS:
        usual = _USUAL_SEPARATORS[suffix]
        table = read_delimited(path, _read_text(path), usual=usual, separator=separator)
    else:
        table = (read_json if suffix == ".json" else read_json_lines)(path, _read_text(path))
    _check_rows(path, len(table.rows))
    return table


def open_rows(path: Path, *, separator: str | None = None) -> RowFile:
    """Return a file whose rows are read as a stream, by the rules of `read_table`.

    It is looked through here, so what is malformed is said before anything is done with a row.
    No more of it is held in memory than a few rows; a list in JSON, which is no stream, is held
    whole and bounded as in `read_table`.

    Args:
        path: The file.
        separator: What stands between the cells of a CSV or TSV file; None finds it out.

    Raises:
        TaskError: the file is missing, unreadable, of another kind, malformed or empty; a row has
            more than `LONGEST_ROW` characters.
    """
    _check_file(path)
    try:
        version = version_of(path.resolve())
        found = _looked_through(path, separator, version)
    except OSError as error:
        raise _unreadable(path, error) from error
    _check_rows(path, found.num_rows)
    return found


def _looked_through(path: Path, separator: str | None, version: tuple[int, ...]) -> RowFile:
    suffix = path.suffix.lower()
    if suffix == ".parquet":

        def numbered() -> Iterator[PlacedRow]:
            return enumerate(parquet_rows(path, most_bytes=MAX_FILE_BYTES, is_stream=True), start=1)

        columns = parquet_columns(path)
        num_rows = sum(1 for _ in numbered())  # damaged pages are found here, not in the night
        return RowFile(path, columns, num_rows, "row", [], numbered, version)
    _check_text(path)
    if suffix in _USUAL_SEPARATORS:
        usual = _USUAL_SEPARATORS[suffix]
        cells = look_through(path, lambda: _opened(path), usual=usual, separator=separator)
        columns = dict.fromkeys(cells.columns, pa.string())
        return RowFile(path, columns, cells.num_rows, "line", cells.notes, cells.rows, version)
    if suffix == ".json" or _first_mark(path) == "[":
        table = read_table(path)
        kinds = JsonColumns(path)
        for row in table.rows:
            kinds.add(row)

        def placed() -> Iterator[PlacedRow]:
            return iter(zip(table.places, table.rows, strict=True))

        num_rows = len(table.rows)
        return RowFile(path, kinds.types, num_rows, table.unit, table.notes, placed, version)
    return _looked_through_lines(path, version)


def _looked_through_lines(path: Path, version: tuple[int, ...]) -> RowFile:
    kinds, problems, num_rows = JsonColumns(path), Problems(), 0
    for _, row in objects(path, _lines(path), problems):
        kinds.add(row)
        num_rows += 1
    problems.raise_if_any(LINES_ADVICE)

    def placed() -> Iterator[PlacedRow]:
        changed = Problems()
        yield from objects(path, _lines(path), changed)
        changed.raise_if_any(LINES_ADVICE)

    return RowFile(path, kinds.types, num_rows, "line", [], placed, version)


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file, which end in line feeds alone: JSON allows others in a string."""
    with _opened(path, newline="\n") as stream:
        while line := stream.readline(LONGEST_ROW):
            if len(line) == LONGEST_ROW:
                raise TaskError(
                    f"{path}: a line of {LONGEST_ROW} characters or more. {LINES_ADVICE}"
                )
            yield line


def _first_mark(path: Path) -> str:
    """Return the first character of a text that is no space."""
    with _opened(path) as stream:
        while piece := stream.read(_PIECE_BYTES):
            if piece.strip():
                return piece.strip()[0]
    return ""


def _opened(path: Path, newline: str = "") -> TextIO:
    return path.open(encoding="utf-8-sig", newline=newline)


def _check_text(path: Path) -> None:
    """Refuse a file that is no text in UTF-8, a piece at a time."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    with path.open("rb") as stream:
        while True:
            piece = stream.read(_PIECE_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                if b"\0" in piece[: max(0, error.start - pending)]:
                    raise _zero_bytes(path) from error
                raise _no_utf8(path, done - pending + error.start) from error
            if "\0" in text:
                raise _zero_bytes(path)
            if not piece:
                return
            done += len(piece)


def _check_rows(path: Path, number: int) -> None:
    if not number:
        found = "only a header" if path.suffix.lower() in _USUAL_SEPARATORS else "no rows"
        raise TaskError(f"{path}: the file has {found}. Add rows.")


def declared_rows(path: Path) -> int | None:
    """Return how many rows a Parquet file says it has; None for text, which has to be read.

    A few hundred bytes of Parquet can stand for billions of rows.

    Raises:
        TaskError: see `read_table`.
    """
    _check_file(path, most_bytes=MAX_FILE_BYTES)
    return declared_parquet_rows(path) if path.suffix.lower() == ".parquet" else None


def _check_file(path: Path, *, most_bytes: int | None = None) -> None:
    known = ", ".join(_SUFFIXES)
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise TaskError(f"{path}: no such file. Check the path.") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:  # a zero byte in the name
        raise TaskError(f"{str(path)!a}: no file has such a name ({error}).") from error
    if path.is_dir():
        raise TaskError(f"{path}: a folder, not a file. Give one file: {known}.")
    if not path.is_file():
        raise TaskError(f"{path}: not a regular file. Copy its content into one: {known}.")
    if path.suffix.lower() not in _SUFFIXES:
        raise TaskError(
            f"{path}: unknown file type '{path.suffix}'. Known: {known}. Convert the file."
        )
    if status.st_size == 0:
        raise TaskError(f"{path}: the file is empty. Add rows.")
    if most_bytes is not None and status.st_size > most_bytes:
        raise TaskError(
            f"{path}: the file has {status.st_size // 1_000_000} MB; at most "
            f"{most_bytes // 1_000_000} MB are read. Take a sample of it."
        )


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        text = content.decode()  # "utf-8-sig" would count places behind the mark
    except UnicodeDecodeError as error:
        if b"\0" in content[: error.start]:  # what comes first is said, as in a stream
            raise _zero_bytes(path) from error
        raise _no_utf8(path, error.start) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if "\0" in text:
        raise _zero_bytes(path)
    return text.removeprefix("\ufeff")


def _no_utf8(path: Path, byte: int) -> TaskError:
    return TaskError(
        f"{path}: byte {byte} is not UTF-8. Save the file as UTF-8 (in Excel: 'CSV UTF-8')."
    )


def _zero_bytes(path: Path) -> TaskError:
    return TaskError(f"{path}: holds zero bytes, so it is no UTF-8 text. Save it as UTF-8.")


def _unreadable(path: Path, error: OSError) -> TaskError:
    return TaskError(f"{path}: cannot be read: {error.strerror or error}.")
