"""A sheet: tables, charts and notes that are no comparison of runs, in four forms."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.atomic import write_text
from workbench.presentation.blocks import Cell, Chart, Table
from workbench.presentation.charts import chart_plot
from workbench.presentation.display import NOTHING, one_line
from workbench.presentation.markdown import escape_markdown
from workbench.presentation.pages import render_page
from workbench.presentation.spreadsheet import csv_text
from workbench.sealed import clear_place


@dataclass(frozen=True)
class Sheet:
    """What was measured, ready to be shown.

    Attributes:
        title: Heading.
        facts: Base, task and whatever else all figures share.
        headline: What it comes to, in plain words.
        tables: The first is the one a terminal shows.
        charts: Charts to draw.
        notes: How to read it.
        columns: Names of the flat table for programs.
        rows: Rows of the table.
        data: Everything, for programs.
    """

    title: str
    facts: tuple[str, ...]
    headline: str
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    notes: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    data: Mapping[str, Any] = field(default_factory=dict)


def write_sheet(sheet: Sheet, folder: Path, name: str) -> None:
    """Write `<name>.html`, `.md`, `.csv` and `.json` into a folder, each whole or not at all.

    Raises:
        StoreError: the folder cannot be written.
    """
    content = json.dumps(sheet.data, indent=2, ensure_ascii=False, allow_nan=False)
    for suffix in ("json", "csv", "md", "html"):
        clear_place(folder / f"{name}.{suffix}")
    write_text(folder / f"{name}.json", content + "\n")
    write_text(folder / f"{name}.csv", csv_text(sheet.columns, sheet.rows))
    write_text(folder / f"{name}.md", sheet_markdown(sheet))
    write_text(folder / f"{name}.html", sheet_html(sheet))


def sheet_html(sheet: Sheet) -> str:
    """Return the sheet as a page that opens offline; everything that comes from data is escaped."""
    drawn = [
        chart_plot(chart, name=f"chart-{number}").svg_drawing()
        for number, chart in enumerate(sheet.charts)
    ]
    content = {
        "title": one_line(sheet.title),
        "facts": list(map(one_line, sheet.facts)),
        "headline": one_line(sheet.headline),
        "tables": sheet.tables,
        "drawings": drawn,
        "notes": sheet.notes,
    }
    return render_page("workbench.presentation", "sheet_template.html.jinja", content)


def sheet_markdown(sheet: Sheet) -> str:
    """Return the sheet as Markdown with GitHub's tables; charts are left to the page."""
    facts = " \N{MIDDLE DOT} ".join(map(escape_markdown, sheet.facts))
    blocks = [f"# {escape_markdown(sheet.title)}", facts, escape_markdown(sheet.headline)]
    for table in sheet.tables:
        lines = [_line(table.columns), "|" + " --- |" + " ---: |" * (len(table.columns) - 1)]
        lines += map(_line, table.rows)
        blocks += [f"## {escape_markdown(table.title)}", "\n".join(lines)]
        blocks += [escape_markdown(table.note)] if table.note else []
    blocks += ["## How to read it", "\n".join(f"- {escape_markdown(n)}" for n in sheet.notes)]
    return "\n\n".join(blocks) + "\n"


def _line(cells: list[str] | list[Cell]) -> str:
    texts = (NOTHING if cell is None else escape_markdown(str(cell)) for cell in cells)
    return "| " + " | ".join(texts) + " |"
