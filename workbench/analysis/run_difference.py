"""Two runs on the same items, down to the items: who won which, and what was answered there."""

from dataclasses import asdict, dataclass
from typing import Any

from workbench.analysis.answers import (
    Answer,
    headline_metric_of,
    is_classification,
    is_unanimous,
    read_answers,
)
from workbench.analysis.captions import caption_of_runs
from workbench.analysis.comparison import difference_of
from workbench.analysis.compatibility import require_finished, require_same_items
from workbench.analysis.headline import SIGNIFICANCE
from workbench.analysis.needed_items import (
    PLAN,
    needed_items,
    needed_text,
    reach_text,
    rounded_up,
)
from workbench.analysis.results import RowDifference, RunDetail
from workbench.analysis.run_diff import diff_specs
from workbench.analysis.tables import difference_text
from workbench.errors import StoreError
from workbench.presentation.blocks import Cell, Table
from workbench.presentation.display import (
    NOTHING,
    interval_text,
    number,
    one_line,
    p_value_text,
    percent,
    points,
    shortened,
)
from workbench.presentation.quantities import metric_of, metric_text
from workbench.presentation.sheet import Sheet
from workbench.runs.labels import read_label
from workbench.runs.store import StoredRun

_TEXT_LENGTH = 60  # characters of an answer in the table for people
_COLUMNS = ("item", "target", "kind")
_OF_A_RUN = ("answer", "is_correct", "score", "probability", "probability_of_target")
_NOTES = (
    "The difference is the first run minus the second, in percentage points, paired: both answered "
    "the same items.",
    "p is McNemar's exact test (for scores of texts a test that flips signs); the interval is the "
    "paired bootstrap over items. Neither knows how many other pairs were looked at.",
    "One run each: how much another seed would change is not in the interval.",
    "Probabilities are those of the labels, renormalised; a dash means that there is none.",
)


@dataclass(frozen=True)
class DifferingItem:
    """An item that two runs answered differently.

    Attributes:
        first: The first run's answer; `second` is the other's.
    """

    first: Answer
    second: Answer

    @property
    def kind(self) -> str:
        """Whose answer is the better one: "won", "lost", or "neither"."""
        if self.first.credit == self.second.credit:
            return "neither"
        return "won" if self.first.credit > self.second.credit else "lost"


@dataclass(frozen=True)
class RunDifference:
    """Two finished runs on the same items.

    Attributes:
        first: The run whose figure counts as plus.
        second: The run it is held against.
        difference: Paired, not adjusted.
        both_right: Items both have right; `both_wrong` those neither has.
        items: Those answered differently: won, lost, then neither, each in the split's order.
    """

    first: StoredRun
    second: StoredRun
    difference: RowDifference
    both_right: int
    both_wrong: int
    items: tuple[DifferingItem, ...]

    @property
    def names(self) -> tuple[str, str]:
        """What tables call the two runs."""
        return run_name(self.first), run_name(self.second)

    @property
    def writes_texts(self) -> bool:
        """Whether answers score from 0 to 1 instead of being right or wrong."""
        return self.first.spec.task.kind == "generation"


def run_name(run: StoredRun) -> str:
    """Return a person's name of a run, else its row with the end of its id."""
    return read_label(run.folder).name or f"{run.record.row} {run.spec.digest[:4]}"


def hold_together(first: StoredRun, second: StoredRun) -> RunDifference:
    """Return the difference of two runs and the items behind it.

    Raises:
        StoreError: both are one run, one is unfinished or unreadable, or their data differ.
    """
    ids = first.record.run_id, second.record.run_id
    if ids[0] == ids[1]:
        raise StoreError(f"difference: both are run {ids[0]}. Give two runs (see: workbench runs).")
    require_finished([first, second])
    ours, theirs = first.spec.task, second.spec.task
    if ours.digest != theirs.digest:
        raise StoreError(
            f"difference: runs {ids[0]} and {ids[1]} are of different data (task '{ours.name}', "
            f"{ours.digest[:8]}, against '{theirs.name}', {theirs.digest[:8]}). A difference is "
            "paired on the same items. Run both on one task with the same splits."
        )
    answers = read_answers(first), read_answers(second)
    require_same_items([first, second], answers)
    other = {answer.sample_id: answer for answer in answers[1]}
    pairs = [DifferingItem(answer, other[answer.sample_id]) for answer in answers[0]]
    details = [
        RunDetail(answers=tuple(given), history=(), environment={}, provenance=None)
        for given in ([pair.first for pair in pairs], [pair.second for pair in pairs])
    ]
    has_labels = is_classification(first)
    differing = [
        pair
        for pair in pairs
        if pair.kind != "neither"
        or not is_unanimous([pair.first, pair.second], has_labels=has_labels)
    ]
    order = ("won", "lost", "neither")
    return RunDifference(
        first=first,
        second=second,
        difference=difference_of(*details, against=ids[1]),
        both_right=sum(pair.first.is_correct and pair.second.is_correct for pair in pairs),
        both_wrong=sum(not (pair.first.is_correct or pair.second.is_correct) for pair in pairs),
        items=tuple(sorted(differing, key=lambda pair: order.index(pair.kind))),
    )


def difference_sheet(found: RunDifference, *, most_items: int, command: str = "") -> Sheet:
    """Return the tables, notes and rows of two runs held together.

    Args:
        found: The two runs.
        most_items: How many items the table for people shows; programs get all.
        command: The line that makes it again, for captions.
    """
    first, second = map(one_line, found.names)
    tables = [_figure_table(found)]
    tables += [] if found.writes_texts else [_fourfold_table(found)]
    tables += [_spec_table(found), _needed_table(found), _item_table(found, most_items)]
    task = found.first.spec.task
    return Sheet(
        title=f"{first} against {second}",
        facts=(
            one_line(task.name),
            f"{number(found.difference.num_items)} test items",
            f"{first}: {found.first.record.run_id}",
            f"{second}: {found.second.record.run_id}",
        ),
        headline=headline_of(found),
        tables=tuple(table for table in tables if table.rows),
        charts=(),
        notes=(*_NOTES, PLAN),
        columns=(
            *_COLUMNS,
            *(f"{which}_{name}" for which in ("first", "second") for name in _OF_A_RUN),
        ),
        rows=tuple(_flat(item) for item in found.items),
        data=_as_dict(found),
        caption=caption_of_runs([found.first, found.second], command),
    )


def headline_of(found: RunDifference) -> str:
    """Return the difference in words, whether it is noise, and what would settle it."""
    first, second = map(one_line, found.names)
    difference = found.difference
    if difference.value is None or difference.p_value is None:
        return "Nothing was scored."
    figure = f"{points(difference.value)} points"
    if difference.low is not None:
        figure += f" {interval_text(difference.low, difference.high, sign=True)}"
    p_text = f"p {p_value_text(difference.p_value)}".replace("<", "below ")
    if difference.p_value < SIGNIFICANCE:
        return f"{first} against {second}: {figure}, beyond noise ({p_text})."
    needed = needed_text(difference)
    rest = f" {needed[:1].upper()}{needed[1:]}." if needed else ""
    return f"{first} against {second}: {figure}, within noise ({p_text}).{rest}"


def _figure_table(found: RunDifference) -> Table:
    metric = headline_metric_of(found.first)
    title = metric_of(metric).title
    difference = found.difference
    rows: list[list[Cell]] = [
        [name, metric_text(metric, run.record.metrics.get(metric)), NOTHING, NOTHING, NOTHING]
        for name, run in zip(found.names, (found.first, found.second), strict=True)
    ]
    rows.append(
        [
            "first minus second",
            difference_text(difference),
            p_value_text(difference.p_value),
            difference.wins,
            difference.losses,
        ]
    )
    columns = ["run", f"{title} [95 %]", "p", "won", "lost"]
    note = reach_text(difference)
    first, second = map(one_line, found.names)
    return Table(title=f"{first} minus {second}", columns=columns, rows=rows, note=note)


def _fourfold_table(found: RunDifference) -> Table:
    first, second = map(one_line, found.names)
    return Table(
        title="Right and wrong",
        columns=["items", f"{second} right", f"{second} wrong"],
        rows=[
            [f"{first} right", found.both_right, found.difference.wins],
            [f"{first} wrong", found.difference.losses, found.both_wrong],
        ],
    )


def _spec_table(found: RunDifference) -> Table:
    differing = diff_specs(found.first.spec, found.second.spec)
    return Table(
        title="What was asked differently",
        columns=["part", *map(one_line, found.names)],
        rows=[[one.key, one.first, one.second] for one in differing],
    )


def _needed_table(found: RunDifference) -> Table:
    rows: list[list[Cell]] = [
        [f"{100 * one.difference:.1f}", number(rounded_up(one.num_items))]
        for one in needed_items(found.difference)
        if one.num_items is not None
    ]
    return Table(title="Items needed", columns=["points apart", "items, about"], rows=rows)


def _item_table(found: RunDifference, most: int) -> Table:
    first, second = map(one_line, found.names)
    left_out = len(found.items) - most
    note = f"{left_out} more are in the CSV and JSON files." if left_out > 0 else ""
    return Table(
        title=f"Items answered differently ({len(found.items)})",
        columns=["item", "right", first, "probability", second, "probability", "first run"],
        rows=[
            [
                one_line(item.first.sample_id),
                shortened(item.first.target, _TEXT_LENGTH),
                _shown(item.first),
                percent(_probability(item.first)),
                _shown(item.second),
                percent(_probability(item.second)),
                item.kind,
            ]
            for item in found.items[:most]
        ],
        note=note,
    )


def _shown(answer: Answer) -> str:
    text = NOTHING if answer.answer is None else shortened(answer.answer, _TEXT_LENGTH)
    return text if answer.score is None else f"{text} ({100 * answer.score:.0f})"


def _probability(answer: Answer, of: str | None = None) -> float | None:
    """Return the probability of a run's own answer, or of another one; None without any."""
    wanted = answer.answer if of is None else of
    return None if wanted is None else (answer.probabilities or {}).get(wanted)


def _flat(item: DifferingItem) -> tuple[Cell, ...]:
    cells: list[Cell] = [item.first.sample_id, item.first.target, item.kind]
    for answer in (item.first, item.second):
        cells += [
            answer.answer,
            int(answer.is_correct),
            answer.score,
            _probability(answer),
            _probability(answer, of=answer.target),
        ]
    return tuple(cells)


def _as_dict(found: RunDifference) -> dict[str, Any]:
    return {
        "first": found.first.record.run_id,
        "second": found.second.record.run_id,
        "metric": headline_metric_of(found.first),
        "difference": asdict(found.difference),
        "both_right": found.both_right,
        "both_wrong": found.both_wrong,
        "items_needed": [asdict(one) for one in needed_items(found.difference)],
        "items": [
            {
                "item": item.first.sample_id,
                "target": item.first.target,
                "references": list(item.first.references),
                "kind": item.kind,
                "first": _answer_as_dict(item.first),
                "second": _answer_as_dict(item.second),
            }
            for item in found.items
        ],
    }


def _answer_as_dict(answer: Answer) -> dict[str, Any]:
    return {
        "answer": answer.answer,
        "is_correct": answer.is_correct,
        "score": answer.score,
        "probabilities": None if answer.probabilities is None else dict(answer.probabilities),
    }
