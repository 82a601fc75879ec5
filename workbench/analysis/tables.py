"""The table of a comparison as plain strings, for the terminal, Markdown and HTML."""

from workbench.analysis.display import (
    NOTHING,
    estimate_text,
    interval_text,
    number,
    one_line,
    p_value_text,
    percent,
    points,
)
from workbench.analysis.quantities import COSTS, metric_of, metric_text
from workbench.analysis.results import Comparison, ComparisonRow, RowDifference
from workbench.metrics import Estimate

Cells = tuple[list[str], list[list[str]]]
"""Column names, and one list of cells per row."""


def terminal_table(comparison: Comparison) -> Cells:
    """Return column names and rows of plain strings; they are text, never markup.

    Foreign text in them may look like markup of the printing library: print them as plain text.
    """
    columns = [
        "method",
        "accuracy",
        "95 % interval",
        f"vs {one_line(comparison.reference)} (paired)",
        "p (Holm)",
        "trained params",
        "train s",
        "prompt tok",
        "ms/item",
    ]
    rows = [
        [
            _name(row, comparison),
            percent(row.accuracy.value),
            interval_text(row.accuracy.low, row.accuracy.high),
            difference_text(row.difference),
            p_value_text(row.difference.p_value_holm if row.difference else None),
            number(row.cost["trained_parameters"]),
            number(row.cost["train_seconds"], decimals=1),
            number(row.cost["prompt_tokens_mean"], decimals=1),
            number(row.cost["milliseconds_per_item"], decimals=1),
        ]
        for row in comparison.rows
    ]
    return columns, rows


def result_table(comparison: Comparison) -> Cells:
    """Return the full table of a report."""
    columns = [
        "row",
        "accuracy [95 %]",
        f"vs {one_line(comparison.reference)}, points [95 %]",
        "p (Holm)",
        "trained parameters",
        "stored",
        "training, s",
        "peak memory",
        "labelled examples",
        "prompt tokens",
        "generated tokens",
        "ms per item",
    ]
    rows = [
        [
            _name(row, comparison),
            estimate_text(row.accuracy),
            difference_text(row.difference),
            p_value_text(row.difference.p_value_holm if row.difference else None),
            *_costs(row),
        ]
        for row in comparison.rows
    ]
    return columns, rows


def seed_table(comparison: Comparison) -> Cells:
    """Return the spread over seeds; no rows if every row has one run."""
    columns = ["row", "seeds", "mean accuracy", "95 % interval over seeds", "lowest", "highest"]
    rows = [
        [
            one_line(spread.row),
            str(spread.num_seeds),
            percent(spread.mean),
            interval_text(spread.low, spread.high),
            percent(spread.minimum),
            percent(spread.maximum),
        ]
        for spread in comparison.seeds
    ]
    return columns, rows


def metric_table(comparison: Comparison) -> Cells:
    """Return every other metric of every row."""
    names = dict.fromkeys(
        name for row in comparison.rows for name in row.metrics if name != "accuracy"
    )
    columns = ["row", "items without answer", *(metric_of(name).title for name in names)]
    rows = [
        [
            _name(row, comparison),
            str(row.accuracy.num_unscored),
            *(metric_text(name, row.metrics.get(name)) for name in names),
        ]
        for row in comparison.rows
    ]
    return columns, rows


def difference_text(difference: RowDifference | Estimate | None) -> str:
    """Return a difference of accuracies as "+4.5 [+1.0, +8.0]" in percentage points."""
    if difference is None or difference.value is None:
        return NOTHING
    if difference.low is None:
        return points(difference.value)
    interval = interval_text(difference.low, difference.high, sign=True)
    return f"{points(difference.value)} {interval}"


def subtitle(comparison: Comparison) -> list[str]:
    """Return base, precision, device, task, sizes and seeds, to be joined by a middle dot."""
    base, task = comparison.base, comparison.task
    seeds = sorted({row.seed for row in comparison.rows if not row.is_baseline})
    sizes = [f"{number(task[f'num_{split}'])} {split}" for split in ("train", "dev", "test")]
    return [
        one_line(str(base["name"])),
        f"{base['precision']} (products in {base['compute_dtype']})",
        str(base["device"]),
        one_line(str(task["name"])),
        " / ".join(sizes),
        ("seed " if len(seeds) == 1 else "seeds ") + ", ".join(map(str, seeds)),
    ]


def _name(row: ComparisonRow, comparison: Comparison) -> str:
    return one_line(comparison.label(row))


def _costs(row: ComparisonRow) -> list[str]:
    return [cost.written(row.cost[key]) for key, cost in COSTS.items()]
