"""Rows with their places, the columns chosen of them, and the samples these make.

What cannot be used is counted and named by line or row, never skipped.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from workbench.errors import TaskError, unknown_name
from workbench.tasks.base import Sample, TaskKind
from workbench.tasks.forms import visible

NUM_NAMED = 5  # lines or names in a message before it says "and n more"

Row = dict[str, object]
PlacedRow = tuple[int, Row]
"""A row, and where it stands in its file: its line or number, from 1."""


@dataclass(frozen=True)
class Table:
    """The rows of a file and where each stands in it.

    Attributes:
        rows: One mapping per row, column to cell.
        places: One number per row, counted from 1.
        unit: What `places` counts: lines of a text file, or rows.
        notes: What had to be guessed to read the file, as sentences that name it without folder.
    """

    rows: list[Row]
    places: list[int]
    unit: Literal["line", "row"]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Columns:
    """Which columns make a sample.

    Attributes:
        fields: Template field to column.
        target: Column of the label, the short answer or the text to be written.
        id: Column of the ids; None numbers the rows.
        rationale: Column of a worked solution.
        references: Column of all correct texts or short answers, each cell a list; may be the
            target's own, whose first text is then the target.
    """

    fields: Mapping[str, str]
    target: str
    id: str | None = None
    rationale: str | None = None
    references: str | None = None


@dataclass(frozen=True)
class ColumnMapping:
    """Which columns of a user's file make a sample; the fields are named `text` and `text_b`."""

    text: str = "text"
    text_b: str | None = None
    label: str = "label"
    id: str | None = None
    rationale: str | None = None
    references: str | None = None

    @property
    def columns(self) -> Columns:
        """The same, in the general form."""
        second = {} if self.text_b is None else {"text_b": self.text_b}
        return Columns(
            {"text": self.text} | second, self.label, self.id, self.rationale, self.references
        )


def samples_from_rows(
    rows: Sequence[Mapping[str, object]],
    mapping: ColumnMapping | Columns,
    *,
    where: str,
    kind: TaskKind,
    table: Table | None = None,
    id_prefix: str | None = None,
) -> list[Sample]:
    """Return one sample per row.

    Args:
        rows: Column to cell.
        mapping: The columns to take.
        where: What to call the rows in messages; a file's path.
        kind: Kind of the task: whether the target is a label, an answer or a text.
        table: The table that `rows` came from, so that messages can name lines.
        id_prefix: Ids are `{id_prefix}-{row:05d}` unless a column has them; the stem of `where`
            unless given.

    Raises:
        TaskError: a column is missing, or cells are empty or hold no text, or ids repeat; all of
            these in one message.
    """
    columns = mapping.columns if isinstance(mapping, ColumnMapping) else mapping
    noun = _NOUNS[kind]
    _check_columns(rows, columns, where=where, noun=noun)
    cells = _Cells(rows, where, table)
    texts = {field: cells.required(column, "text") for field, column in columns.fields.items()}
    references = [()] * len(rows) if columns.references is None else cells.lists(columns.references)
    if columns.references == columns.target:
        targets = cells.firsts(columns.target, references, noun)
    else:
        targets = cells.required(columns.target, noun)
    if columns.id is not None:
        ids = cells.unique(columns.id)
    else:
        prefix = Path(where).stem if id_prefix is None else id_prefix
        ids = [f"{prefix}-{number:05d}" for number in range(1, len(rows) + 1)]
    rationales = [None] * len(rows) if columns.rationale is None else cells.text(columns.rationale)
    cells.raise_problems()
    return [
        Sample(
            id=ids[index],
            fields={field: column[index] for field, column in texts.items()},
            target=targets[index],
            rationale=rationales[index],
            references=joined_references(targets[index], references[index]),
        )
        for index in range(len(rows))
    ]


def joined_references(target: str, others: Iterable[str]) -> tuple[str, ...]:
    """Return the target and the other texts, each once; nothing if there is only the target."""
    found = tuple(dict.fromkeys([target, *others]))
    return found if len(found) > 1 else ()


def require_columns(
    rows: Sequence[Mapping[str, object]], names: Iterable[str], *, where: str
) -> None:
    """Raise a `TaskError` that names every column of `names` that no row has."""
    present = list(dict.fromkeys(key for row in rows for key in row))
    missing = [name for name in dict.fromkeys(names) if name not in present]
    if missing:
        lines = [f"{where}: {unknown_name('column', name, present)}" for name in missing]
        raise TaskError("\n".join(lines) + " Rename the column, or map another one.")


def cell_text(value: object) -> str | None:
    """Return a cell as stripped text, None if it is empty or shows nothing.

    Whole floats lose their ".0" (a column of whole numbers with a gap is stored as floats) and
    booleans are written as in JSON, so that one label reads the same from every file format.

    Raises:
        TypeError: the cell is a list, a mapping, bytes or half of a surrogate pair.
    """
    if isinstance(value, str):
        value.encode()  # a lone surrogate from a JSON escape could never be hashed or stored
        return value.strip() if visible(value).strip() else None
    if value is None or isinstance(value, bool):
        return None if value is None else str(value).lower()
    if isinstance(value, list | tuple | dict | set | bytes) or not pd.api.types.is_scalar(value):
        raise TypeError(f"a cell of type {type(value).__name__} has no text")
    if pd.isna(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


_NOUNS: Mapping[TaskKind, str] = {
    "classification": "label",
    "short_answer": "answer",
    "generation": "target text",
}


def _texts_of(cell: object) -> tuple[str, ...]:
    """Return the texts of a cell that holds a list of them; an empty cell holds none."""
    if isinstance(cell, np.ndarray):  # a list out of Parquet
        cell = cell.tolist()
    if isinstance(cell, str) and cell.strip().startswith("["):
        cell = json.loads(cell)
    if not isinstance(cell, list | tuple):
        text = cell_text(cell)
        return () if text is None else (text,)
    texts = [cell_text(text) for text in cell]
    return tuple(text for text in texts if text is not None)


def is_list_of_texts(cell: object) -> bool:
    """Return whether a cell is a list of texts and of nothing else, or JSON of one."""
    if isinstance(cell, np.ndarray):  # a list out of Parquet
        cell = cell.tolist()
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return False
    return isinstance(cell, list | tuple) and all(isinstance(text, str) for text in cell)


class _Cells:
    """Reads columns and collects what is wrong with them."""

    def __init__(
        self, rows: Sequence[Mapping[str, object]], where: str, table: Table | None
    ) -> None:
        self._rows = rows
        self._where = where
        self._places = range(1, len(rows) + 1) if table is None else table.places
        self._unit = "row" if table is None else table.unit
        self._problems: list[str] = []

    def text(self, column: str) -> list[str | None]:
        """Return the texts of a column, None where a cell is empty."""
        found: list[str | None] = []
        wrong: list[int] = []
        for index, row in enumerate(self._rows):
            try:
                found.append(cell_text(row.get(column)))
            except (TypeError, UnicodeEncodeError):
                wrong.append(index)
                found.append("")  # counted here, so not counted as empty again
        if wrong:
            self._report(
                f"{_rows(wrong)} no plain text in column '{column}' {self._named(wrong)}. "
                "A cell is text, a number or true/false; flatten lists and mappings."
            )
        return found

    def required(self, column: str, noun: str) -> list[str]:
        """Return the texts of a column that has to have one in every row."""
        return self._filled(column, self.text(column), noun)

    def firsts(self, column: str, lists: Sequence[tuple[str, ...]], noun: str) -> list[str]:
        """Return the first text of each list, which has to have one."""
        return self._filled(column, [texts[0] if texts else None for texts in lists], noun)

    def _filled(self, column: str, found: Sequence[str | None], noun: str) -> list[str]:
        empty = [index for index, text in enumerate(found) if text is None]
        if empty:
            self._report(
                f"{_rows(empty)} no {noun} in column '{column}' {self._named(empty)}. "
                "Fill the cells or delete the rows."
            )
        return [text or "" for text in found]

    def lists(self, column: str) -> list[tuple[str, ...]]:
        """Return the texts of a column of lists: real ones, or JSON in a cell of text."""
        found: list[tuple[str, ...]] = []
        wrong: list[int] = []
        for index, row in enumerate(self._rows):
            try:
                found.append(_texts_of(row.get(column)))
            # A surrogate that cannot be encoded is a ValueError, deep JSON a RecursionError.
            except (TypeError, ValueError, RecursionError):
                wrong.append(index)
                found.append(())
        if wrong:
            self._report(
                f"{_rows(wrong)} no list of texts in column '{column}' {self._named(wrong)}. "
                'A cell is a list such as ["one text", "another"]; in CSV, the same as JSON.'
            )
        return found

    def unique(self, column: str) -> list[str]:
        """Return the texts of a column that must not repeat."""
        found = self.required(column, "id")
        repeated = [name for name, count in Counter(found).items() if name and count > 1]
        if repeated:
            self._report(
                f"column '{column}' repeats {listed(repeated, 'id')}. "
                "Make the ids unique, or leave the id column out."
            )
        return found

    def raise_problems(self) -> None:
        """Raise one `TaskError` with everything that was found."""
        if self._problems:
            raise TaskError("\n".join(self._problems))

    def _report(self, problem: str) -> None:
        self._problems.append(f"{self._where}: {problem}")

    def _named(self, indices: Sequence[int]) -> str:
        return f"({listed([str(self._places[index]) for index in indices], self._unit)})"


def _check_columns(
    rows: Sequence[Mapping[str, object]], columns: Columns, *, where: str, noun: str
) -> None:
    named = (columns.id, columns.rationale, columns.references)
    optional = [name for name in named if name is not None]
    require_columns(rows, [*columns.fields.values(), columns.target, *optional], where=where)
    for name, column in columns.fields.items():
        if column == columns.target:
            raise TaskError(
                f"{where}: column '{column}' is both the {noun} and the field '{name}', which "
                f"would show the {noun} in the prompt. Choose two columns."
            )


def _rows(indices: Sequence[int]) -> str:
    return "1 row has" if len(indices) == 1 else f"{len(indices)} rows have"


def listed(names: Sequence[str], unit: str) -> str:
    """Return "lines 2, 5, 9" for the names and their unit; at most the first few."""
    shown = ", ".join(names[:NUM_NAMED])
    more = len(names) - NUM_NAMED
    return f"{unit}{'s' if len(names) > 1 else ''} {shown}" + (f" and {more} more" * (more > 0))
