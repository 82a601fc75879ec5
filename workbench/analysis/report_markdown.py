"""The report as Markdown; foreign text is escaped, so that it stays text in any renderer."""

from collections.abc import Iterable, Sequence

from workbench.analysis.headline import headline
from workbench.analysis.notes import base_and_task_facts, reading_notes, run_facts
from workbench.analysis.results import Comparison
from workbench.analysis.tables import (
    Cells,
    heading,
    metric_table,
    result_table,
    search_table,
    seed_table,
)
from workbench.presentation.display import NOTHING
from workbench.presentation.markdown import escape_markdown
from workbench.presentation.reading import Reading


def report_markdown(comparison: Comparison, readings: Sequence[Reading] = ()) -> str:
    """Return the report as Markdown with GitHub's tables."""
    blocks = [
        "# " + " \N{MIDDLE DOT} ".join(map(escape_markdown, heading(comparison))),
        escape_markdown(headline(comparison)),
        "## Results",
        _table(result_table(comparison)),
    ]
    if comparison.seeds:
        blocks += ["## Spread over seeds", _table(seed_table(comparison))]
    searched = search_table(comparison)
    if searched is not None:
        blocks += ["## Search for the learning rate", _table(searched)]
    blocks += ["## Other metrics", _table(metric_table(comparison))]
    if comparison.warnings:
        blocks += ["## Warnings", _bullets(map(escape_markdown, comparison.warnings))]
    if readings:
        blocks += [
            "## What the soft prompts read as",
            _bullets(escape_markdown(f"{found.title}: {found.verdict}") for found in readings),
        ]
    facts = base_and_task_facts(comparison) + run_facts(comparison)
    blocks += [
        "## How to read it",
        _bullets(map(escape_markdown, reading_notes(comparison))),
        "## How it was made",
        _bullets(f"{escape_markdown(f.name)}: {escape_markdown(f.value)}" for f in facts),
    ]
    return "\n\n".join(blocks) + "\n"


def _table(cells: Cells) -> str:
    """Return a table; the first column is text, the others are figures."""
    columns, rows = cells
    lines = [_line(columns), "|" + " --- |" + " ---: |" * (len(columns) - 1)]
    return "\n".join([*lines, *map(_line, rows)])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(escape_markdown(cell) or NOTHING for cell in cells) + " |"


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
