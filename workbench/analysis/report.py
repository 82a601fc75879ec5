"""The report of a comparison: JSON and CSV for programs, Markdown and HTML for people."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.analysis.report_html import report_html
from workbench.analysis.report_markdown import report_markdown
from workbench.analysis.results import Comparison, ComparisonRow
from workbench.analysis.tables import terminal_table
from workbench.atomic import write_text
from workbench.presentation.reading import Reading
from workbench.presentation.spreadsheet import Cell, csv_text
from workbench.sealed import clear_place, write_sealed

__all__ = [
    "ReportFiles",
    "report_as_dict",
    "report_csv",
    "report_html",
    "report_markdown",
    "terminal_table",
    "write_report",
]


@dataclass(frozen=True)
class ReportFiles:
    """Where the four forms of a report lie."""

    json: Path
    csv: Path
    markdown: Path
    html: Path


def write_report(
    comparison: Comparison, folder: Path, readings: Sequence[Reading] = ()
) -> ReportFiles:
    """Write `report.json`, `.csv`, `.md` and `.html` into a folder, each whole or not at all.

    Args:
        comparison: The table.
        folder: Where the files go.
        readings: What its soft prompts learned; shown in the two forms for people.

    Raises:
        StoreError: the folder cannot be written.
    """
    found = ReportFiles(
        json=folder / "report.json",
        csv=folder / "report.csv",
        markdown=folder / "report.md",
        html=folder / "report.html",
    )
    for path in (found.csv, found.markdown, found.html):
        clear_place(path)
    write_sealed(found.json, report_as_dict(comparison))
    write_text(found.csv, report_csv(comparison))
    write_text(found.markdown, report_markdown(comparison, readings))
    write_text(found.html, report_html(comparison, readings))
    return found


def report_as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return the content of `report.json` without its digest; figures are fractions or None."""
    return {
        "base": _base_as_dict(comparison),
        "task": {**comparison.task.model_dump(), "dropped": comparison.dropped},
        "template": comparison.template.model_dump(),
        "reference": comparison.reference,
        "created": comparison.created,
        "rows": [_row_as_dict(row) for row in comparison.rows],
        "failed": [asdict(failure) for failure in comparison.failed],
        "seeds": [asdict(spread) for spread in comparison.seeds],
        "warnings": list(comparison.warnings),
    }


def report_csv(comparison: Comparison) -> str:
    """Return one line per row; text that a spreadsheet would run as a formula gets a "'"."""
    lines = [_flat(row, comparison) for row in comparison.rows]
    lines += [{"row": f.row, "seed": f.seed, "failed": f.reason} for f in comparison.failed]
    columns = list(dict.fromkeys(column for line in lines for column in line))
    return csv_text(columns, ([line.get(column) for column in columns] for line in lines))


def _base_as_dict(comparison: Comparison) -> dict[str, str]:
    name, source = comparison.base.name, comparison.source
    return {"name": name, "source": source, **comparison.base.model_dump(exclude={"name"})}


def _row_as_dict(row: ComparisonRow) -> dict[str, Any]:
    return {
        "row": row.row,
        "method": row.method,
        "run_id": row.run_id,
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
