"""What a row takes for what: its confusion matrix, ready to be shown."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.analysis.answers import Answer
from workbench.analysis.results import Comparison
from workbench.metrics import confusion_matrix
from workbench.presentation.display import one_line

MOST_LABELS = 12  # of a confusion matrix that can still be read


@dataclass(frozen=True)
class ConfusionCell:
    """How often a target got an answer, and its share of the target's items."""

    count: int
    share: float
    is_correct: bool


@dataclass(frozen=True)
class ConfusionTable:
    """Targets by row, answers by column; the last column may be "no answer"."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[ConfusionCell, ...]], ...]


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix, or the reason why there is none to show; the other one is None."""

    table: ConfusionTable | None
    reason: str | None


def confusion_of(comparison: Comparison, row_name: str) -> Confusion:
    """Return the confusion matrix of a row's first seed.

    Raises:
        ConfigError: no such row.
    """
    row, detail = comparison.first_seed(row_name)
    if not comparison.has_labels:
        kind = "Texts" if comparison.writes_texts else "Short answers"
        return Confusion(None, f"{kind} have no labels that could be confused.")
    labels = _labels(comparison)
    if len(labels) < 2:
        return Confusion(None, "The items have fewer than two labels.")
    if len(labels) > MOST_LABELS:
        reason = f"The task has {len(labels)} labels; more than {MOST_LABELS} cannot be read."
        return Confusion(None, reason)
    return Confusion(_table(comparison.label(row), detail.answers, labels), None)


def _labels(comparison: Comparison) -> list[str]:
    """Return the labels in the order of the probabilities, else alphabetically."""
    answers = [answer for detail in comparison.details for answer in detail.answers]
    scored = next((answer.probabilities for answer in answers if answer.probabilities), {})
    seen = {name for answer in answers for name in (answer.target, answer.answer)}
    return list(dict.fromkeys([*scored, *sorted(name for name in seen if name is not None)]))


def _table(title: str, answers: Sequence[Answer], labels: Sequence[str]) -> ConfusionTable:
    counts = confusion_matrix(
        [answer.answer for answer in answers],
        [answer.target for answer in answers],
        labels=labels,
    )  # (C, C + 1)
    columns = [one_line(label) for label in labels]
    if counts[:, -1].any():
        columns.append("no answer")
    rows = []
    for index, label in enumerate(labels):
        total = max(1, int(counts[index].sum()))
        cells = tuple(
            ConfusionCell(int(count), int(count) / total, is_correct=column == index)
            for column, count in enumerate(counts[index, : len(columns)])
        )
        rows.append((one_line(label), cells))
    return ConfusionTable(one_line(title), tuple(columns), tuple(rows))
