"""Files of rows as a stream: what `read_table` reads, by the same rules, without holding it."""

import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuzz.tables import TARGETS, same_as_a_stream
from workbench.errors import TaskError
from workbench.tasks.delimited import LONGEST_ROW
from workbench.tasks.files import MAX_FILE_BYTES, open_rows, read_table

SUFFIXES = {
    "delimited": (".csv", ".tsv"),
    "json_rows": (".jsonl", ".json"),
    "parquet": (".parquet",),
}
SEEDS = [
    (suffix, number, content)
    for target in TARGETS
    for suffix in SUFFIXES[target.name]
    for number, content in enumerate(target.seeds())
]
WEIRD = {
    "line ends of all kinds": b'text,label\r\n"a\nb",x\r\n\r\n"c\r\nd",y\r\n',
    "old Mac line ends": b"text,label\ra,x\rb,y\r",
    "a byte order mark and quotes": '\ufefftext,n\n"say ""so""",1\n" ",2\n'.encode(),
    "a byte that is no UTF-8": b"text\n" + b"fine\n" * 400_000 + b"\xff\n",
    "half a character at the end": "text\né".encode()[:-1],
    "zero bytes": b"text\na\0b\n",
    "a quote that is never closed": b'text,n\na,1\n"b,2\nc,3\n',
    "a quote that is not doubled": b'text,n\na,1\n"b "c" d",2\n',
    "escaped quotes": b'text,n\n"a \\"b\\" c",1\n',
    "a space before the quotes": b'text, n\n "a, b", 1\n',
    "no rows": b"text,label\n",
    "nothing": b"",
    "blank lines": b"\n\n",
    "two columns of one name": b"text,text\na,b\n",
}


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [pytest.param(suffix, content, id=f"{suffix}-{n}") for suffix, n, content in SEEDS],
)
def test_a_stream_gives_the_rows_of_the_table(suffix, content):
    path = Path(f"rows{suffix}")
    path.write_bytes(content)

    same_as_a_stream(path)


@pytest.mark.parametrize("content", WEIRD.values(), ids=WEIRD)
def test_a_stream_refuses_in_the_same_words(content):
    Path("rows.csv").write_bytes(content)

    same_as_a_stream(Path("rows.csv"))


def test_lines_that_are_no_objects_are_named_before_anything_is_read():
    Path("rows.jsonl").write_text('{"text": "a"}\n{"text": \n[1]\n')

    with pytest.raises(
        TaskError, match=r"line 2: not valid JSON.*\n.*line 3: \[1\] is no JSON obj"
    ):
        open_rows(Path("rows.jsonl"))


def test_a_row_without_an_end_is_refused_before_it_fills_the_memory():
    path = Path("rows.csv")
    path.write_text('text,n\na,1\n"b,2\n' + "c" * (LONGEST_ROW + 1))

    with pytest.raises(
        TaskError, match=r"rows.csv, line 3: a row of \d+ characters or more\. If a"
    ):
        open_rows(path)
    path.with_suffix(".jsonl").write_text("{" + " " * LONGEST_ROW)
    with pytest.raises(TaskError, match=r"rows.jsonl: a line of \d+ characters or more"):
        open_rows(path.with_suffix(".jsonl"))


def large(suffix: str) -> Path:
    path = Path(f"large{suffix}")
    text = "words " * 2000
    with path.open("w") as stream:
        stream.write("" if suffix == ".jsonl" else "n,text\n")
        for number in range(MAX_FILE_BYTES // len(text) + 10):
            line = f'{{"n": {number}, "text": "{text}"}}\n'
            stream.write(line if suffix == ".jsonl" else f"{number},{text}\n")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_that_is_too_large_for_a_table_is_a_stream_in_little_memory(suffix):
    path = large(suffix)
    with pytest.raises(TaskError, match="at most 200 MB are read"):
        read_table(path)
    tracemalloc.start()

    file = open_rows(path)
    number = sum(1 for _ in file.rows())

    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number == file.num_rows > 10_000
    assert most < 40_000_000


def test_parquet_that_unpacks_into_more_than_a_table_is_a_stream():
    texts = pa.array(["words " * 200] * 200_000).dictionary_encode()
    pq.write_table(pa.table({"text": texts}), "rows.parquet")
    with pytest.raises(TaskError, match="unpacked, the file has more than 200 MB"):
        read_table(Path("rows.parquet"))

    file = open_rows(Path("rows.parquet"))

    assert file.num_rows == 200_000
    assert file.columns == {"text": pa.string()}


def test_columns_have_the_kinds_of_their_cells():
    Path("rows.jsonl").write_text(
        '{"a": 1, "b": 1, "c": true, "d": "x", "e": 1, "f": [1], "g": null, "h": 9e9}\n'
        '{"a": 2, "b": 0.5, "c": false, "d": "y", "e": "z", "i": 99999999999999999999}\n'
    )

    found = open_rows(Path("rows.jsonl")).columns

    kinds = {"a": pa.int64(), "b": pa.float64(), "c": pa.bool_(), "h": pa.float64()}
    assert found == {**dict.fromkeys("abcdefghi", pa.string()), **kinds}
    assert list(found) == list("abcdefghi")


def test_a_file_that_is_written_to_meanwhile_is_noticed():
    path = Path("rows.csv")
    path.write_text("text\na\n")
    file = open_rows(path)
    file.check_unchanged()

    with path.open("a") as stream:
        stream.write("b\n")

    with pytest.raises(TaskError, match="was changed while it was read"):
        file.check_unchanged()
    os.unlink(path)
    with pytest.raises(TaskError, match="cannot be read"):
        file.check_unchanged()
