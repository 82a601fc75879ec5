"""Rows become samples, or one message names every column and line that is wrong."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from workbench.errors import TaskError
from workbench.tasks.base import Sample
from workbench.tasks.files import read_table
from workbench.tasks.rows import ColumnMapping, Columns, Row, Table, cell_text, samples_from_rows


def _refusal(rows: list[Row], mapping: ColumnMapping, *, table: Table | None = None) -> str:
    with pytest.raises(TaskError) as error:
        samples_from_rows(rows, mapping, where="a.csv", kind="classification", table=table)
    return str(error.value)


def test_rows_become_numbered_stripped_samples() -> None:
    rows: list[Row] = [{"text": " good ", "label": "yes\n"}, {"text": "bad", "label": "no"}]

    samples = samples_from_rows(rows, ColumnMapping(), where="data/mine.csv", kind="classification")

    assert samples == [
        Sample("mine-00001", {"text": "good"}, "yes"),
        Sample("mine-00002", {"text": "bad"}, "no"),
    ]


def test_every_mapped_column_is_taken() -> None:
    rows: list[Row] = [
        {"p": "a", "h": "b", "gold": 1, "key": "k1", "why": " because ", "rest": "x"},
        {"p": "c", "h": "d", "gold": 2.0, "key": "k2", "why": None, "rest": "x"},
    ]
    mapping = ColumnMapping(text="p", text_b="h", label="gold", id="key", rationale="why")

    samples = samples_from_rows(rows, mapping, where="a.json", kind="classification")

    assert samples == [
        Sample("k1", {"text": "a", "text_b": "b"}, "1", "because"),
        Sample("k2", {"text": "c", "text_b": "d"}, "2", None),
    ]


def test_fields_may_have_any_name_and_ids_any_prefix() -> None:
    columns = Columns({"premise": "s1", "hypothesis": "s2"}, "gold")

    samples = samples_from_rows(
        [{"s1": "a", "s2": "b", "gold": "c"}],
        columns,
        where="hub",
        kind="short_answer",
        id_prefix="rte-train",
    )

    assert samples == [Sample("rte-train-00001", {"premise": "a", "hypothesis": "b"}, "c")]


def test_markup_is_left_alone() -> None:
    rows: list[Row] = [{"text": "<b>{x}</b> &amp;", "label": "a"}]

    samples = samples_from_rows(rows, ColumnMapping(), where="a", kind="classification")

    assert samples[0].fields == {"text": "<b>{x}</b> &amp;"}


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (" a ", "a"),
        ("", None),
        (" \n", None),
        (None, None),
        (float("nan"), None),
        (True, "true"),
        (0, "0"),
        (145.0, "145"),
        (0.5, "0.5"),
        (Decimal("1.50"), "1.50"),
        (date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_a_cell_reads_the_same_from_every_format(cell: object, text: str | None) -> None:
    assert cell_text(cell) == text


REFUSED: dict[str, tuple[list[Row], ColumnMapping, str]] = {
    "missing column": (
        [{"txt": "a", "label": "b"}],
        ColumnMapping(),
        "a.csv: unknown column 'text'. Did you mean 'txt'? Known: label, txt. "
        "Rename the column, or map another one.",
    ),
    "all missing columns": (
        [{"x": "a"}],
        ColumnMapping(id="key"),
        "a.csv: unknown column 'text'. Known: x.\n"
        "a.csv: unknown column 'label'. Known: x.\n"
        "a.csv: unknown column 'key'. Known: x. "
        "Rename the column, or map another one.",
    ),
    "label shown in the prompt": (
        [{"text": "a"}],
        ColumnMapping(label="text"),
        "a.csv: column 'text' is both the label and the field 'text', which would show the label "
        "in the prompt. Choose two columns.",
    ),
    "empty cells": (
        [{"text": "", "label": "a"}, {"text": "b", "label": None}, {"text": "c"}],
        ColumnMapping(),
        "a.csv: 1 row has no text in column 'text' (row 1). Fill the cells or delete the rows.\n"
        "a.csv: 2 rows have no label in column 'label' (rows 2, 3). "
        "Fill the cells or delete the rows.",
    ),
    "many empty cells": (
        [{"text": "a", "label": " "}] * 7,
        ColumnMapping(),
        "a.csv: 7 rows have no label in column 'label' (rows 1, 2, 3, 4, 5 and 2 more). "
        "Fill the cells or delete the rows.",
    ),
    "cells without text": (
        [{"text": ["a"], "label": {"b": 1}}, {"text": b"a", "label": "\ud800"}],
        ColumnMapping(),
        "a.csv: 2 rows have no plain text in column 'text' (rows 1, 2). "
        "A cell is text, a number or true/false; flatten lists and mappings.\n"
        "a.csv: 2 rows have no plain text in column 'label' (rows 1, 2). "
        "A cell is text, a number or true/false; flatten lists and mappings.",
    ),
    "repeated ids": (
        [{"text": str(n), "label": "a", "key": key} for n, key in enumerate("xyxzzx")],
        ColumnMapping(id="key"),
        "a.csv: column 'key' repeats ids x, z. Make the ids unique, or leave the id column out.",
    ),
    "missing id": (
        [{"text": "a", "label": "a", "key": ""}],
        ColumnMapping(id="key"),
        "a.csv: 1 row has no id in column 'key' (row 1). Fill the cells or delete the rows.",
    ),
}


@pytest.mark.parametrize(("rows", "mapping", "message"), REFUSED.values(), ids=REFUSED)
def test_unusable_rows_are_counted_and_named(
    rows: list[Row], mapping: ColumnMapping, message: str
) -> None:
    assert _refusal(rows, mapping) == message


def test_a_missing_answer_is_called_an_answer() -> None:
    with pytest.raises(TaskError) as error:
        samples_from_rows(
            [{"text": "a", "label": ""}], ColumnMapping(), where="a.csv", kind="short_answer"
        )

    assert str(error.value) == (
        "a.csv: 1 row has no answer in column 'label' (row 1). Fill the cells or delete the rows."
    )


def test_rows_of_a_csv_file_are_named_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"two\nlines",yes\n\n,no\nlast,\n')
    table = read_table(path)

    message = _refusal(table.rows, ColumnMapping(), table=table)

    assert message == (
        "a.csv: 1 row has no text in column 'text' (line 5). Fill the cells or delete the rows.\n"
        "a.csv: 1 row has no label in column 'label' (line 6). Fill the cells or delete the rows."
    )
