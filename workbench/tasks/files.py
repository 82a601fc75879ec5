"""Rows out of CSV, TSV, JSONL, JSON and Parquet files.

A file is read whole or refused; only lines without any content are passed over.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import TaskError
from workbench.tasks.rows import NUM_NAMED, ColumnMapping, Row, Table, listed, samples_from_rows

__all__ = ["ColumnMapping", "read_rows", "read_table", "samples_from_rows"]

MAX_FILE_BYTES = 200_000_000  # bytes; a table of this size already takes some GB as Python rows
MAX_COLUMNS = 1000  # a table of labelled texts has a few
_PARQUET_BATCH = 64  # rows unpacked before their size is looked at again


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; see `read_table`."""
    return read_table(path).rows


def read_table(path: Path) -> Table:
    """Return the rows of a .csv, .tsv, .jsonl, .json or .parquet file, with their places.

    CSV and TSV cells are text as written ("NA" and "007" stay); text files are UTF-8, with or
    without a byte order mark.

    Raises:
        TaskError: the file is missing, unreadable, too large, of another kind, malformed or empty.
    """
    _check_file(path)
    suffix = path.suffix.lower()
    table = _READERS[suffix](path)
    if not table.rows:
        found = "only a header" if suffix in (".csv", ".tsv") else "no rows"
        raise TaskError(f"{path}: the file has {found}. Add labelled rows.")
    return table


def declared_rows(path: Path) -> int | None:
    """Return how many rows a Parquet file says it has; None for text, which has to be read.

    A few hundred bytes of Parquet can stand for billions of rows.

    Raises:
        TaskError: see `read_table`.
    """
    _check_file(path)
    if path.suffix.lower() != ".parquet":
        return None
    with _explained_parquet(path), pq.ParquetFile(path) as file:
        return int(file.metadata.num_rows)


def _check_columns(path: Path, number: int) -> None:
    if number > MAX_COLUMNS:
        raise TaskError(
            f"{path}: {number} columns; at most {MAX_COLUMNS} are read. Keep those that matter."
        )


def _check_file(path: Path) -> None:
    known = ", ".join(sorted(_READERS))
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise TaskError(f"{path}: no such file. Check the path.") from error
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror}.") from error
    if path.is_dir():
        raise TaskError(f"{path}: a folder, not a file. Give one file: {known}.")
    if not path.is_file():
        raise TaskError(f"{path}: not a regular file. Copy its content into one: {known}.")
    if path.suffix.lower() not in _READERS:
        raise TaskError(
            f"{path}: unknown file type '{path.suffix}'. Known: {known}. Convert the file."
        )
    if status.st_size == 0:
        raise TaskError(f"{path}: the file is empty. Add labelled rows.")
    if status.st_size > MAX_FILE_BYTES:
        raise TaskError(
            f"{path}: the file has {status.st_size // 1_000_000} MB; at most "
            f"{MAX_FILE_BYTES // 1_000_000} MB are read. Take a sample of it."
        )


def _read_text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(
            f"{path}: byte {error.start} is not UTF-8. Save the file as UTF-8 "
            "(in Excel: 'CSV UTF-8')."
        ) from error
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror}.") from error
    if "\0" in text:
        raise TaskError(f"{path}: holds zero bytes, so it is no UTF-8 text. Save it as UTF-8.")
    return text


def _read_delimited(path: Path, separator: str) -> Table:
    text = _read_text(path)
    _check_columns(path, _num_cells(path, text, separator))
    try:
        # Without a header of its own pandas neither renames repeated columns nor takes the first
        # one for an index, and refuses rows that are longer than the first.
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=None,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
        )
    except pd.errors.EmptyDataError as error:
        raise TaskError(f"{path}: the file is empty. Add labelled rows.") from error
    except pd.errors.ParserError as error:
        raise TaskError(f"{path}: {_delimiter_problem(str(error))}") from error
    header, *records = frame.to_numpy().tolist()
    names = [str(name).strip() for name in header]
    _check_header(path, names, separator)
    place = 1 + _num_lines(header)
    table = Table([], [], "line")
    for record in records:
        if any(cell.strip() for cell in record):
            table.rows.append(dict(zip(names, record, strict=True)))
            table.places.append(place)
        place += _num_lines(record)
    return table


def _num_cells(path: Path, text: str, separator: str) -> int:
    """Return the number of columns before pandas makes an object for each of them."""
    try:
        return len(next(csv.reader(io.StringIO(text), delimiter=separator), ()))
    except csv.Error as error:
        raise TaskError(f"{path}: the header cannot be read: {error}. Correct it.") from error


def _num_lines(record: Iterable[str]) -> int:
    return 1 + sum(cell.count("\n") for cell in record)


def _delimiter_problem(message: str) -> str:
    found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", message)
    if found:
        expected, line, seen = found.groups()
        return (
            f"line {line} has {seen} cells, the header {expected}. "
            "Put cells that hold the separator in double quotes."
        )
    return (
        f"cannot be split into cells: {message.rpartition('error: ')[2].strip()}. "
        "Look for a cell that opens with a double quote and never closes it."
    )


def _check_header(path: Path, names: Sequence[str], separator: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TaskError(
            f"{path}: the header repeats {listed(repeated, 'column')}. Give each a name of its own."
        )
    other = next((mark for mark in (";", "\t", ",") if mark in names[0]), None)
    if len(names) == 1 and other is not None:
        raise TaskError(
            f"{path}: the only column is {names[0]!r}, so cells seem to be separated by {other!r}, "
            f"not by {separator!r}. Save with commas as .csv or with tabs as .tsv."
        )


def _read_jsonl(path: Path) -> Table:
    table = Table([], [], "line")
    problems = []
    # Not splitlines: it also breaks at U+2028, which JSON allows inside a string.
    for place, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"{path}, line {place}: not valid JSON: {error}.")
            continue
        if isinstance(row, dict):
            table.rows.append(row)
            table.places.append(place)
        else:
            problems.append(f"{path}, line {place}: {_shown(row)} is no JSON object.")
    _raise_first(problems, advice='Write one object per line: {"text": "…", "label": "…"}.')
    _check_columns(path, len({name for row in table.rows for name in row}))
    return table


def _read_json(path: Path) -> Table:
    try:
        rows = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise TaskError(
            f"{path}: not valid JSON: {error}. One object per line is .jsonl."
        ) from error
    if not isinstance(rows, list):
        raise TaskError(
            f"{path}: {_shown(rows)} is no list. Write a list of objects: "
            '[{"text": "…", "label": "…"}, …].'
        )
    problems = [
        f"{path}, row {place}: {_shown(row)} is no JSON object."
        for place, row in enumerate(rows, start=1)
        if not isinstance(row, dict)
    ]
    _raise_first(problems, advice='Write objects: {"text": "…", "label": "…"}.')
    _check_columns(path, len({name for row in rows for name in row}))
    return Table(rows, list(range(1, len(rows) + 1)), "row")


def _read_parquet(path: Path) -> Table:
    with _explained_parquet(path), pq.ParquetFile(path) as file:
        _check_columns(path, len(file.schema_arrow.names))
        batches, size = [file.schema_arrow.empty_table()], 0
        for batch in file.iter_batches(_PARQUET_BATCH):
            batches.append(_without_dictionaries(pa.Table.from_batches([batch])))
            size += batches[-1].nbytes
            if size > MAX_FILE_BYTES:
                raise TaskError(
                    f"{path}: unpacked, the file has more than {MAX_FILE_BYTES // 1_000_000} MB; "
                    "no more are read. Take a sample of it."
                )
        table = pa.concat_tables(batches[1:] or batches)
        # Arrow types keep whole numbers whole in a column that has gaps.
        frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    rows = [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]
    return Table(rows, list(range(1, len(rows) + 1)), "row")


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """Return a table as large as its cells: Arrow keeps a text that many rows share once."""
    for place, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if pa.types.is_dictionary(column.type):
            plain = column.cast(column.type.value_type)
            table = table.set_column(place, name, plain)
        elif "dictionary" in str(column.type):
            raise ValueError(f"column {name!r} has dictionaries inside lists or structs")
    return table


@contextmanager
def _explained_parquet(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise TaskError(
            f"{path}: cannot be read as Parquet: {error}. Write the file again."
        ) from error


def _raise_first(problems: Sequence[str], *, advice: str) -> None:
    if problems:
        more = len(problems) - NUM_NAMED
        rest = [f"and {more} more of them."] if more > 0 else []
        raise TaskError("\n".join([*problems[:NUM_NAMED], *rest, advice]))


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _read_csv(path: Path) -> Table:
    return _read_delimited(path, ",")


def _read_tsv(path: Path) -> Table:
    return _read_delimited(path, "\t")


_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".tsv": _read_tsv,
}
