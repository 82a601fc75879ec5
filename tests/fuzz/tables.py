"""Tables of labelled rows: looked at, read, and kept as an upload."""

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fuzz.mutation import changed_json, changed_lines
from fuzz.target import Target
from workbench.errors import TaskError
from workbench.service.profile import CPU_SPACE, Caps
from workbench.service.uploads import ColumnChoice, keep_upload, look_at, task_choice, task_view
from workbench.service.workspace import open_workspace
from workbench.tasks.files import open_rows, read_table

_KINDS = ("classification", "short_answer", "generation")
_TOKEN = "fuzzing-fuzzing-1"
_CAPS = CPU_SPACE.caps


def read_as(suffix: str, content: bytes, folder: Path, caps: Caps = _CAPS) -> None:
    """Look at a file, and keep it as a visitor's upload with the columns that were guessed."""
    path = folder / f"rows{suffix}"
    path.write_bytes(content)
    view = look_at(path, caps)
    json.dumps([view.columns, view.rows, view.notes], ensure_ascii=False).encode()
    kind = _KINDS[len(content) % 3]
    workspace = open_workspace(folder / "root", _TOKEN, is_public=True)
    columns = ColumnChoice(view.text_column, view.label_column, kind=kind)
    key, task = keep_upload(workspace, caps, path, "rows", columns)
    found = task_view(task)
    said = [dict(found.labels), dict(found.dropped), found.warnings, found.example[1]]
    json.dumps(said, ensure_ascii=False).encode()
    assert task_choice(workspace, key).train is not None


def same_as_a_stream(path: Path, separator: str | None = None) -> None:
    """Read a file whole and as a stream: the same rows at the same places, or the same refusal."""
    whole: object
    try:
        table = read_table(path, separator=separator)
        whole = list(zip(table.places, table.rows, strict=True)), table.unit, table.notes
    except TaskError as error:
        whole = str(error)
    streamed: object
    try:
        file = open_rows(path, separator=separator)
        rows = list(file.rows())
        assert len(rows) == file.num_rows
        assert all(row.keys() <= file.columns.keys() for _, row in rows)
        streamed = rows, file.unit, file.notes
    except TaskError as error:
        streamed = str(error)
    assert repr(streamed) == repr(whole)  # what is no number differs from itself


def _delimited(content: bytes, folder: Path) -> None:
    path = folder / "cells.tsv"
    path.write_bytes(content)
    if len(content) % 2:
        same_as_a_stream(path)
    else:
        same_as_a_stream(path, ("comma", ";", "bar", "tab")[len(content) // 2 % 4])
    read_as(".csv", content, folder)


def _json_rows(content: bytes, folder: Path) -> None:
    path = folder / "objects.jsonl"
    path.write_bytes(content)
    same_as_a_stream(path)
    read_as(".jsonl" if len(content) % 2 else ".json", content, folder)


def _parquet(content: bytes, folder: Path) -> None:
    path = folder / "table.parquet"
    path.write_bytes(content)
    same_as_a_stream(path)
    read_as(".parquet", content, folder)


def _rows(number: int = 14) -> list[dict[str, object]]:
    labels = ("sun", "rain")
    return [{"text": f"a {labels[n % 2]} day {n}", "label": labels[n % 2]} for n in range(number)]


def _delimited_seeds() -> Sequence[bytes]:
    rows = [(str(row["text"]), str(row["label"])) for row in _rows()]
    found = ["\r\n".join(mark.join(row) for row in [("text", "label"), *rows]) for mark in ",;\t|"]
    found += [
        "sep=;\n" + found[1],
        'text,label\n"one, ""two""\nthree",a\nfour,b\n',
        'text,label\n"said \\"so\\"",a\n"five",b\n',
        'text, label\n "six, seven", a\neight, b\n',
        "\ufefftext,label,,\nnine,a,,\nten,b,,\n",
        "text,label,references\n" + "\n".join(f'{t},{g},"[""{g}"", ""x""]"' for t, g in rows),
    ]
    return [text.encode() for text in found]


def _json_seeds() -> Sequence[bytes]:
    more = [{**row, "references": [row["label"], "x"], "n": i} for i, row in enumerate(_rows())]
    odd = [{"text": 1.0, "label": True}, {"text": None, "label": []}]
    return [
        *(json.dumps(rows).encode() for rows in (_rows(), more, odd)),
        *("\n".join(map(json.dumps, rows)).encode() for rows in (_rows(), more, odd)),
    ]


def _as_parquet(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def _parquet_seeds() -> Sequence[bytes]:
    """Return a file of each kind of column, for there is a reader of its own for each."""
    rows = _rows()
    texts = [str(row["text"]) for row in rows]
    now = datetime(2026, 1, 2, tzinfo=UTC)
    kinds: dict[str, pa.Array] = {
        "texts": pa.array([str(row["label"]) for row in rows]),
        "numbers": pa.array(list(range(7)) * 2, pa.int8()),
        "floats": pa.array([0.5, None] * 7, pa.float32()),
        "halves": pa.array([1, 2] * 7, pa.float16()),
        "times": pa.array([now, None] * 7, pa.timestamp("ns", tz="Europe/Berlin")),
        "dates": pa.array([now.date()] * 14),
        "durations": pa.array([5] * 14, pa.duration("us")),
        "decimals": pa.array([Decimal("1.50"), None] * 7),
        "bytes": pa.array([b"a", b"\xff"] * 7),
        "lists": pa.array([["a", "b"], None] * 7),
        "structs": pa.array([{"a": 1}, {"a": None}] * 7),
        "maps": pa.array([[("a", 1)], []] * 7, pa.map_(pa.string(), pa.int64())),
        "nothing": pa.nulls(14),
        "dictionaries": pa.array(["a", "b"] * 7).dictionary_encode(),
    }
    found = [_as_parquet(pa.table({"text": texts, "label": column})) for column in kinds.values()]
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    named = pa.table({"text": texts, "label": [0, 1] * 7}).replace_schema_metadata(metadata)
    return [*found, _as_parquet(named)]


TARGETS = (
    Target("delimited", _delimited, _delimited_seeds, (changed_lines,), share=1.5),
    Target("json_rows", _json_rows, _json_seeds, (changed_json,), share=1.5),
    Target("parquet", _parquet, _parquet_seeds, share=1.5),
)
