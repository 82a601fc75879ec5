"""The file of answers: what is carried comes back as it was, by our reader and by others'."""

import csv
import io
import json
import math
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuzz.tables import TARGETS
from workbench.errors import ConfigError
from workbench.predicting.answer_files import check_suffix, writing
from workbench.tasks.files import open_rows, read_table

WEIRD = [
    'say "so"',
    '"',
    "a,b;c\td|e",
    "two\nlines",
    "old\rMac",
    "win\r\ndows",
    " spaces around ",
    ' "quoted after a space"',
    'back\\slash \\"',
    "sep=;",
    "=1+1",
    "\ufeffmark",
    "line\u2028separator",
    "żółć 🙂",
    "007",
    "NA",
    "",
]


def written(suffix: str, rows: list[dict], columns: dict) -> bytes:
    stream = io.BytesIO()
    with writing(stream, suffix, columns) as writer:
        for begin in range(0, len(rows), 3):
            writer.write(rows[begin : begin + 3])
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_cells_of_every_kind_come_back(suffix, tmp_path):
    rows = [{"n": str(n), "text": text} for n, text in enumerate(WEIRD)]
    path = tmp_path / f"out{suffix}"

    path.write_bytes(written(suffix, rows, dict.fromkeys(("n", "text"), pa.string())))

    assert read_table(path).rows == rows
    mark = "," if suffix == ".csv" else "\t"
    with path.open(newline="", encoding="utf-8") as stream:
        assert list(csv.DictReader(stream, delimiter=mark)) == rows
    frame = pd.read_csv(path, sep=mark, dtype=str, keep_default_na=False)
    assert frame.to_dict("records") == rows


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_texts_come_back_from_the_other_forms(suffix, tmp_path):
    rows = [{"n": number, "text": text} for number, text in enumerate(WEIRD)]
    path = tmp_path / f"out{suffix}"

    path.write_bytes(written(suffix, rows, {"n": pa.int64(), "text": pa.string()}))

    assert read_table(path).rows == rows


def test_what_is_no_text_is_written_as_json_writes_it():
    rows = [
        {"a": 1, "b": 0.5, "c": True, "d": None, "e": [1, "x"], "f": {"y": None}},
        {"a": math.nan, "b": Decimal("1.50"), "c": b"\xff", "d": pd.Timestamp("2026-01-02")},
    ]

    content = written(".csv", rows, dict.fromkeys("abcdef", pa.string())).decode()

    assert list(csv.reader(io.StringIO(content, newline=""))) == [
        list("abcdef"),
        ["1", "0.5", "true", "", '[1, "x"]', '{"y": null}'],
        ["", "1.50", "ff", "2026-01-02T00:00:00", "", ""],
    ]
    lines = [json.loads(line) for line in written(".jsonl", rows, {}).decode().splitlines()]
    assert lines[0] == rows[0]
    assert lines[1] == {"a": None, "b": "1.50", "c": "ff", "d": "2026-01-02T00:00:00"}


def test_half_a_character_ends_no_file():
    rows = [{"text": "a \ud800 b"}]

    assert json.loads(written(".jsonl", rows, {})) == rows[0]
    assert b"a \\ud800 b" in written(".csv", rows, {"text": pa.string()})
    table = pq.read_table(io.BytesIO(written(".parquet", rows, {"text": pa.string()})))
    assert table["text"].to_pylist() == ["a \\ud800 b"]


PARQUET = [seed for target in TARGETS if target.name == "parquet" for seed in target.seeds()]


@pytest.mark.parametrize("content", PARQUET, ids=range(len(PARQUET)))
def test_parquet_keeps_its_types(content, tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(content)
    file = open_rows(path)

    found = written(".parquet", [row for _, row in file.rows()], dict(file.columns))

    before, after = pq.read_table(path), pq.read_table(io.BytesIO(found))
    assert after.column_names == before.column_names
    for name in before.column_names:
        one, other = before[name], after[name]
        if pa.types.is_dictionary(one.type):
            one = one.cast(one.type.value_type)
        if b"huggingface" in (before.schema.metadata or {}) and name == "label":
            one = pa.chunked_array([["no", "yes"] * 7])
        assert other.type == one.type
        assert other.to_pylist() == one.to_pylist()


def test_many_rows_of_parquet_are_written_in_groups():
    rows = [{"text": "x" * 40_000}] * 3000

    found = pq.ParquetFile(io.BytesIO(written(".parquet", rows, {"text": pa.string()})))

    assert found.metadata.num_rows == 3000
    assert found.num_row_groups > 2


@pytest.mark.parametrize("name", ["answers", "answers.json", "answers.xlsx"])
def test_other_forms_are_refused(name):
    with pytest.raises(ConfigError, match=r"Known: \.csv, \.tsv, \.jsonl, \.parquet\."):
        check_suffix(Path(name))
