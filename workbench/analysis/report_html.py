"""The report as one HTML page."""

from collections.abc import Sequence

from workbench.analysis.answers import Answer
from workbench.analysis.confusion import ConfusionTable, confusion_of
from workbench.analysis.cost_figure import cost_plot
from workbench.analysis.figures import calibration_plot, forest_plot
from workbench.analysis.headline import headline, ranking
from workbench.analysis.notes import base_and_task_facts, reading_notes, run_facts
from workbench.analysis.results import Comparison
from workbench.analysis.tables import (
    Cells,
    metric_table,
    result_table,
    search_table,
    seed_table,
    subtitle,
)
from workbench.analysis.training_figure import training_plot
from workbench.presentation.display import NOTHING, one_line
from workbench.presentation.drawing import Plot
from workbench.presentation.pages import render_page
from workbench.presentation.reading import Reading

MOST_DISAGREEMENTS = 30
_SHOWN_COSTS = ("trained_parameters", "prompt_tokens_mean", "milliseconds_per_item")
_ANSWER_LENGTH = 300  # characters of a written answer in the table of disagreements
_SHOWN_REFERENCES = 3  # of an item there
_TEMPLATE = "report_template.html.jinja"


def report_html(comparison: Comparison, readings: Sequence[Reading] = ()) -> str:
    """Return the page; everything that comes from data is escaped.

    Args:
        comparison: The table.
        readings: What its soft prompts learned.
    """
    chosen = best_and_reference(comparison)
    others = [False] * len(comparison.failed)
    title = f"{one_line(comparison.task.name)}: {one_line(comparison.base.name)}"
    content = {
        "title": f"{comparison.name} · {title}" if comparison.name else title,
        "subtitle": subtitle(comparison),
        "headline": headline(comparison),
        "results": result_table(comparison),
        "reference_rows": [row.row == comparison.reference for row in comparison.rows] + others,
        "baseline_rows": [row.is_baseline for row in comparison.rows] + others,
        "seeds": seed_table(comparison) if comparison.seeds else None,
        "searched": search_table(comparison),
        "metrics": metric_table(comparison),
        "figures_drawn": [plot.svg_drawing() for plot in report_plots(comparison)],
        "confusions": _confusions(comparison, chosen),
        "readings": readings,
        "disagreements": _disagreement_table(comparison),
        "num_disagreements": len(comparison.disagreements),
        "writes_texts": comparison.writes_texts,
        "num_items": comparison.task.num_test,
        "warnings": comparison.warnings,
        "reading_notes": reading_notes(comparison),
        "facts": base_and_task_facts(comparison),
        "runs": run_facts(comparison),
        "nothing": NOTHING,
    }
    return render_page("workbench.analysis", _TEMPLATE, content)


def best_and_reference(comparison: Comparison) -> list[str]:
    """Return the names of the best row that uses the base, and of the reference."""
    ranked = [ranked.name for ranked in ranking(comparison) if not ranked.runs[0].is_baseline]
    return list(dict.fromkeys([*ranked[:1], comparison.reference]))


def report_plots(comparison: Comparison) -> list[Plot]:
    """Return the figures of a report, those that the rows have something to draw for."""
    plots = [
        forest_plot(comparison),
        *(cost_plot(comparison, cost=cost) for cost in _SHOWN_COSTS),
        training_plot(comparison),
        calibration_plot(comparison, best_and_reference(comparison)),
    ]
    return [plot for plot in plots if plot is not None]


def _confusions(comparison: Comparison, chosen: Sequence[str]) -> list[ConfusionTable]:
    """Return the confusion matrices, or none if there are no labels or too many."""
    tables = [confusion_of(comparison, name).table for name in chosen]
    return [table for table in tables if table is not None]


def _disagreement_table(comparison: Comparison) -> Cells | None:
    shown = comparison.disagreements[:MOST_DISAGREEMENTS]
    if not shown:
        return None
    names = list(shown[0].answers)
    place_of = {answer.sample_id: i for i, answer in enumerate(comparison.details[0].answers)}
    pairs = {row.row: detail.answers for row, detail in comparison.first_seeds()}
    columns = ["item", "references" if comparison.writes_texts else "target"]
    rows = []
    for found in shown:
        given = {name: pairs[name][place_of[found.sample_id]] for name in names}
        references = given[names[0]].references or (found.target,)
        correct = " / ".join(map(_answer_text, references[:_SHOWN_REFERENCES]))
        rows.append([one_line(found.sample_id), correct, *map(_judged_text, given.values())])
    return [*columns, *map(one_line, names)], rows


def _answer_text(answer: str | None) -> str:
    if answer is None:
        return NOTHING
    text = one_line(answer)
    return text if len(text) <= _ANSWER_LENGTH else f"{text[:_ANSWER_LENGTH]} (cut)"


def _judged_text(given: Answer) -> str:
    """Return an answer with a mark if it is correct; a text with its score."""
    if given.score is not None:
        return f"{_answer_text(given.answer)} ({100 * given.score:.0f})"
    return _answer_text(given.answer) + (" \N{CHECK MARK}" if given.is_correct else "")
