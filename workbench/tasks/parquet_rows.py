"""Rows out of Parquet files, a batch at a time."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import TaskError
from workbench.tasks.delimited import check_columns
from workbench.tasks.rows import Row, listed

# A time zone that is none is a KeyError; numbers and dates may be too large for Python's.
_ERRORS = (
    *(OSError, ValueError, KeyError, OverflowError, RecursionError),
    pa.ArrowException,
)
_BATCH = 64  # rows unpacked before their size is looked at again
_HELD, _HELD_BYTES = 16, 16_000_000  # batches of a stream that become rows together, or bytes


def declared_parquet_rows(path: Path) -> int:
    """Return how many rows a Parquet file says it has.

    A few hundred bytes of Parquet can stand for billions of rows.

    Raises:
        TaskError: it cannot be read.
    """
    with explained_parquet(path), pq.ParquetFile(path) as file:
        return int(file.metadata.num_rows)


def parquet_columns(path: Path) -> dict[str, Any]:
    """Return the Arrow type of the cells of each column, as `parquet_rows` yields them.

    Raises:
        TaskError: it cannot be read, or has too many columns, or two of one name.
    """
    with explained_parquet(path), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        _check_names(path, schema.names)
        named = _class_names(schema)
        return {
            one.name: pa.string()
            if one.name in named
            else one.type.value_type
            if pa.types.is_dictionary(one.type)
            else one.type
            for one in schema
        }


def parquet_rows(path: Path, *, most_bytes: int, is_stream: bool = False) -> Iterator[Row]:
    """Yield the rows of a Parquet file; numbered classes that have names become these.

    Args:
        path: The file.
        most_bytes: What its rows may take, unpacked.
        is_stream: Whether that holds for any few rows of it, and not for all together.

    Raises:
        TaskError: it cannot be read, or its rows take more than that.
    """
    with explained_parquet(path), pq.ParquetFile(path) as file:
        _check_names(path, file.schema_arrow.names)
        class_names = _class_names(file.schema_arrow)
        held: list[Any] = []
        size = 0
        for batch in file.iter_batches(_BATCH):
            held.append(_without_dictionaries(pa.Table.from_batches([batch])))
            size += held[-1].nbytes
            if size > most_bytes:
                what = f"{len(held) * _BATCH} rows of it have" if is_stream else "the file has"
                raise TaskError(
                    f"{path}: unpacked, {what} more than {most_bytes // 1_000_000} MB; no more "
                    "are read. Take a sample of it."
                )
            if is_stream and (len(held) == _HELD or size > _HELD_BYTES):
                yield from _rows(path, pa.concat_tables(held), class_names)
                held, size = [], 0
        if held:
            yield from _rows(path, pa.concat_tables(held), class_names)


def _rows(path: Path, table: pa.Table, class_names: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    # Arrow types keep whole numbers whole in a column that has gaps.
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    for cells in frame.to_dict("records"):
        row = {str(name): cell for name, cell in cells.items()}
        for column, labels in class_names.items():
            row[column] = _class_name(path, column, row[column], labels)
        yield row


def _check_names(path: Path, names: Sequence[str]) -> None:
    check_columns(path, len(names))
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TaskError(
            f"{path}: repeats {listed(repeated, 'column')}. Give each a name of its own."
        )


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
def explained_parquet(path: Path) -> Iterator[None]:
    """Turn what reading Parquet may end in into a message.

    Raises:
        TaskError: it cannot be read.
    """
    try:
        yield
    except _ERRORS as error:
        raise TaskError(
            f"{path}: cannot be read as Parquet: {str(error)[:200]}. Write the file again."
        ) from error
