"""A reading as files to take: data, tables for programs and for papers, figures."""

from pathlib import Path

from workbench.atomic import write_json, write_text
from workbench.presentation.caption import NO_CAPTION, Caption
from workbench.presentation.charts import chart_plot
from workbench.presentation.figure_files import file_name, write_figure
from workbench.presentation.latex import LatexTable, latex_tables
from workbench.presentation.reading import Reading
from workbench.presentation.spreadsheet import csv_text


def write_reading(reading: Reading, folder: Path, caption: Caption = NO_CAPTION) -> list[Path]:
    """Write a reading into a folder and return the files, each whole or not at all.

    JSON has all of it; each table is a CSV, all tables are one LaTeX file, and each chart is a PNG,
    an SVG and a PDF.

    Args:
        reading: What was read.
        folder: Where the files go.
        caption: What makes it again; what it was read on is its own `setting`.

    Raises:
        StoreError: the folder cannot be written.
    """
    paths = [folder / f"{reading.name}.json"]
    write_json(paths[0], reading.model_dump(mode="json"))
    tables = []
    for number, table in enumerate(reading.tables, 1):
        label = f"{reading.name}-table-{number}-{file_name(table.title)}"
        paths.append(folder / f"{label}.csv")
        write_text(paths[-1], csv_text(table.columns, table.rows))
        note = " ".join(part for part in (table.note, _sentence(reading.setting)) if part)
        tables.append(LatexTable(table.title, table.columns, table.rows, label, note))
    if tables:
        paths.append(folder / f"{reading.name}.tex")
        write_text(paths[-1], latex_tables(tables, caption))
    below = "\n".join(part for part in (_sentence(reading.setting), caption.text) if part)
    for number, chart in enumerate(reading.charts, 1):
        plot = chart_plot(chart, name=f"file-{number}")
        name = f"{reading.name}-chart-{number}-{file_name(chart.title)}"
        paths += write_figure(plot, folder, name, caption=below)
    return paths


def _sentence(setting: str) -> str:
    return f"Read on {setting}." if setting else ""
