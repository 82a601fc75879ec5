"""Figures and tables of the workbench as a notebook shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workbench.atomic import write_bytes
from workbench.errors import ConfigError
from workbench.presentation.blocks import Table
from workbench.presentation.drawing import PICTURE_FORMS, WIDTH, Plot
from workbench.presentation.pages import render_page

_SHOWN_WIDTH = round(1.4 * WIDTH)  # pixels; the picture itself has twice as many


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure as report and page have it, with title, legend and note; a notebook shows it."""

    plot: Plot

    @property
    def title(self) -> str:
        """Its heading."""
        return self.plot.title

    @property
    def description(self) -> str:
        """What it shows, in words."""
        return self.plot.description

    def save(self, path: str | Path) -> None:
        """Write it as PNG, SVG or PDF, by the name's ending.

        Raises:
            ConfigError: the name has another ending.
            StoreError: the file cannot be written.
        """
        ending = Path(path).suffix.lower()
        for form in PICTURE_FORMS:
            if ending == f".{form}":
                write_bytes(Path(path), self.plot.picture(form))
                return
        known = ", ".join(f".{form}" for form in PICTURE_FORMS)
        raise ConfigError(f"save: {path} is no name of a picture. Give one that ends in {known}.")

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return self.plot.picture("png"), {"width": _SHOWN_WIDTH}

    def __repr__(self) -> str:
        return f"{self.title}. {self.description}"


def frame_of(table: Table) -> pd.DataFrame:
    """Return a table as a frame; a cell without a figure is missing."""
    return pd.DataFrame(table.rows, columns=list(table.columns))


def shown_html(
    title: str,
    *,
    lines: Sequence[str] = (),
    tables: Sequence[Table] = (),
    warnings: Sequence[str] = (),
) -> str:
    """Return what a notebook shows of a result; everything that comes from data is escaped.

    Args:
        title: Heading.
        lines: Sentences below it.
        tables: Shown after them, each with its own heading if it has one.
        warnings: What to beware of, last.
    """
    content: Mapping[str, object] = {
        "title": title,
        "lines": lines,
        "tables": tables,
        "warnings": warnings,
    }
    return render_page("workbench.notebook", "shown.html.jinja", content)
