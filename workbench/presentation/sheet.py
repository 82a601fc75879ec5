"""A sheet: tables, charts and notes that are no comparison of runs, in five forms."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.atomic import write_text
from workbench.presentation.blocks import Cell, Chart, Table
from workbench.presentation.caption import NO_CAPTION, Caption
from workbench.presentation.charts import chart_plot
from workbench.presentation.display import NOTHING, one_line
from workbench.presentation.figure_files import file_name, write_figure
from workbench.presentation.latex import LatexTable, latex_tables
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
        caption: Of what its tables and figures are, and what makes them again.
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
    caption: Caption = NO_CAPTION


def write_sheet(sheet: Sheet, folder: Path, name: str) -> None:
    """Write `<name>.html`, `.md`, `.tex`, `.csv` and `.json`, each whole or not at all.

    Each chart is a figure beside them, `<name>-<its title>`, as PNG, SVG and PDF.

    Raises:
        StoreError: the folder cannot be written.
    """
    content = json.dumps(sheet.data, indent=2, ensure_ascii=False, allow_nan=False)
    for suffix in ("json", "csv", "md", "tex", "html"):
        clear_place(folder / f"{name}.{suffix}")
    write_text(folder / f"{name}.json", content + "\n")
    write_text(folder / f"{name}.csv", csv_text(sheet.columns, sheet.rows))
    write_text(folder / f"{name}.md", sheet_markdown(sheet))
    write_text(folder / f"{name}.tex", sheet_latex(sheet, name))
    write_text(folder / f"{name}.html", sheet_html(sheet))
    taken: list[str] = []
    for chart in sheet.charts:
        taken.append(file_name(chart.title, taken=taken))
        plot = chart_plot(chart, name=taken[-1])
        write_figure(plot, folder, f"{name}-{taken[-1]}", caption=sheet.caption.text)


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
        "notes": [*sheet.notes, *sheet.caption.text.splitlines()],
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
    notes = [*sheet.notes, *sheet.caption.text.splitlines()]
    blocks += ["## How to read it", "\n".join(f"- {escape_markdown(note)}" for note in notes)]
    return "\n\n".join(blocks) + "\n"


def sheet_latex(sheet: Sheet, name: str) -> str:
    """Return the sheet's tables as LaTeX.

    Args:
        sheet: What was measured.
        name: Of the file; labels begin with it.
    """
    labels: list[str] = []
    for table in sheet.tables:
        labels.append(file_name(f"{name} {table.title}", taken=labels))
    found = [
        LatexTable(table.title, table.columns, table.rows, label, table.note)
        for table, label in zip(sheet.tables, labels, strict=True)
    ]
    return latex_tables(found, sheet.caption)


def _line(cells: list[str] | list[Cell]) -> str:
    texts = (NOTHING if cell is None else escape_markdown(str(cell)) for cell in cells)
    return "| " + " | ".join(texts) + " |"
