"""A grid as a sheet: its answers, what each column comes to, and wordings side by side."""

from collections.abc import Sequence
from typing import Any

from workbench.presentation.blocks import Cell as TableCell
from workbench.presentation.blocks import Table
from workbench.presentation.display import (
    duration,
    estimate_text,
    number,
    one_line,
    percent,
    shortened,
)
from workbench.presentation.sheet import Sheet
from workbench.serving.grid import Cell, Grid, GridColumn, Wording
from workbench.serving.wording_changes import (
    AnswerChange,
    answer_changes,
    columns_to_compare,
    word_changes,
    wording_as_text,
)
from workbench.tasks.base import Sample

TITLE = "Grid of wordings, texts and ways"
_TEXT_CHARS, _ANSWER_CHARS = 48, 60  # of a cell; files for programs have all of it
_RIGHT, _WRONG = "\N{CHECK MARK}", "\N{BALLOT X}"
_NOTES = (
    "A wording that is chosen by looking at these answers has seen these texts. What it is worth "
    "is measured on others: workbench evaluate, or a second file.",
    "The percentage beside a label is its probability among the labels; a check mark or a cross "
    "stands only where the right answer is known.",
    "The time of a cell is its share of the batch it was answered in; prefixes that rows share are "
    "computed before and count for none.",
)
_NAMES = ("base", "wording", "way", "text_id")
_FIGURES = (
    *("answer", "target", "is_right", "score", "probability"),
    *("prompt_tokens", "written_tokens", "milliseconds", "error"),
)


def grid_sheet(grid: Grid, wordings: Sequence[Wording]) -> Sheet:
    """Return everything a grid says, as far as it is filled.

    Args:
        grid: The table.
        wordings: Of its columns, by name; those that are compared word by word.
    """
    tables = [answer_table(grid), column_table(grid)]
    tables += [changed_table(grid, *pair) for pair in columns_to_compare(grid)]
    tables += [_word_table(wordings[0], later) for later in wordings[1:]]
    return Sheet(
        title=TITLE,
        facts=_facts(grid),
        headline=headline(grid),
        tables=tuple(tables),
        charts=(),
        notes=(*_NOTES, *_cautions(grid)),
        columns=(*_NAMES, *_field_columns(grid), *_FIGURES, *_label_columns(grid)),
        rows=tuple(_flat_rows(grid)),
        data=grid_data(grid, wordings),
    )


def headline(grid: Grid) -> str:
    """Return how much is filled, and which column has most right answers.

    Only columns that have an answer to every text with a known one are held against each other:
    of the others the easy texts alone may be left.
    """
    done = f"{len(grid.cells):,} of {grid.num_cells:,} cells answered"
    if len(grid.cells) < grid.num_cells:
        return f"{done}."
    found = [(grid.accuracy(place), name) for place, name in enumerate(grid.headings)]
    estimates = [(e.value, e, name) for e, name in found if e is not None and e.value is not None]
    gaps = {name: grid.unscored(place) for place, name in enumerate(grid.headings)}
    judged = [one for one in estimates if not gaps[one[2]]]
    known = sum(bool(sample.target) for sample in grid.samples)
    if estimates and len(judged) < len(grid.columns):
        counts = (f"{name} {known - gap} of {known}" for name, gap in gaps.items() if gap)
        done += f". Not judged as a whole, texts without an answer: {', '.join(counts)} judged"
    if not judged:
        return f"{done}."
    best = max(value for value, _, _ in judged)
    names = [name for value, _, name in judged if value == best]
    text = estimate_text(next(e for value, e, _ in judged if value == best))
    if len(names) == len(judged) > 1:
        return f"{done}. All columns have equally many right: {text}."
    return f"{done}. Most are right with {' and '.join(names)}: {text}."


def answer_table(grid: Grid) -> Table:
    """Return the table of answers: a row for each text, a column for each way to ask."""
    rows: list[list[TableCell]] = []
    for row, sample in enumerate(grid.samples):
        line: list[TableCell] = [shortened(text_of(sample), _TEXT_CHARS)]
        cells = [grid.cells.get((row, column)) for column in range(len(grid.columns))]
        rows.append(line + [None if cell is None else cell_text(cell) for cell in cells])
    return Table(title="Answers", columns=["text", *grid.headings], rows=rows)


def cell_text(cell: Cell) -> str:
    """Return "refund 93.1 % ✓": answer, probability, and whether it is right."""
    if cell.answer is None:
        return f"({shortened(cell.reason, _ANSWER_CHARS)})"
    parts = [shortened(cell.answer, _ANSWER_CHARS)]
    if cell.confidence is not None:
        parts.append(percent(cell.confidence))
    if cell.score is not None:
        parts.append(f"ROUGE-L {percent(cell.score)}")
    if cell.is_right is not None:
        parts.append(_RIGHT if cell.is_right else _WRONG)
    return " ".join(parts)


def column_table(grid: Grid) -> Table:
    """Return what each column comes to: right answers with their interval, tokens and time."""
    rows: list[list[TableCell]] = []
    for place, name in enumerate(grid.headings):
        cells = grid.column(place)
        answered = [cell for cell in cells if cell.answer is not None]
        tokens = [cell.prompt_tokens for cell in answered]
        times = [cell.seconds for cell in answered if cell.seconds is not None]
        estimate = grid.accuracy(place)
        rows.append(
            [
                name,
                None if estimate is None else estimate_text(estimate),
                f"{len(answered)} of {len(grid.samples)}",
                number(_mean(tokens)),
                number(_mean([cell.written_tokens for cell in answered])),
                duration(_mean(times)),
            ]
        )
    return Table(
        title="Columns",
        columns=["column", "right", "answered", "prompt tokens", "written tokens", "time per text"],
        rows=rows,
    )


def changed_table(grid: Grid, before: int, after: int) -> Table:
    """Return the texts that two columns answer differently, with what became of them."""
    changes = answer_changes(grid, before, after)
    names = grid.headings
    rows: list[list[TableCell]] = [
        [
            shortened(text_of(grid.samples[one.row]), _TEXT_CHARS),
            None if one.before is None else shortened(one.before, _ANSWER_CHARS),
            None if one.after is None else shortened(one.after, _ANSWER_CHARS),
            one.turn,
        ]
        for one in changes
    ]
    return Table(
        title=f"Answers that changed: {names[before]} to {names[after]}",
        columns=["text", "before", "after", "what became of it"],
        rows=rows,
        note=turns_in_words(changes),
    )


def turns_in_words(changes: Sequence[AnswerChange]) -> str:
    """Return "3 answers changed: 2 wrong to right, 1 right to wrong."."""
    if not changes:
        return "No answer changed."
    kinds = dict.fromkeys(one.turn for one in changes)
    counts = [f"{sum(one.turn == kind for one in changes)} {kind}" for kind in kinds]
    noun = "answer" if len(changes) == 1 else "answers"
    return f"{len(changes)} {noun} changed: {', '.join(counts)}."


def text_of(sample: Sample) -> str:
    """Return the fields of a sample as one line."""
    return one_line(" / ".join(sample.fields.values()))


def grid_data(grid: Grid, wordings: Sequence[Wording]) -> dict[str, Any]:
    """Return a grid as plain data: texts, columns, cells, wordings, and what cannot answer."""
    return {
        "task": grid.task.name,
        "texts": [
            {"id": one.id, "fields": dict(one.fields), "target": one.target or None}
            for one in grid.samples
        ],
        "columns": [
            {"base": one.base, "wording": one.wording, "way": one.way} for one in grid.columns
        ],
        "cells": [
            {"text": row, "column": column, **_cell_data(cell)}
            for (row, column), cell in sorted(grid.cells.items())
        ],
        "wordings": {one.name: wording_as_text(one.template) for one in wordings},
        "left_out": [{"column": one.label, "reason": one.reason} for one in grid.left_out],
    }


def _cell_data(cell: Cell) -> dict[str, Any]:
    return {
        "answer": cell.answer,
        "error": cell.reason or None,
        "probabilities": dict(cell.probabilities),
        "is_right": cell.is_right,
        "score": cell.score,
        "prompt_tokens": cell.prompt_tokens,
        "written_tokens": cell.written_tokens,
        "seconds": cell.seconds,
    }


def _flat_rows(grid: Grid) -> list[tuple[TableCell, ...]]:
    fields = _field_columns(grid)
    labels = grid.task.labels
    rows: list[tuple[TableCell, ...]] = []
    for (row, column), cell in sorted(grid.cells.items()):
        sample = grid.samples[row]
        about: GridColumn = grid.columns[column]
        rows.append(
            (
                *(about.base, about.wording, about.way, sample.id),
                *(sample.fields.get(name.removeprefix("field_")) for name in fields),
                *(cell.answer, sample.target or None, _as_word(cell.is_right), cell.score),
                *(cell.confidence, cell.prompt_tokens, cell.written_tokens),
                None if cell.seconds is None else 1000 * cell.seconds,
                cell.reason or None,
                *(cell.probabilities.get(label) for label in labels),
            )
        )
    return rows


def _as_word(flag: bool | None) -> str | None:
    return None if flag is None else str(flag).lower()


def _field_columns(grid: Grid) -> list[str]:
    return [f"field_{name}" for name in grid.task.field_names]


def _label_columns(grid: Grid) -> list[str]:
    return [f"probability_{label}" for label in grid.task.labels]


def _facts(grid: Grid) -> tuple[str, ...]:
    bases = ", ".join(dict.fromkeys(one.base for one in grid.columns))
    known = sum(bool(sample.target) for sample in grid.samples)
    texts = f"{len(grid.samples)} texts"
    return (bases, grid.task.name, f"{texts}, {known} with a known answer" if known else texts)


def _cautions(grid: Grid) -> list[str]:
    found = [
        f"{name}: {caution}"
        for name, column in zip(grid.headings, grid.columns, strict=True)
        for caution in column.cautions
    ]
    return found + [f"{one.label}: left out: {one.reason}" for one in grid.left_out]


def _word_table(before: Wording, after: Wording) -> Table:
    """Return the words that differ, in the order of the text."""
    found = word_changes(wording_as_text(before.template), wording_as_text(after.template))
    rows: list[list[TableCell]] = []
    for stretch in found:
        if stretch.kind == "removed":
            rows.append([one_line(stretch.text), None])
        elif stretch.kind == "added" and rows and rows[-1][1] is None:
            rows[-1][1] = one_line(stretch.text)
        elif stretch.kind == "added":
            rows.append([None, one_line(stretch.text)])
        elif rows and rows[-1] != [None, None]:
            rows.append([None, None])  # parts this change from the next one
    return Table(
        title=f"Words that differ: {before.name} and {after.name}",
        columns=[before.name, after.name],
        rows=[row for row in rows if row != [None, None]],
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
