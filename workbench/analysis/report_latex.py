"""The report's tables as LaTeX: leaderboard, paired differences, seeds, costs."""

from workbench.analysis.captions import caption_of
from workbench.analysis.leaderboard import LeaderboardRow, leaderboard
from workbench.analysis.results import Comparison
from workbench.analysis.tables import Cells, cost_table, difference_text, seed_table
from workbench.estimates import Estimate
from workbench.presentation.display import NOTHING, estimate_text, one_line, p_value_text
from workbench.presentation.latex import LatexTable, latex_tables
from workbench.presentation.quantities import COSTS, metric_of

_ANSWERING = {"prompt_tokens_mean", "generated_tokens_mean", "milliseconds_per_item"}
_COSTS = (  # all in one table are wider than a page
    ("What it cost to make the rows", COSTS.keys() - _ANSWERING, "costs"),
    ("What an answer costs", _ANSWERING, "answer-costs"),
)
_INTERVALS = "Brackets: 95 % intervals over the test items."


def report_latex(comparison: Comparison) -> str:
    """Return the tables as LaTeX; everything that comes from data is escaped."""
    metric = metric_of(comparison.headline_metric).title
    task, reference = one_line(comparison.task.name), one_line(comparison.reference)
    points = "Differences are in percentage points, paired on the same items"
    won = f"that only this run, or only {reference}, has right"
    if comparison.writes_texts:
        won = f"on which this run, or {reference}, scores higher"
    tables = [
        _table(f"{metric} on {task}", leaderboard_table(comparison), "leaderboard", _INTERVALS),
        _table(
            f"Each run against {reference} on {task}",
            difference_table(comparison),
            "differences",
            f"{points}; won and lost count the items {won}. {_INTERVALS}",
        ),
    ]
    if comparison.seeds:
        note = "Student's t interval of the mean over seeds."
        tables.append(_table(f"Spread over seeds on {task}", seed_table(comparison), "seeds", note))
    for title, names, label in _COSTS:
        cells = cost_table(comparison, names)
        if len(cells[0]) > 1:
            tables.append(_table(f"{title} on {task}", cells, label, ""))
    return latex_tables(tables, caption_of(comparison))


def leaderboard_table(comparison: Comparison) -> Cells:
    """Return a row per row name, best first: figure, difference, and p adjusted after Holm."""
    columns = [
        "row",
        "seeds",
        f"{metric_of(comparison.headline_metric).title} [95 %]",
        f"vs {one_line(comparison.reference)}, points [95 %]",
        "p (Holm)",
    ]
    rows = [
        [
            _name(row),
            str(row.num_seeds),
            estimate_text(row.quality),
            difference_text(row.difference),
            p_value_text(row.p_value_holm),
        ]
        for row in leaderboard(comparison)
    ]
    return columns, rows


def difference_table(comparison: Comparison) -> Cells:
    """Return a row per run that has a difference from the reference."""
    columns = ["run", "points [95 %]", "p", "p (Holm)", "won", "lost", "items"]
    rows = []
    for row in comparison.rows:
        found = row.difference
        if found is None:
            continue
        estimate = Estimate(found.value, found.low, found.high, found.num_items, num_unscored=0)
        rows.append(
            [
                one_line(comparison.label(row)),
                difference_text(estimate),
                p_value_text(found.p_value),
                p_value_text(found.p_value_holm),
                str(found.wins),
                str(found.losses),
                str(found.num_items),
            ]
        )
    return columns, rows


def _name(row: LeaderboardRow) -> str:
    marks = ["best"] if row.is_best else []
    marks += ["no base"] if row.is_baseline else []
    marks += ["lower bound"] if row.is_lower_bound else []
    return one_line(row.name) + (f" ({', '.join(marks)})" if marks else "")


def _table(title: str, cells: Cells, label: str, note: str) -> LatexTable:
    columns, rows = cells
    shown = rows or [[NOTHING] * len(columns)]
    return LatexTable(title[:1].upper() + title[1:], columns, shown, label, note)
