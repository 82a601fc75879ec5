"""Rows out of CSV, TSV, JSONL, JSON and Parquet files.

A file is read whole or refused; only lines without any content are passed over.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import TaskError
from workbench.tasks.delimited import check_columns, read_delimited
from workbench.tasks.rows import NUM_NAMED, ColumnMapping, Row, Table, listed, samples_from_rows

__all__ = ["ColumnMapping", "read_rows", "read_table", "samples_from_rows"]

MAX_FILE_BYTES = 200_000_000  # bytes; a table of this size already takes some GB as Python rows
_USUAL_SEPARATORS = {".csv": ",", ".tsv": "\t"}
# A time zone that is none is a KeyError; numbers and dates may be too large for Python's.
_PARQUET_ERRORS = (
    *(OSError, ValueError, KeyError, OverflowError, RecursionError),
    pa.ArrowException,
)
_PARQUET_BATCH = 64  # rows unpacked before their size is looked at again


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
    _check_file(path)
    suffix = path.suffix.lower()
    if suffix in _USUAL_SEPARATORS:
        usual = _USUAL_SEPARATORS[suffix]
        table = read_delimited(path, _read_text(path), usual=usual, separator=separator)
    else:
        table = _READERS[suffix](path)
    if not table.rows:
        found = "only a header" if suffix in _USUAL_SEPARATORS else "no rows"
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


def _check_file(path: Path) -> None:
    known = ", ".join(sorted([*_READERS, *_USUAL_SEPARATORS]))
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise TaskError(f"{path}: no such file. Check the path.") from error
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:  # a zero byte in the name
        raise TaskError(f"{str(path)!a}: no file has such a name ({error}).") from error
    if path.is_dir():
        raise TaskError(f"{path}: a folder, not a file. Give one file: {known}.")
    if not path.is_file():
        raise TaskError(f"{path}: not a regular file. Copy its content into one: {known}.")
    if path.suffix.lower() not in (*_READERS, *_USUAL_SEPARATORS):
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


def _read_jsonl(path: Path) -> Table:
    text = _read_text(path)
    if text.lstrip().startswith("["):  # an object per line starts with a brace
        rows = _json_list(text)
        if rows is not None:
            table = _json_table(path, rows)
            table.notes.append(f"{path.name}: a JSON list, although named .jsonl; read as one.")
            return table
    table = Table([], [], "line")
    problems = []
    # Not splitlines: it also breaks at U+2028, which JSON allows inside a string.
    for place, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _parsed(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"{path}, line {place}: not valid JSON: {error}.")
            continue
        if isinstance(row, dict):
            table.rows.append(row)
            table.places.append(place)
        else:
            problems.append(f"{path}, line {place}: {_shown(row)} is no JSON object.")
    _raise_first(problems, advice='Write one object per line: {"text": "…", "label": "…"}.')
    _check_names(path, {name for row in table.rows for name in row})
    return table


def _json_list(text: str) -> list[object] | None:
    """Return the list that a text is; None if it is none, or one of lists and plain values."""
    try:
        rows = _parsed(text)
    except (ValueError, RecursionError):
        return None
    return rows if isinstance(rows, list) and any(isinstance(row, dict) for row in rows) else None


def _read_json(path: Path) -> Table:
    try:
        rows = _parsed(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise TaskError(
            f"{path}: not valid JSON: {error}. One object per line is .jsonl."
        ) from error
    if not isinstance(rows, list):
        raise TaskError(
            f"{path}: {_shown(rows)} is no list. Write a list of objects: "
            '[{"text": "…", "label": "…"}, …].'
        )
    return _json_table(path, rows)


def _json_table(path: Path, rows: Sequence[object]) -> Table:
    problems = [
        f"{path}, row {place}: {_shown(row)} is no JSON object."
        for place, row in enumerate(rows, start=1)
        if not isinstance(row, dict)
    ]
    _raise_first(problems, advice='Write objects: {"text": "…", "label": "…"}.')
    objects = [row for row in rows if isinstance(row, dict)]
    _check_names(path, {name for row in objects for name in row})
    return Table(objects, list(range(1, len(objects) + 1)), "row")


def _check_names(path: Path, names: Collection[str]) -> None:
    """Raise a `TaskError` if there are too many columns, or one whose name is no text."""
    check_columns(path, len(names))
    broken = [name for name in names if not name.isprintable() and _is_broken(name)]
    if broken:
        raise TaskError(
            f"{path}: half a character (a lone surrogate) in the name of column {broken[0]!r}. "
            "Write it again."
        )


def _is_broken(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _parsed(text: str) -> object:
    """Return what a JSON text says; an object with one key twice says nothing certain."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        raise ValueError(f"an object has {listed(repeated, 'key')} twice")
    return found


def _read_parquet(path: Path) -> Table:
    with _explained_parquet(path), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        check_columns(path, len(names))
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise TaskError(
                f"{path}: repeats {listed(repeated, 'column')}. Give each a name of its own."
            )
        class_names = _class_names(file.schema_arrow)
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
    for column, labels in class_names.items():
        for row in rows:
            row[column] = _class_name(path, column, row[column], labels)
    return Table(rows, list(range(1, len(rows) + 1)), "row")


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the label names of numbered columns that `datasets` keeps in a file's metadata."""
    try:
        known = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: [str(label) for label in feature["names"]]
            for name, feature in known.items()
            if name in schema.names
            and isinstance(feature, dict)
            and feature.get("_type") == "ClassLabel"
            and isinstance(feature.get("names"), list)
        }
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return {}  # not written by `datasets`: the numbers are all there is


def _class_name(path: Path, column: str, cell: object, labels: Sequence[str]) -> object:
    """Return the name of a class number; -1 stands for a hidden label, which is no label."""
    if not isinstance(cell, int) or isinstance(cell, bool):
        return cell
    if cell < 0:
        return None
    if cell >= len(labels):
        raise TaskError(
            f"{path}: column '{column}' has the class {cell}; the file's metadata names "
            f"{len(labels)} classes, from 0. Write the file again."
        )
    return labels[cell]


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
    except _PARQUET_ERRORS as error:
        raise TaskError(
            f"{path}: cannot be read as Parquet: {str(error)[:200]}. Write the file again."
        ) from error


def _raise_first(problems: Sequence[str], *, advice: str) -> None:
    if problems:
        more = len(problems) - NUM_NAMED
        rest = [f"and {more} more of them."] if more > 0 else []
        raise TaskError("\n".join([*problems[:NUM_NAMED], *rest, advice]))


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


_READERS: dict[str, Callable[[Path], Table]] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
