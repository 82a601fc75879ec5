"""The file of answers: CSV, JSONL or Parquet, written row by row."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import ConfigError
from workbench.tasks.rows import Row

_GROUP_ROWS, _GROUP_BYTES = 65_536, 32_000_000  # of Parquet that are held before they are written


class AnswerWriter(Protocol):
    """Writes rows to a stream."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write some rows."""


def check_suffix(out: Path) -> None:
    """Refuse a name that does not say how answers are to be written.

    Raises:
        ConfigError: says which do.
    """
    if out.suffix.lower() not in _WRITERS:
        raise ConfigError(
            f"--out {out}: unknown file type '{out.suffix}'. Known: {', '.join(_WRITERS)}."
        )


@contextmanager
def writing(stream: BinaryIO, suffix: str, columns: Mapping[str, Any]) -> Iterator[AnswerWriter]:
    """Yield what writes rows in the format of a suffix; everything is written after the block.

    Args:
        stream: Where they go.
        suffix: ".csv", ".tsv", ".jsonl" or ".parquet".
        columns: Arrow type by column, in order.
    """
    with _WRITERS[suffix.lower()](stream, columns) as writer:
        yield writer


class _Cells:
    """Separated cells by RFC 4180; what is no text is written as JSON writes it."""

    def __init__(self, stream: BinaryIO, columns: Sequence[str], separator: str) -> None:
        self._stream = stream
        self._columns = columns
        self._separator = separator
        self._write([columns])

    def write(self, rows: Sequence[Row]) -> None:
        """Write some rows; a missing cell is empty."""
        self._write([[_cell(row.get(name)) for name in self._columns] for row in rows])

    def _write(self, records: Sequence[Sequence[str]]) -> None:
        buffer = io.StringIO()
        # With both characters as its end the module quotes cells that hold one of them.
        csv.writer(buffer, delimiter=self._separator, lineterminator="\r\n").writerows(records)
        self._stream.write(buffer.getvalue().encode("utf-8", "backslashreplace"))


class _Lines:
    """An object per line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, rows: Sequence[Row]) -> None:
        """Write some rows; a cell that a row does not have is left out."""
        for row in rows:
            content = {name: plain(cell) for name, cell in row.items()}
            line = json.dumps(content, ensure_ascii=False) + "\n"
            try:
                self._stream.write(line.encode())
            except UnicodeEncodeError:  # half a character, which JSON can spell
                self._stream.write((json.dumps(content) + "\n").encode())


class _Parquet:
    """Columns of the types that are given."""

    def __init__(self, stream: BinaryIO, columns: Mapping[str, Any]) -> None:
        self._schema = pa.schema(list(columns.items()))
        self._writer = pq.ParquetWriter(stream, self._schema)
        self._held: list[pa.RecordBatch] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Write some rows; a missing cell is null."""
        arrays = [
            pa.array([_of_type(row.get(one.name), one.type) for row in rows], one.type)
            for one in self._schema
        ]
        self._held.append(pa.record_batch(arrays, schema=self._schema))
        num_rows = sum(batch.num_rows for batch in self._held)
        if num_rows >= _GROUP_ROWS or sum(b.nbytes for b in self._held) >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is held and the file's end."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._held:
            table = pa.Table.from_batches(self._held)
            self._writer.write_table(table, row_group_size=_GROUP_ROWS)
            self._held = []


@contextmanager
def _csv(stream: BinaryIO, columns: Mapping[str, Any]) -> Iterator[AnswerWriter]:
    yield _Cells(stream, list(columns), ",")


@contextmanager
def _tsv(stream: BinaryIO, columns: Mapping[str, Any]) -> Iterator[AnswerWriter]:
    yield _Cells(stream, list(columns), "\t")


@contextmanager
def _jsonl(stream: BinaryIO, _: Mapping[str, Any]) -> Iterator[AnswerWriter]:
    yield _Lines(stream)


@contextmanager
def _parquet(stream: BinaryIO, columns: Mapping[str, Any]) -> Iterator[AnswerWriter]:
    writer = _Parquet(stream, columns)
    yield writer
    writer.close()


_WRITERS = {".csv": _csv, ".tsv": _tsv, ".jsonl": _jsonl, ".parquet": _parquet}


def plain(cell: Any) -> Any:
    """Return a cell as JSON has it: no number is null, times and decimals are text."""
    if isinstance(cell, np.ndarray | np.generic):
        cell = cell.tolist()
    if isinstance(cell, Mapping):
        return {str(name): plain(value) for name, value in cell.items()}
    if isinstance(cell, list | tuple):
        return [plain(value) for value in cell]
    if isinstance(cell, bytes):
        return cell.hex()
    if cell is None or pd.isna(cell) or (isinstance(cell, float) and not math.isfinite(cell)):
        return None
    if isinstance(cell, str | bool | int | float):
        return cell
    return cell.isoformat() if hasattr(cell, "isoformat") else str(cell)


def _cell(cell: Any) -> str:
    """Return a cell as text: text as it is, nothing as "", everything else as JSON writes it."""
    value = plain(cell)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _of_type(cell: Any, kind: Any) -> Any:
    """Return a cell as a column's type takes it."""
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if cell is None or (not isinstance(cell, list | dict | tuple) and pd.isna(cell)):
        return None
    if not pa.types.is_string(kind):
        return cell
    return _cell(cell).encode("utf-8", "backslashreplace").decode()
