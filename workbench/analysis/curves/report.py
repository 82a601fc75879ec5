"""Files of a curve, a sweep or wordings: JSON and CSV for programs, a page, LaTeX, a figure."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.analysis.captions import caption_of_runs
from workbench.analysis.curves.figure import band_of, curve_plot
from workbench.analysis.curves.lines import (
    CurvePoint,
    Curves,
    PlacedRun,
    best_text,
    overtaking_text,
    overtakings,
    spread_texts,
)
from workbench.analysis.curves.sizes import gap_texts
from workbench.analysis.tables import LOWER_BOUND, Cells
from workbench.atomic import write_text
from workbench.presentation.display import (
    NOTHING,
    estimate_text,
    interval_text,
    number,
    one_line,
    percent,
)
from workbench.presentation.figure_files import file_name, write_figure
from workbench.presentation.latex import LatexTable, latex_tables
from workbench.presentation.pages import render_page
from workbench.presentation.quantities import metric_of
from workbench.presentation.spreadsheet import Cell, csv_text
from workbench.runs.failures import FailedRun

_TEMPLATE = "curves_template.html.jinja"


def curve_table(curves: Curves, *, band: str = "items") -> Cells:
    """Return a row for each point of each line, as plain strings."""
    title = metric_of(curves.metric).title
    columns = ["line", curves.axis, "seeds", f"{title} [95 %]"]
    if band == "seeds":
        columns.append("lowest to highest seed")
    columns += ["dev accuracy", "dev loss", "learning rate"]
    rows = []
    for line in curves.lines:
        for point in line.points:
            cells = [
                one_line(line.name),
                "all" if point.place is None else one_line(str(point.place)),
                str(len(point.runs)),
                estimate_text(point.quality),
            ]
            if band == "seeds":
                is_spread = len(point.runs) > 1
                cells.append(interval_text(*(band_of(point, band) or (None, None)))
                             if is_spread else NOTHING)  # fmt: skip
            cells += [percent(point.dev_accuracy), number(point.dev_loss, decimals=3)]
            rows.append([*cells, _rate_text(point) + _mark(curves, line.name, point)])
    return columns, rows


def sentences_of(curves: Curves) -> list[str]:
    """Return what the lines say in words: when training overtakes, or what dev chooses."""
    if curves.asks_for_spread:
        return spread_texts(curves)
    if curves.gap_to is not None:
        return gap_texts(curves, curves.gap_to)
    found = [overtaking_text(one, axis=curves.axis) for one in overtakings(curves)]
    if curves.best is not None:
        return [best_text(curves)]
    return found


def write_curves(
    curves: Curves,
    folder: Path,
    name: str,
    *,
    notes: Sequence[str],
    failed: Sequence[FailedRun] = (),
    band: str = "items",
    command: str = "",
) -> None:
    """Write `<name>.json`, `.csv`, `.html`, `.tex` and the figure, each whole or not at all.

    Args:
        curves: The lines.
        folder: Where the files go.
        name: What the files are called.
        notes: How to read it.
        failed: Runs that could not be made.
        band: See `curve_plot`.
        command: The line that makes them again, for captions.

    Raises:
        StoreError: the folder cannot be written.
    """
    plot = curve_plot(curves, name=name, band=band)
    runs = [placed.run for line in curves.lines for point in line.points for placed in point.runs]
    caption = caption_of_runs(runs, command)
    cells = curve_table(curves, band=band)
    content = {
        "title": curves.title,
        "facts": [one_line(curves.base), one_line(curves.task)],
        "sentences": sentences_of(curves),
        "drawings": [plot.svg_drawing()],
        "table_cells": cells,
        "notes": [*notes, *caption.text.splitlines()],
    }
    data = {**curves_as_dict(curves), "failed": [asdict(failure) for failure in failed]}
    text = json.dumps(data, indent=2, ensure_ascii=False)
    write_text(folder / f"{name}.json", text + "\n")
    write_text(folder / f"{name}.csv", curves_csv(curves))
    write_text(
        folder / f"{name}.html", render_page("workbench.analysis.curves", _TEMPLATE, content)
    )
    table = LatexTable(curves.title, *cells, file_name(name), plot.note)
    write_text(folder / f"{name}.tex", latex_tables([table], caption))
    write_figure(plot, folder, name, caption=caption.text)


def curves_as_dict(curves: Curves) -> dict[str, Any]:
    """Return the content of the JSON file; figures are fractions, None where there is none."""
    return {
        "title": curves.title,
        "axis": curves.axis,
        "metric": curves.metric,
        "places": list(curves.places),
        "base": curves.base,
        "task": curves.task,
        "lines": [
            {
                "line": line.name,
                "is_trained": line.is_trained,
                "is_baseline": line.is_baseline,
                "points": [_point_as_dict(point) for point in line.points],
            }
            for line in curves.lines
        ],
        "best_on_dev": None
        if curves.best is None
        else {"line": curves.best[0], "place": curves.best[1]},
        "overtaking": [
            {
                "trained": found.trained,
                "demonstrations": found.shown,
                "from": found.place,
                "differences": [
                    {"place": place, **asdict(estimate)} for place, estimate in found.differences
                ],
            }
            for found in overtakings(curves)
        ],
        "in_words": sentences_of(curves),
    }


def curves_csv(curves: Curves) -> str:
    """Return one line per run; a line without a place is the same everywhere."""
    columns = [
        "line", curves.axis, "seed", "method", "run_id", curves.metric, "low", "high", "num_scored",
        "num_unscored", "dev_accuracy", "dev_loss", "dev_evaluations", "learning_rate",
        "lower_bound", "options",
    ]  # fmt: skip
    lines = [
        _cells(placed, curves.metric)
        for line in curves.lines
        for point in line.points
        for placed in point.runs
    ]
    return csv_text(columns, lines)


def _point_as_dict(point: CurvePoint) -> dict[str, Any]:
    return {
        "place": point.place,
        "quality": asdict(point.quality),
        "lowest": point.lowest,
        "highest": point.highest,
        "dev_accuracy": point.dev_accuracy,
        "dev_loss": point.dev_loss,
        "is_lower_bound": point.is_lower_bound,
        "runs": [
            {
                "run_id": placed.run.record.run_id,
                "seed": placed.run.spec.seed,
                "search": None if placed.search is None else asdict(placed.search),
            }
            for placed in point.runs
        ],
    }


def _cells(placed: PlacedRun, metric: str) -> list[Cell]:
    spec, record = placed.run.spec, placed.run.record
    estimate = record.metrics.get(metric)
    figures: list[Cell] = [None] * 5
    if estimate is not None:
        figures = [estimate.value, estimate.low, estimate.high]
        figures += [estimate.num_scored, estimate.num_unscored]
    bound = None if placed.search is None else "yes" if placed.search.is_lower_bound else "no"
    return [
        placed.line, placed.place, spec.seed, spec.method, record.run_id, *figures,
        record.cost.dev_accuracy, record.cost.dev_loss,
        record.cost.dev_evaluations, record.cost.learning_rate, bound,
        json.dumps(spec.options, ensure_ascii=False, default=str),
    ]  # fmt: skip


def _rate_text(point: CurvePoint) -> str:
    rates = dict.fromkeys(
        rate for p in point.runs if (rate := p.run.record.cost.learning_rate) is not None
    )
    return ", ".join(f"{rate:g}" for rate in rates) or NOTHING


def _mark(curves: Curves, line: str, point: CurvePoint) -> str:
    marks = [LOWER_BOUND] if point.is_lower_bound else []
    if curves.best == (line, point.place):
        marks.append("best on dev")
    return f" ({', '.join(marks)})" if marks else ""
