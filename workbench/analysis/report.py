"""The report of a comparison: JSON and CSV for programs, Markdown, HTML and LaTeX for people."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.analysis.captions import caption_of
from workbench.analysis.report_html import report_html, report_plots
from workbench.analysis.report_latex import report_latex
from workbench.analysis.report_markdown import report_markdown
from workbench.analysis.results import Comparison, ComparisonRow, RunDetail
from workbench.analysis.tables import terminal_table
from workbench.atomic import write_text
from workbench.presentation.figure_files import file_name, write_figure
from workbench.presentation.reading import Reading
from workbench.presentation.spreadsheet import Cell, csv_text
from workbench.runs.run_files import REPORT_FORMS
from workbench.sealed import clear_place, write_sealed

__all__ = [
    "flat_rows",
    "report_as_dict",
    "report_csv",
    "report_html",
    "report_latex",
    "report_markdown",
    "report_texts",
    "terminal_table",
    "write_figures",
    "write_report",
]


def write_report(
    comparison: Comparison, folder: Path, readings: Sequence[Reading] = ()
) -> dict[str, Path]:
    """Write a report in every form of `REPORT_FORMS`, each whole or not at all; return the files.

    Args:
        comparison: The table.
        folder: Where the files go.
        readings: What its soft prompts learned; shown in Markdown and HTML.

    Raises:
        StoreError: the folder cannot be written.
    """
    found = {form: folder / f"report.{suffix}" for form, suffix in REPORT_FORMS.items()}
    texts = report_texts(comparison, readings)
    for form in texts:
        clear_place(found[form])
    write_sealed(found["json"], report_as_dict(comparison))
    for form, text in texts.items():
        write_text(found[form], text)
    return found


def report_texts(comparison: Comparison, readings: Sequence[Reading] = ()) -> dict[str, str]:
    """Return a report in every form but JSON, see `report_as_dict`, by the form's name."""
    return {
        "html": report_html(comparison, readings),
        "markdown": report_markdown(comparison, readings),
        "latex": report_latex(comparison),
        "csv": report_csv(comparison),
    }


def write_figures(comparison: Comparison, folder: Path) -> list[Path]:
    """Write a report's figures as PNG, SVG and PDF and its tables as LaTeX; return the files.

    Raises:
        StoreError: the folder cannot be written.
    """
    caption = caption_of(comparison).text
    paths = [
        path
        for plot in report_plots(comparison)
        for path in write_figure(plot, folder, file_name(plot.name), caption=caption)
    ]
    clear_place(folder / "tables.tex")
    write_text(folder / "tables.tex", report_latex(comparison))
    return [*paths, folder / "tables.tex"]


def report_as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return the content of `report.json` without its digest; figures are fractions or None."""
    return {
        "name": comparison.name,
        "base": _base_as_dict(comparison),
        "task": {**comparison.task.model_dump(), "dropped": comparison.dropped},
        "template": comparison.template.model_dump(),
        "reference": comparison.reference,
        "created": comparison.created,
        "rows": list(map(_row_as_dict, comparison.rows, comparison.details)),
        "failed": [asdict(failure) for failure in comparison.failed],
        "seeds": [asdict(spread) for spread in comparison.seeds],
        "warnings": list(comparison.warnings),
    }


def report_csv(comparison: Comparison) -> str:
    """Return one line per row; text that a spreadsheet would run as a formula gets a "'"."""
    lines = flat_rows(comparison)
    columns = list(dict.fromkeys(column for line in lines for column in line))
    return csv_text(columns, ([line.get(column) for column in columns] for line in lines))


def flat_rows(comparison: Comparison) -> list[dict[str, Cell]]:
    """Return the cells of each row by column name, those that failed last; figures are fractions.

    Not every row has every column.
    """
    failed: list[dict[str, Cell]] = [
        {"row": f.row, "seed": f.seed, "failed": f.reason} for f in comparison.failed
    ]
    return [*(_flat(row, comparison) for row in comparison.rows), *failed]


def _base_as_dict(comparison: Comparison) -> dict[str, str]:
    name, source = comparison.base.name, comparison.source
    return {"name": name, "source": source, **comparison.base.model_dump(exclude={"name"})}


def _row_as_dict(row: ComparisonRow, detail: RunDetail) -> dict[str, Any]:
    return {
        "row": row.row,
        "method": row.method,
        "run_id": row.run_id,
        "name": detail.label.name,
        "seed": row.seed,
        "options": row.options,
        "metrics": {name: asdict(estimate) for name, estimate in row.metrics.items()},
        "difference": None if row.difference is None else asdict(row.difference),
        "cost": row.costs,
        "search": None if row.search is None else asdict(row.search),
        "is_lower_bound": row.is_lower_bound,
    }


def _flat(row: ComparisonRow, comparison: Comparison) -> dict[str, Cell]:
    """Return a row's cells by column name."""
    cells: dict[str, Cell] = {
        "row": row.row,
        "method": row.method,
        "run_id": row.run_id,
        "seed": row.seed,
        "base": comparison.base.name,
        "precision": comparison.base.precision,
        "task": comparison.task.name,
    }
    for name, estimate in row.metrics.items():
        cells[name] = estimate.value
        for field in ("low", "high", "num_scored", "num_unscored"):
            cells[f"{name}_{field}"] = getattr(estimate, field)
    for field in ("against", "value", "low", "high", "p_value", "p_value_holm", "wins", "losses"):
        value = None if row.difference is None else getattr(row.difference, field)
        cells[f"difference_{field}"] = value
    cells |= row.costs
    if row.search is not None:
        cells["learning_rate"] = row.search.best.learning_rate
        cells["learning_rates_tried"] = len(row.search.trials)
        cells["search_seconds"] = row.search.train_seconds
        cells["lower_bound"] = "yes" if row.is_lower_bound else "no"
    cells["options"] = json.dumps(row.options, ensure_ascii=False, default=str)
    return cells
