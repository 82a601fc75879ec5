"""Files of every kind are read whole, or refused with the line and the way out."""

import json
import os
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.errors import TaskError
from workbench.tasks.files import MAX_FILE_BYTES, read_rows, read_table


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative names, so that whole messages can be written out."""
    monkeypatch.chdir(tmp_path)


TWO_ROWS: list[dict[str, object]] = [
    {"text": "good", "label": "yes"},
    {"text": "bad", "label": "no"},
]

SAME_ROWS = {
    "a.csv": "text,label\ngood,yes\nbad,no\n",
    "a.CSV": "text,label\r\ngood,yes\r\n\r\nbad,no",
    "a.tsv": "text\tlabel\ngood\tyes\nbad\tno\n",
    "a.jsonl": '{"text": "good", "label": "yes"}\n\n{"text": "bad", "label": "no"}\n',
    "a.json": '[{"text": "good", "label": "yes"}, {"text": "bad", "label": "no"}]',
}


@pytest.mark.parametrize("name", SAME_ROWS)
def test_every_text_format_gives_the_same_rows(name: str) -> None:
    Path(name).write_bytes(SAME_ROWS[name].encode())

    assert read_rows(Path(name)) == TWO_ROWS


def test_parquet_gives_the_same_rows() -> None:
    pd.DataFrame(TWO_ROWS).to_parquet("a.parquet")

    assert read_rows(Path("a.parquet")) == TWO_ROWS


def test_a_byte_order_mark_is_not_part_of_the_first_column() -> None:
    Path("a.csv").write_text("\ufefftext,label\ngood,yes\n", encoding="utf-8")

    assert read_rows(Path("a.csv")) == [{"text": "good", "label": "yes"}]


def test_csv_cells_stay_as_written() -> None:
    Path("a.csv").write_text('text,label\nNA,007\nnull,1.0\n"<b>a, ""b""</b>",True\n')

    assert read_rows(Path("a.csv")) == [
        {"text": "NA", "label": "007"},
        {"text": "null", "label": "1.0"},
        {"text": '<b>a, "b"</b>', "label": "True"},
    ]


def test_csv_places_are_lines_even_after_blank_lines_and_cells_of_several_lines() -> None:
    Path("a.csv").write_text('text,label\n"two\nlines",yes\n\nshort\nlast,no\n')

    table = read_table(Path("a.csv"))

    assert table.unit == "line"
    assert table.places == [2, 5, 6]
    assert table.rows[1] == {"text": "short", "label": ""}


def test_jsonl_places_are_lines_and_a_line_separator_in_a_text_is_no_line_end() -> None:
    Path("a.jsonl").write_text('\n{"text": "a\u2028b"}\n\n{"text": "c"}\n', encoding="utf-8")

    table = read_table(Path("a.jsonl"))

    assert table.places == [2, 4]
    assert table.rows[0] == {"text": "a\u2028b"}


def test_parquet_keeps_whole_numbers_whole_beside_gaps() -> None:
    frame = pd.DataFrame({"label": pd.array([1, None, 3], dtype="Int64"), "text": ["a", "b", None]})
    frame.to_parquet("a.parquet")

    assert read_rows(Path("a.parquet")) == [
        {"label": 1, "text": "a"},
        {"label": None, "text": "b"},
        {"label": 3, "text": None},
    ]


KNOWN = ".csv, .json, .jsonl, .parquet, .tsv"

BROKEN: dict[str, tuple[str, bytes, str]] = {
    "empty file": ("a.csv", b"", "a.csv: the file is empty. Add rows."),
    "header only": (
        "a.csv",
        b"text,label\n",
        "a.csv: the file has only a header. Add rows.",
    ),
    "blank lines only": ("a.csv", b"\n\n", "a.csv: the file is empty. Add rows."),
    "no JSONL rows": ("a.jsonl", b"\n\n", "a.jsonl: the file has no rows. Add rows."),
    "no JSON rows": ("a.json", b"[]", "a.json: the file has no rows. Add rows."),
    "unknown suffix": (
        "a.xlsx",
        b"PK",
        f"a.xlsx: unknown file type '.xlsx'. Known: {KNOWN}. Convert the file.",
    ),
    "no suffix": ("a", b"x", f"a: unknown file type ''. Known: {KNOWN}. Convert the file."),
    "Latin-1": (
        "a.csv",
        "text,label\ncafé,yes\n".encode("latin-1"),
        "a.csv: byte 14 is not UTF-8. Save the file as UTF-8 (in Excel: 'CSV UTF-8').",
    ),
    "Latin-1 behind a byte order mark": (
        "a.csv",
        b"\xef\xbb\xbftext,label\ncaf\xe9,yes\n",
        "a.csv: byte 17 is not UTF-8. Save the file as UTF-8 (in Excel: 'CSV UTF-8').",
    ),
    "UTF-16": (
        "a.jsonl",
        "\ufeff{}".encode("utf-16-le"),
        "a.jsonl: byte 0 is not UTF-8. Save the file as UTF-8 (in Excel: 'CSV UTF-8').",
    ),
    "UTF-16 without mark": (
        "a.csv",
        "text,label\na,b\n".encode("utf-16-le"),
        "a.csv: holds zero bytes, so it is no UTF-8 text. Save it as UTF-8.",
    ),
    "too many cells": (
        "a.csv",
        b"text,label\na,b\na,b,c\n",
        "a.csv: line 3 has 3 cells, the header 2. "
        "Put cells that hold the separator in double quotes.",
    ),
    "more cells than the header in every row": (
        "a.csv",
        b"text,label\na,b,c\na,b,c\n",
        "a.csv: line 2 has 3 cells, the header 2. "
        "Put cells that hold the separator in double quotes.",
    ),
    "open quote": (
        "a.csv",
        b'text,label\n"a,b\nc,d\n',
        "a.csv, line 2: a cell opens with a double quote and never closes it. Close it.",
    ),
    "repeated column": (
        "a.csv",
        b"text,label,text\na,b,c\n",
        "a.csv: the header repeats column text. Give each a name of its own.",
    ),
    "malformed JSONL": (
        "a.jsonl",
        b'{"text": 1}\n{"text": \n[1]\n{}}\n',
        "a.jsonl, line 2: not valid JSON: Expecting value at character 10.\n"
        "a.jsonl, line 3: [1] is no JSON object.\n"
        "a.jsonl, line 4: not valid JSON: Extra data at character 3.\n"
        'Write one object per line: {"text": "…", "label": "…"}.',
    ),
    "many malformed lines": (
        "a.jsonl",
        b"1\n" * 7,
        "".join(f"a.jsonl, line {n}: 1 is no JSON object.\n" for n in range(1, 6))
        + 'and 2 more of them.\nWrite one object per line: {"text": "…", "label": "…"}.',
    ),
    "JSONL in a .json": (
        "a.json",
        b'{"text": "a"}\n{"text": "b"}\n',
        "a.json: not valid JSON: Extra data: line 2 column 1 (char 14). "
        "One object per line is .jsonl.",
    ),
    "JSON mapping": (
        "a.json",
        json.dumps({"rows": ["a"] * 20}).encode(),
        'a.json: {"rows": ["a", "a", "a", "a", "a", "a... is no list. Write a list of objects: '
        '[{"text": "…", "label": "…"}, …].',
    ),
    "JSON list of texts": (
        "a.json",
        b'[{"text": "a"}, "b"]',
        'a.json, row 2: "b" is no JSON object.\nWrite objects: {"text": "…", "label": "…"}.',
    ),
    "broken Parquet": (
        "a.parquet",
        b"abc",
        "a.parquet: cannot be read as Parquet: Parquet file size is 3 bytes, smaller than the "
        "minimum file footer (8 bytes). Write the file again.",
    ),
}


@pytest.mark.parametrize(("name", "content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_says_what_is_wrong(name: str, content: bytes, message: str) -> None:
    Path(name).write_bytes(content)

    with pytest.raises(TaskError) as error:
        read_rows(Path(name))

    assert str(error.value) == message


def test_deeply_nested_json_is_refused() -> None:
    Path("a.jsonl").write_text("[" * 100_000 + "\n")

    with pytest.raises(TaskError, match=r"^a\.jsonl, line 1: not valid JSON: "):
        read_rows(Path("a.jsonl"))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(TaskError) as error:
        read_rows(Path("gone.csv"))

    assert str(error.value) == "gone.csv: no such file. Check the path."


def test_a_folder_is_refused() -> None:
    Path("a.csv").mkdir()

    with pytest.raises(TaskError) as error:
        read_rows(Path("a.csv"))

    assert str(error.value) == f"a.csv: a folder, not a file. Give one file: {KNOWN}."


def test_a_pipe_is_refused_instead_of_waited_for() -> None:
    os.mkfifo("a.csv")

    with pytest.raises(TaskError) as error:
        read_rows(Path("a.csv"))

    assert str(error.value) == (f"a.csv: not a regular file. Copy its content into one: {KNOWN}.")


def test_a_path_the_system_refuses_gives_the_system_reason() -> None:
    path = Path("x" * 300 + ".csv")

    with pytest.raises(TaskError) as error:
        read_rows(path)

    assert str(error.value) == f"{path}: cannot be read: File name too long."


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_a_file_that_may_not_be_read_gives_the_system_reason(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:  # permissions do not stop a test that runs as root
        raise PermissionError(13, "Permission denied", str(path))

    Path(name).write_text("text,label")
    monkeypatch.setattr(Path, "read_bytes", refuse)

    with pytest.raises(TaskError) as error:
        read_rows(Path(name))

    assert str(error.value) == f"{name}: cannot be read: Permission denied."


def test_a_file_above_the_limit_is_refused_unread() -> None:
    with Path("a.csv").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1_000_000)  # sparse; takes no space

    with pytest.raises(TaskError) as error:
        read_rows(Path("a.csv"))

    assert str(error.value) == (
        "a.csv: the file has 201 MB; at most 200 MB are read. Take a sample of it."
    )


def test_a_json_list_named_jsonl_is_read_and_says_so() -> None:
    Path("a.jsonl").write_text(json.dumps(TWO_ROWS, indent=2))

    table = read_table(Path("a.jsonl"))

    assert table.rows == TWO_ROWS
    assert table.notes == ["a.jsonl: a JSON list, although named .jsonl; read as one."]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_key_given_twice_is_no_certain_row(name: str) -> None:
    row = '{"text": "a", "label": "x", "text": "b"}'
    Path(name).write_text(row if name == "a.jsonl" else f"[{row}]")

    with pytest.raises(TaskError, match="not valid JSON: an object has key text twice"):
        read_rows(Path(name))


def test_a_parquet_column_given_twice_is_no_certain_row() -> None:
    column = pa.array(["a"])
    table = pa.Table.from_arrays([column, column, column], names=["text", "label", "text"])
    pq.write_table(table, "a.parquet")

    with pytest.raises(TaskError) as error:
        read_rows(Path("a.parquet"))

    assert str(error.value) == ("a.parquet: repeats column text. Give each a name of its own.")


def class_labels(names: list[str], numbers: list[int | None]) -> datasets.Dataset:
    """Return rows whose labels are numbers with names, as `datasets` keeps them."""
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=names)
    )
    texts = [f"text {number}" for number in range(len(numbers))]
    return datasets.Dataset.from_dict({"text": texts, "label": numbers}, features=features)


def test_class_labels_of_datasets_have_their_names() -> None:
    class_labels(["cold", "warm"], [1, 0, None, -1, 1]).to_parquet("a.parquet")
    back = datasets.Dataset.from_parquet("a.parquet", cache_dir="cache")
    to_name = back.features["label"].int2str
    expected = [None if n is None or n < 0 else to_name(n) for n in back["label"]]

    assert [row["label"] for row in read_rows(Path("a.parquet"))] == expected
    assert expected == ["warm", "cold", None, None, "warm"]


def test_a_class_without_a_name_is_refused() -> None:
    class_labels(["cold", "warm", "hot"], [0, 2]).to_parquet("b.parquet")
    table = pq.read_table("b.parquet")
    known = table.schema.metadata[b"huggingface"].replace(b', "hot"', b"")
    pq.write_table(table.replace_schema_metadata({b"huggingface": known}), "a.parquet")

    with pytest.raises(TaskError) as error:
        read_rows(Path("a.parquet"))

    assert str(error.value) == (
        "a.parquet: column 'label' has the class 2; the file's metadata names 2 classes, from 0. "
        "Write the file again."
    )


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": {"features": {"label": 1}}}'])
def test_metadata_that_names_no_classes_changes_nothing(metadata: bytes) -> None:
    table = pa.table({"text": ["a"], "label": [1]})
    pq.write_table(table.replace_schema_metadata({b"huggingface": metadata}), "a.parquet")

    assert read_rows(Path("a.parquet")) == [{"text": "a", "label": 1}]
