"""The report as one HTML file that opens offline: no script, no font, no address to load."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from workbench.analysis.answers import is_same_answer
from workbench.analysis.display import NOTHING, one_line
from workbench.analysis.drawing import Drawing
from workbench.analysis.figures import calibration_plot, cost_plot, forest_plot, training_plot
from workbench.analysis.headline import headline, ranking
from workbench.analysis.notes import base_and_task_facts, reading_notes, run_facts
from workbench.analysis.results import Comparison, ComparisonRow, RunDetail
from workbench.analysis.tables import Cells, metric_table, result_table, seed_table, subtitle
from workbench.metrics import confusion_matrix

MOST_LABELS = 12  # of a confusion matrix that can still be read
MOST_DISAGREEMENTS = 30
_ANSWER_LENGTH = 160  # characters of a short answer in the table of disagreements
_TEMPLATE = "report_template.html.jinja"


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


def report_html(comparison: Comparison) -> str:
    """Return the page; everything that comes from data is escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["svg"] = _trusted_svg
    source = files("workbench.analysis").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    chosen = best_and_reference(comparison)
    return environment.from_string(source).render(
        title=f"{one_line(str(comparison.task['name']))}: {one_line(str(comparison.base['name']))}",
        subtitle=subtitle(comparison),
        headline=headline(comparison),
        results=result_table(comparison),
        reference_rows=[row.row == comparison.reference for row in comparison.rows],
        baseline_rows=[row.is_baseline for row in comparison.rows],
        seeds=seed_table(comparison) if comparison.seeds else None,
        metrics=metric_table(comparison),
        figures=_drawings(comparison, chosen),
        confusions=_confusions(comparison, chosen),
        disagreements=_disagreement_table(comparison),
        num_disagreements=len(comparison.disagreements),
        num_items=comparison.task["num_test"],
        warnings=comparison.warnings,
        reading=reading_notes(),
        facts=base_and_task_facts(comparison),
        runs=run_facts(comparison),
        nothing=NOTHING,
    )


def best_and_reference(comparison: Comparison) -> list[tuple[ComparisonRow, RunDetail]]:
    """Return the first seed of the best row that uses the base, and of the reference."""
    by_name = {row.row: (row, detail) for row, detail in comparison.first_seeds()}
    ranked = [ranked.name for ranked in ranking(comparison) if not ranked.runs[0].is_baseline]
    return [by_name[name] for name in dict.fromkeys([*ranked[:1], comparison.reference])]


def _drawings(
    comparison: Comparison, chosen: Sequence[tuple[ComparisonRow, RunDetail]]
) -> list[Drawing]:
    drawings = [
        forest_plot(comparison),
        cost_plot(comparison, cost="trained_parameters", title="trained parameters", use_log=True),
        cost_plot(comparison, cost="prompt_tokens_mean", title="prompt tokens", use_log=False),
        training_plot(comparison),
        calibration_plot(comparison, chosen),
    ]
    return [drawing for drawing in drawings if drawing is not None]


def _confusions(
    comparison: Comparison, chosen: Sequence[tuple[ComparisonRow, RunDetail]]
) -> list[ConfusionTable]:
    """Return the confusion matrices, or none if there are no labels or too many."""
    if not comparison.has_labels:
        return []
    details = comparison.details
    scored = next((a for d in details for a in d.answers if a.probabilities), None)
    known = list(scored.probabilities or ()) if scored else []
    seen = {name for d in details for a in d.answers for name in (a.target, a.answer)}
    labels = list(dict.fromkeys([*known, *sorted(name for name in seen if name is not None)]))
    if not 2 <= len(labels) <= MOST_LABELS:
        return []
    return [_confusion(comparison.label(row), detail, labels) for row, detail in chosen]


def _confusion(name: str, detail: RunDetail, labels: Sequence[str]) -> ConfusionTable:
    counts = confusion_matrix(
        [answer.answer for answer in detail.answers],
        [answer.target for answer in detail.answers],
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
    return ConfusionTable(one_line(name), tuple(columns), tuple(rows))


def _disagreement_table(comparison: Comparison) -> Cells | None:
    shown = comparison.disagreements[:MOST_DISAGREEMENTS]
    if not shown:
        return None
    names = list(shown[0].answers)
    columns = ["item", "target", *map(one_line, names)]
    rows = [
        [one_line(found.sample_id), _answer_text(found.target)]
        + [_judged_text(found.answers[name], found.target, comparison) for name in names]
        for found in shown
    ]
    return columns, rows


def _answer_text(answer: str | None) -> str:
    if answer is None:
        return NOTHING
    text = one_line(answer)
    return text if len(text) <= _ANSWER_LENGTH else f"{text[:_ANSWER_LENGTH]} (cut)"


def _judged_text(answer: str | None, target: str, comparison: Comparison) -> str:
    is_correct = is_same_answer(answer, target, has_labels=comparison.has_labels)
    return _answer_text(answer) + (" \N{CHECK MARK}" if is_correct else "")


def _trusted_svg(drawing: Drawing) -> Markup:
    """Return a drawing's SVG as it is; `inline_svg` has escaped the text in it."""
    return Markup(drawing.svg)  # noqa: S704 - made by matplotlib, not by the data
