"""What adapters make a base forget: before and after, side by side, paired."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from workbench.analysis.measurements.loss_text import nats_text, perplexity_text, points_text
from workbench.differences import PairedDifference, holm, paired_difference
from workbench.estimates import Estimate
from workbench.presentation.blocks import Bar, Bars, Cell, Chart, Table
from workbench.presentation.caption import NO_CAPTION, Caption
from workbench.presentation.display import NOTHING, estimate_text, number, one_line, p_value_text
from workbench.presentation.sheet import Sheet
from workbench.runs.measurements.records import Answers, ForgettingRecord, TextLoss

_SIGNIFICANT = 0.05
_NOTES = (
    "Before is the base alone. After is the same base with what the run learned in place: weights "
    "active for every token, or learned vectors (or words) before every window of text and before "
    "the other task's own prompt. The instruction of the run's own task is not among it.",
    "A soft prompt can be taken away, and then nothing is forgotten: its row says what it does to "
    "texts it was not made for. The same holds for a weight adapter that is switched off.",
    "Text: nats per token after at most 128 tokens of the same text; the interval takes blocks of "
    "128 tokens as what varies. Above 0 is worse after.",
    "Tasks are asked with their own wording, without demonstrations and without calibration. "
    "Differences are paired on the same items; p is McNemar's, Holm-adjusted over all rows. Below "
    "0 is worse after.",
    "A small change on a few items is no proof that nothing was lost: read the interval.",
)
_COLUMNS = (
    "run_id",
    "method",
    "in_place",
    "where",
    "kind",
    "before",
    "after",
    "change",
    "change_low",
    "change_high",
    "p_value_holm",
    "num_items",
)


@dataclass(frozen=True)
class _Change:
    """One run's change in one place; differences have p-values adjusted together."""

    record: ForgettingRecord
    where: str
    before: TextLoss | Answers
    after: TextLoss | Answers
    change: Estimate | PairedDifference
    p_value: float | None = None


def forgetting_sheet(
    records: Sequence[ForgettingRecord], facts: Sequence[str], *, caption: Caption = NO_CAPTION
) -> Sheet:
    """Return the tables, the charts and the notes.

    Args:
        records: What was measured for runs on one base, at least one.
        facts: About the base.
        caption: Of what was measured, and what measures it again.
    """
    changes = _changes(records)
    return Sheet(
        title="What is forgotten",
        facts=tuple(map(one_line, facts)),
        headline=_headline(changes),
        tables=(_change_table(changes), _run_table(records)),
        charts=_charts(changes),
        notes=_NOTES,
        columns=_COLUMNS,
        rows=tuple(map(_flat, changes)),
        data={"changes": [_as_dict(change) for change in changes]},
        caption=caption,
    )


def _changes(records: Sequence[ForgettingRecord]) -> list[_Change]:
    found = [change for record in records for change in _changes_of(record)]
    adjusted = holm(
        [c.change.p_value if isinstance(c.change, PairedDifference) else None for c in found]
    )
    return [
        _Change(c.record, c.where, c.before, c.after, c.change, p)
        for c, p in zip(found, adjusted, strict=True)
    ]


def _changes_of(record: ForgettingRecord) -> Iterator[_Change]:
    for name, (before, after) in record.texts.items():
        yield _Change(record, name, before, after, after.difference_to(before))
    for name, (earlier, later) in record.tasks.items():
        difference = paired_difference(later.is_right, earlier.is_right)
        yield _Change(record, name, earlier, later, difference)


def _is_loss(change: _Change) -> bool:
    """Return whether a change is for the worse, beyond noise."""
    found = change.change
    if isinstance(found, PairedDifference):
        is_worse = found.value is not None and found.value < 0
        return is_worse and change.p_value is not None and change.p_value < _SIGNIFICANT
    return found.low is not None and found.low > 0


def _headline(changes: Sequence[_Change]) -> str:
    lost = [change for change in changes if _is_loss(change)]
    if not lost:
        return f"None of {len(changes)} changes is a loss beyond noise."
    words = "; ".join(
        f"{one_line(c.record.row)} on {one_line(c.where)}: {_change_text(c)}" for c in lost
    )
    return f"{len(lost)} of {len(changes)} changes are losses beyond noise. {words}."


def _change_text(change: _Change) -> str:
    if isinstance(change.change, PairedDifference):
        return f"{points_text(change.change)} points"
    return f"{nats_text(change.change, sign=True)} nats per token"


def _change_table(changes: Sequence[_Change]) -> Table:
    rows: list[list[Cell]] = [
        [
            one_line(c.record.row),
            one_line(c.where),
            _level(c.before),
            _level(c.after),
            _change_text(c),
            p_value_text(c.p_value),
            f"{c.change.wins} / {c.change.losses}"
            if isinstance(c.change, PairedDifference)
            else NOTHING,
            number(_size(c.before)),
        ]
        for c in changes
    ]
    return Table(
        title="Before and after",
        columns=[
            "run",
            "where",
            "before [95 %]",
            "after [95 %]",
            "change [95 %]",
            "p (Holm)",
            "newly right / newly wrong",
            "items or blocks",
        ],
        rows=rows,
        note="Texts: perplexity, and its change in nats per token. Tasks: accuracy, and its change "
        "in points.",
    )


def _level(side: TextLoss | Answers) -> str:
    if isinstance(side, TextLoss):
        return f"perplexity {perplexity_text(side.per_token)}"
    return estimate_text(side.metrics["accuracy"])


def _size(side: TextLoss | Answers) -> int:
    return len(side.losses) if isinstance(side, TextLoss) else len(side.targets)


def _run_table(records: Sequence[ForgettingRecord]) -> Table:
    return Table(
        title="Runs",
        columns=[
            "run",
            "method",
            "in place afterwards",
            "trained on",
            "accuracy there [95 %]",
            "id",
        ],
        rows=[
            [
                one_line(record.row),
                record.method,
                record.in_place,
                one_line(record.task),
                estimate_text(record.own_accuracy),
                record.run_id,
            ]
            for record in records
        ],
    )


def _charts(changes: Sequence[_Change]) -> tuple[Chart, ...]:
    texts = [c for c in changes if isinstance(c.before, TextLoss)]
    tasks = [c for c in changes if isinstance(c.before, Answers)]
    charts = [
        Bars(
            title="Other text",
            x="nats per token above the base alone",
            bars=[_bar(change) for change in texts],
            reference=0.0,
            note="To the right is worse.",
        ),
        Bars(
            title="Other tasks",
            x="points against the base alone",
            bars=[_bar(change) for change in tasks],
            reference=0.0,
            is_percent=True,
            note="To the left is worse.",
        ),
    ]
    return tuple(chart for chart in charts if chart.bars)


def _bar(change: _Change) -> Bar:
    return Bar(
        name=f"{change.record.row}, {change.where}",
        value=change.change.value or 0.0,
        low=change.change.low,
        high=change.change.high,
        is_notable=_is_loss(change),
    )


def _figure(side: TextLoss | Answers) -> Estimate:
    return side.per_token if isinstance(side, TextLoss) else side.metrics["accuracy"]


def _flat(change: _Change) -> tuple[Cell, ...]:
    record = change.record
    return (
        record.run_id,
        record.method,
        record.in_place,
        change.where,
        _kind(change),
        _figure(change.before).value,
        _figure(change.after).value,
        change.change.value,
        change.change.low,
        change.change.high,
        change.p_value,
        _size(change.before),
    )


def _kind(change: _Change) -> str:
    return "nats per token" if isinstance(change.before, TextLoss) else "accuracy"


def _as_dict(change: _Change) -> dict[str, Any]:
    found: dict[str, Any] = dict(zip(_COLUMNS, _flat(change), strict=True))
    for name, side in (("before", change.before), ("after", change.after)):
        found[name] = asdict(_figure(side))
        if isinstance(side, TextLoss):
            found[f"{name}_nats_per_byte"] = asdict(side.per_byte)
        else:
            found[f"{name}_metrics"] = {key: asdict(one) for key, one in side.metrics.items()}
    found["difference"] = asdict(change.change)
    own = change.record.own_accuracy
    found["own_accuracy"] = None if own is None else asdict(own)
    return found
