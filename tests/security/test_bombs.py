"""Small files that stand for huge tables: refused before they are unpacked, by their own words."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from security.raw import Visitor, file_data
from workbench.errors import TaskError
from workbench.service import uploads
from workbench.service.profile import CPU_SPACE
from workbench.tasks.delimited import MAX_COLUMNS


def parquet(table: pa.Table) -> bytes:
    """Return a table as a Parquet file."""
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def repeated(text: str, number: int) -> pa.Array:
    """Return one text many times, which Parquet stores once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * number, pa.int32()), pa.array([text]))


def wide_header(separator: str) -> bytes:
    """Return a table of far too many columns."""
    return separator.join(f"c{number}" for number in range(200_000)).encode() + b"\n1\n"


FILES = {
    "a million rows": (
        "rows.parquet",
        lambda: parquet(pa.table({"text": repeated("x", 1_000_000)})),
        "1000000 rows; at most 5000 here.",
    ),
    "five gigabytes of text": (
        "rows.parquet",
        lambda: parquet(pa.table({"text": repeated("x" * 1_000_000, 5000)})),
        "unpacked, the file has more than 200 MB; no more are read.",
    ),
    "five gigabytes of text inside lists": (
        "rows.parquet",
        lambda: parquet(
            pa.table(
                {"text": pa.ListArray.from_arrays(range(5001), repeated("x" * 1_000_000, 5000))}
            )
        ),
        "has dictionaries inside lists or structs",
    ),
    "columns of a Parquet file": (
        "rows.parquet",
        lambda: parquet(pa.table({f"c{n}": ["x"] for n in range(MAX_COLUMNS + 1)})),
        "1001 columns; at most 1000 are read.",
    ),
    "columns of a CSV": (
        "rows.csv",
        lambda: wide_header(","),
        "200000 columns; at most 1000 are read.",
    ),
    "columns of a TSV": (
        "rows.tsv",
        lambda: wide_header("\t"),
        "200000 columns; at most 1000 are read.",
    ),
    "a header in quotes": (
        "rows.csv",
        lambda: b'"a\n' + b"x" * 200_000 + b'",' + wide_header(","),
        "200001 columns; at most 1000 are read.",
    ),
    "short rows below a wide header": (
        "rows.csv",
        lambda: ",".join(f"c{n}" for n in range(1000)).encode() + b"\na" * 60_000,
        "60000 rows of 1000 columns; at most 50000000 cells are read.",
    ),
    "new columns in every line": (
        "rows.jsonl",
        lambda: "\n".join(
            json.dumps({f"k{row}_{n}": 1 for n in range(30)}) for row in range(3000)
        ).encode(),
        "90000 columns; at most 1000 are read.",
    ),
    "new columns in every row": (
        "rows.json",
        lambda: json.dumps([{f"k{row}_{n}": 1 for n in range(30)} for row in range(3000)]).encode(),
        "90000 columns; at most 1000 are read.",
    ),
    "lists in lists": (
        "rows.json",
        lambda: b"[" * 1_000_000,
        "not valid JSON",
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_a_small_file_that_would_unpack_into_a_huge_one_is_refused(public, what):
    name, content, message = FILES[what]
    visitor = Visitor(public.address, "another-visitor-1")
    path = visitor.upload(name, content())

    answer = visitor.click("wb-file", "change", wb_file=file_data(path))

    assert "That did not work." in answer.html
    assert message in answer.html
    visitor.close()


def test_rows_are_counted_before_they_are_read(monkeypatch, tmp_path):
    file = tmp_path / "rows.parquet"
    file.write_bytes(parquet(pa.table({"text": repeated("x", 1_000_000)})))
    monkeypatch.setattr(uploads, "read_table", lambda path: pytest.fail("it was read"))

    with pytest.raises(TaskError, match="1000000 rows; at most 5000 here"):
        uploads.look_at(file, CPU_SPACE.caps)
