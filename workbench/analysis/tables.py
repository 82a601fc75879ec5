"""The table of a comparison as plain strings, for the terminal, Markdown and HTML."""

from collections.abc import Container

from workbench.analysis.notes import sizes_text
from workbench.analysis.results import Comparison, ComparisonRow, RowDifference
from workbench.estimates import Estimate
from workbench.presentation.display import (
    NOTHING,
    estimate_text,
    interval_text,
    number,
    one_line,
    p_value_text,
    percent,
    points,
)
from workbench.presentation.quantities import COSTS, metric_of, metric_text
from workbench.runs.search import SearchOutcome, Trial

LOWER_BOUND = "lower bound"  # said of a row whose learning rate lies at the edge of those tried

Cells = tuple[list[str], list[list[str]]]
"""Column names, and one list of cells per row."""


def terminal_table(comparison: Comparison) -> Cells:
    """Return column names and rows of plain strings; they are text, never markup.

    Foreign text in them may look like markup of the printing library: print them as plain text.
    """
    columns = [
        "method",
        metric_of(comparison.headline_metric).title,
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
            percent(comparison.quality(row).value),
            interval_text(comparison.quality(row).low, comparison.quality(row).high),
            difference_text(row.difference),
            p_value_text(row.difference.p_value_holm if row.difference else None),
            number(row.cost.trained_parameters),
            number(row.cost.train_seconds, decimals=1),
            number(row.cost.prompt_tokens_mean, decimals=1),
            number(row.cost.milliseconds_per_item, decimals=1),
        ]
        for row in comparison.rows
    ]
    return columns, rows + _failed_rows(comparison, len(columns))


def result_table(comparison: Comparison) -> Cells:
    """Return the full table of a report."""
    columns = [
        "row",
        f"{metric_of(comparison.headline_metric).title} [95 %]",
        f"vs {one_line(comparison.reference)}, points [95 %]",
        "p (Holm)",
        "trained parameters",
        "stored",
        "training, s",
        "peak memory",
        "labelled examples",
        "evaluations on dev",
        "items of each",
        "prompt tokens",
        "generated tokens",
        "ms per item",
    ]
    rows = [
        [
            _name(row, comparison),
            estimate_text(comparison.quality(row)),
            difference_text(row.difference),
            p_value_text(row.difference.p_value_holm if row.difference else None),
            *_costs(row),
        ]
        for row in comparison.rows
    ]
    return columns, rows + _failed_rows(comparison, len(columns))


def cost_table(comparison: Comparison, names: Container[str] = COSTS) -> Cells:
    """Return what every row costs, those figures that are not 0 for all of them.

    Args:
        comparison: Whose rows.
        names: Which figures, of those in `COSTS`.
    """
    kept = [
        (name, cost)
        for name, cost in COSTS.items()
        if name in names and any(row.costs[name] for row in comparison.rows)
    ]
    # Sizes bring their own unit.
    titles = [cost.title if cost.unit == "bytes" else cost.axis_title for _, cost in kept]
    rows = [
        [_name(row, comparison), *(cost.written(row.costs[name]) for name, cost in kept)]
        for row in comparison.rows
    ]
    return ["row", *titles], rows


def seed_table(comparison: Comparison) -> Cells:
    """Return the spread over seeds; no rows if every row has one run."""
    mean = f"mean {metric_of(comparison.headline_metric).title}"
    columns = ["row", "seeds", mean, "95 % interval over seeds", "lowest", "highest"]
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
        name
        for row in comparison.rows
        for name in row.metrics
        if name != comparison.headline_metric
    )
    columns = ["row", "items without answer", *(metric_of(name).title for name in names)]
    rows = [
        [
            _name(row, comparison),
            str(comparison.quality(row).num_unscored),
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
    return [
        one_line(base.name),
        f"{base.precision} (products in {base.compute_dtype})",
        base.device,
        one_line(task.name),
        sizes_text(task),
        ("seed " if len(seeds) == 1 else "seeds ") + ", ".join(map(str, seeds)),
    ]


def heading(comparison: Comparison) -> list[str]:
    """Return the subtitle, behind the name that a person gave the comparison, if any."""
    return [*([comparison.name] if comparison.name else []), *subtitle(comparison)]


def search_table(comparison: Comparison) -> Cells | None:
    """Return the learning rates that were tried and what they reached on dev; None if none were."""
    searches = {row.row: row.search for row in comparison.rows if row.search is not None}
    if not searches:
        return None
    columns = [
        "row",
        "learning rate",
        "dev accuracy",
        "dev loss",
        "evaluations on dev",
        "training, s",
        "chosen",
    ]
    rows = [
        [
            one_line(name),
            f"{trial.learning_rate:g}" + (" (the method's own)" if trial.is_default else ""),
            "failed" if trial.loss is None else percent(trial.accuracy),
            number(trial.loss, decimals=3),
            number(trial.dev_evaluations),
            number(trial.train_seconds, decimals=1),
            _chosen_text(search, trial),
        ]
        for name, search in searches.items()
        for trial in search.trials
    ]
    return columns, rows


def _chosen_text(search: SearchOutcome, trial: Trial) -> str:
    if trial != search.best:
        return NOTHING
    return f"yes, {LOWER_BOUND}" if search.is_lower_bound else "yes"


def _name(row: ComparisonRow, comparison: Comparison) -> str:
    name = one_line(comparison.label(row))
    return f"{name} ({LOWER_BOUND})" if row.is_lower_bound else name


def _failed_rows(comparison: Comparison, num_columns: int) -> list[list[str]]:
    """Return a row for each run that failed; why is among the warnings."""
    return [
        [one_line(failure.name), "failed", *[NOTHING] * (num_columns - 2)]
        for failure in comparison.failed
    ]


def _costs(row: ComparisonRow) -> list[str]:
    return [cost.written(row.costs[key]) for key, cost in COSTS.items()]
