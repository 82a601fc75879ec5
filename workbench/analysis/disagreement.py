"""Browse the items of a comparison: where rows disagree, fail, or one repairs another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from workbench.analysis.answers import Answer, is_unanimous
from workbench.analysis.results import Comparison
from workbench.errors import ConfigError, unknown_name
from workbench.presentation.spreadsheet import Cell, csv_text


class BrowseMode(StrEnum):
    """Which items to show; rows that do not use the base are left out of "any", "all" and so on."""

    ALL = "all"
    DISAGREE = "disagree"
    WRONG_IN_ANY = "wrong_in_any"
    WRONG_IN_ALL = "wrong_in_all"
    FIXED_BY = "fixed_by"
    BROKEN_BY = "broken_by"
    NO_ANSWER = "no_answer"

    @property
    def label(self) -> str:
        """The mode as a choice shows it."""
        return _LABELS[self]

    @property
    def needs_row(self) -> bool:
        """Whether the mode sets one row against another."""
        return self in (BrowseMode.FIXED_BY, BrowseMode.BROKEN_BY)


_LABELS: Mapping[BrowseMode, str] = {
    BrowseMode.ALL: "All items",
    BrowseMode.DISAGREE: "Rows disagree",
    BrowseMode.WRONG_IN_ANY: "Wrong in any row",
    BrowseMode.WRONG_IN_ALL: "Wrong in all rows",
    BrowseMode.FIXED_BY: "Fixed by the row",
    BrowseMode.BROKEN_BY: "Broken by the row",
    BrowseMode.NO_ANSWER: "No answer in any row",
}


@dataclass(frozen=True)
class BrowsedItem:
    """An item with what every row's first seed answered.

    Attributes:
        sample_id: Which item it is.
        fields: Its text by field name; empty where the texts are not at hand.
        target: The correct answer.
        references: All correct texts of a generation task, the target first; empty otherwise.
        answers: By row name: answer, whether it is correct or what it scores, and its confidence.
    """

    sample_id: str
    fields: Mapping[str, str]
    target: str
    answers: Mapping[str, Answer]
    references: tuple[str, ...] = ()


def browse(
    comparison: Comparison,
    mode: BrowseMode,
    *,
    row: str | None = None,
    against: str | None = None,
    text_of: Mapping[str, Mapping[str, str]] | None = None,
    search: str = "",
) -> list[BrowsedItem]:
    """Return the items of a mode in the order of the test split.

    Args:
        comparison: Its rows, each by its first seed.
        mode: Which items to show.
        row: For "fixed by" and "broken by": the row that repairs or breaks.
        against: The row whose answer is repaired or broken; None takes the reference.
        text_of: Sample id to the item's fields.
        search: Keep items with this text in id, fields, target or an answer, in any case.

    Raises:
        ConfigError: no such row, no row for a mode that needs one, or a mode that is not for texts.
    """
    if mode.needs_row and row is None:
        raise ConfigError(f"browse: '{mode.label}' needs a row. Choose one of the table.")
    conditions = _conditions(comparison, row, against)
    if mode not in conditions:
        raise ConfigError(f"browse: '{mode.label}' is not for texts. Choose another kind of items.")
    is_shown = conditions[mode]
    return [
        item
        for item in _items(comparison, text_of or {})
        if is_shown(item) and _is_found(item, search)
    ]


def mode_counts(
    comparison: Comparison, *, row: str | None = None, against: str | None = None
) -> dict[BrowseMode, int]:
    """Return how many items each mode has; modes that need a row are left out without one.

    Args:
        comparison: Its rows, each by its first seed.
        row: As for `browse`.
        against: As for `browse`.

    Raises:
        ConfigError: no such row.
    """
    items = _items(comparison, {})
    conditions = _conditions(comparison, row, against)
    return {mode: sum(map(is_shown, items)) for mode, is_shown in conditions.items()}


def disagreement_csv(items: Sequence[BrowsedItem]) -> str:
    """Return one line per item; text that a spreadsheet would run as a formula gets a "'"."""
    fields = list(dict.fromkeys(field for item in items for field in item.fields))
    rows = list(dict.fromkeys(name for item in items for name in item.answers))
    is_scored = any(a.score is not None for item in items for a in item.answers.values())
    judged = "score" if is_scored else "is correct"
    columns = ["item", *fields, "target"]
    for name in rows:
        columns += [f"{name}: answer", f"{name}: {judged}", f"{name}: confidence"]
    lines = []
    for item in items:
        line: list[Cell] = [item.sample_id, *map(item.fields.get, fields), item.target]
        for name in rows:
            answer = item.answers[name]
            score = int(answer.is_correct) if answer.score is None else answer.score
            line += [answer.answer, score, answer.confidence]
        lines.append(line)
    return csv_text(columns, lines)


def _items(comparison: Comparison, text_of: Mapping[str, Mapping[str, str]]) -> list[BrowsedItem]:
    pairs = comparison.first_seeds()
    return [
        BrowsedItem(
            sample_id=answer.sample_id,
            fields=text_of.get(answer.sample_id, {}),
            target=answer.target,
            answers={row.row: detail.answers[position] for row, detail in pairs},
            references=answer.references,
        )
        for position, answer in enumerate(pairs[0][1].answers)
    ]


def _conditions(
    comparison: Comparison, row: str | None, against: str | None
) -> dict[BrowseMode, Callable[[BrowsedItem], bool]]:
    """Return what makes an item belong to each mode.

    Texts are not right or wrong, so there are no modes of wrong ones; of two texts the one with
    the higher score repairs the other.
    """
    names = [found.row for found, _ in comparison.judged_rows()]

    def judged(item: BrowsedItem) -> list[Answer]:
        return [item.answers[name] for name in names]

    conditions: dict[BrowseMode, Callable[[BrowsedItem], bool]] = {
        BrowseMode.ALL: lambda _: True,
        BrowseMode.DISAGREE: lambda item: (
            not is_unanimous(judged(item), has_labels=comparison.has_labels)
        ),
        BrowseMode.NO_ANSWER: lambda item: any(a.answer is None for a in judged(item)),
    }
    if not comparison.writes_texts:
        conditions[BrowseMode.WRONG_IN_ANY] = lambda item: (
            not all(a.is_correct for a in judged(item))
        )
        conditions[BrowseMode.WRONG_IN_ALL] = lambda item: (
            not any(a.is_correct for a in judged(item))
        )
    if row is not None:
        ours, theirs = row, comparison.reference if against is None else against
        known = {found.row for found in comparison.rows}
        for name in (ours, theirs):
            if name not in known:
                raise ConfigError(f"browse: {unknown_name('row', name, known)}")
        conditions[BrowseMode.FIXED_BY] = lambda item: _is_fixed(item, ours, theirs)
        conditions[BrowseMode.BROKEN_BY] = lambda item: _is_fixed(item, theirs, ours)
    return {mode: conditions[mode] for mode in BrowseMode if mode in conditions}


def _is_fixed(item: BrowsedItem, row: str, against: str) -> bool:
    return item.answers[row].credit > item.answers[against].credit


def _is_found(item: BrowsedItem, search: str) -> bool:
    wanted = " ".join(search.split()).casefold()
    texts = [item.sample_id, item.target, *item.fields.values()]
    texts += [answer.answer for answer in item.answers.values() if answer.answer is not None]
    return any(wanted in " ".join(text.split()).casefold() for text in texts)
