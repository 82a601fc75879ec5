"""A reading as HTML: its verdict, figures beside chance, charts and tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.errors import ConfigError
from workbench.presentation.blocks import Cell, Map, Table
from workbench.presentation.charts import chart_plot
from workbench.presentation.display import NOTHING, one_line
from workbench.presentation.reading import Reading
from workbench.progress import ProgressEvent
from workbench.ui.rendering import render

_LONG_TEXT = 20  # characters
_GAP = "  "  # between the tokens of a cell


@dataclass(frozen=True)
class _Column:
    name: str
    look: str


@dataclass(frozen=True)
class _Row:
    cells: Sequence[str]
    slot: int | None


@dataclass(frozen=True)
class ShownTable:
    """A table as the template wants it."""

    title: str
    note: str
    columns: Sequence[_Column]
    rows: Sequence[_Row]


def verdict_html(reading: Reading) -> str:
    """Return what a reading comes to, and its figures beside chance."""
    return render("reading", reading=reading)


def details_html(reading: Reading) -> str:
    """Return a reading's charts, tables and notes; a map is drawn elsewhere."""
    drawings = [
        chart_plot(chart, name=f"inspect-{reading.name}-{number}").svg_drawing(has_wide=True)
        for number, chart in enumerate(reading.charts)
        if not isinstance(chart, Map)
    ]
    tables = plain_tables(reading)
    return render(
        "reading_details", of=reading.of, drawings=drawings, tables=tables, notes=reading.notes
    )


def plain_tables(reading: Reading) -> list[ShownTable]:
    """Return a reading's tables as the templates want them."""
    return [_shown(table) for table in reading.tables]


def progress_html(event: ProgressEvent) -> str:
    """Return how far a reading is."""
    return render("reading_progress", event=event)


def map_of(reading: Reading) -> Map | None:
    """Return the map among a reading's charts, if there is one."""
    return next((chart for chart in reading.charts if isinstance(chart, Map)), None)


def slots_of(reading: Reading) -> list[int]:
    """Return the vectors a reading speaks about one by one."""
    chart = map_of(reading)
    points = [] if chart is None else [p for layer in chart.layers for p in layer.points]
    found = {slot for table in reading.tables for slot in table.slots}
    return sorted(found | {point.slot for point in points if point.slot is not None})


def card_html(nearest: Reading, slot: int) -> str:
    """Return everything the reading of nearest tokens says about one vector.

    Raises:
        ConfigError: no such vector.
    """
    parts = []
    for table in nearest.tables:
        if slot in table.slots:
            row = table.rows[table.slots.index(slot)]
            facts = [(name, _text(cell)) for name, cell in zip(table.columns, row, strict=True)]
            parts.append((table.title, facts[1:]))
    if not parts:
        raise ConfigError(f"vector: {slot} is none of this prompt's. Choose one from the list.")
    return render("vector_card", slot=slot, parts=parts)


def _shown(table: Table) -> ShownTable:
    columns = [
        _Column(one_line(name), _look([row[place] for row in table.rows]))
        for place, name in enumerate(table.columns)
    ]
    slots: Sequence[int | None] = table.slots or [None] * len(table.rows)
    rows = [
        _Row([_text(cell) for cell in row], slot)
        for row, slot in zip(table.rows, slots, strict=True)
    ]
    return ShownTable(one_line(table.title), one_line(table.note), columns, rows)


def _look(cells: Sequence[Cell]) -> str:
    """Return the classes of a column: text stands at the left, and much of it needs room."""
    longest = max((len(cell) for cell in cells if isinstance(cell, str)), default=0)
    if not longest:
        return ""
    return "wb-left wb-long" if longest > _LONG_TEXT else "wb-left"


def _text(cell: Cell) -> str:
    if cell is None:
        return NOTHING
    if isinstance(cell, float):
        return f"{cell:.4g}"
    if isinstance(cell, str):
        return _GAP.join(one_line(part) for part in cell.split(_GAP) if part.strip()) or NOTHING
    return str(cell)
