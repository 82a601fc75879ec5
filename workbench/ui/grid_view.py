"""A grid as HTML: the table of answers, what each column comes to, wordings side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.presentation.display import one_line
from workbench.serving.grid import Grid, Wording
from workbench.serving.grid_sheet import column_table, headline, turns_in_words
from workbench.serving.wording_changes import (
    AnswerChange,
    Stretch,
    answer_changes,
    columns_to_compare,
    word_changes,
    wording_as_text,
)
from workbench.ui.rendering import render


@dataclass(frozen=True)
class ChangedAnswers:
    """The answers of one column held against those of another, as the template wants them."""

    before: str
    after: str
    summary: str
    changes: Sequence[AnswerChange]


@dataclass(frozen=True)
class ChangedWords:
    """A wording held against another one, as the template wants it."""

    before: str
    after: str
    stretches: Sequence[Stretch]


def grid_html(grid: Grid, wordings: Sequence[Wording], *, is_done: bool) -> str:
    """Return a grid as far as it is filled; what is held against each other once it is done."""
    return render(
        "grid",
        headline=headline(grid),
        headings=grid.headings,
        lines=[
            (sample, [grid.cells.get((row, column)) for column in range(len(grid.columns))])
            for row, sample in enumerate(grid.samples)
        ],
        figures=column_table(grid),
        left_out=grid.left_out,
        cautions=[
            (name, caution)
            for name, column in zip(grid.headings, grid.columns, strict=True)
            for caution in column.cautions
        ],
        answers=_changed_answers(grid) if is_done else [],
        words=changed_words(wordings) if is_done else [],
        samples=grid.samples,
        is_done=is_done,
    )


def changed_words(wordings: Sequence[Wording]) -> list[ChangedWords]:
    """Return the first wording held against each of the others."""
    texts = [wording_as_text(one.template) for one in wordings]
    return [
        ChangedWords(one_line(wordings[0].name), one_line(one.name), word_changes(texts[0], text))
        for one, text in zip(wordings[1:], texts[1:], strict=True)
    ]


def _changed_answers(grid: Grid) -> list[ChangedAnswers]:
    names = grid.headings
    found = []
    for before, after in columns_to_compare(grid):
        changes = answer_changes(grid, before, after)
        summary = turns_in_words(changes)
        found.append(ChangedAnswers(names[before], names[after], summary, changes))
    return found
