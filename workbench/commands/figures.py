"""`workbench figures`: the figures and tables of a finished comparison, for a paper or a slide."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def figures(
    folder: Annotated[Path, typer.Argument(help="Folder of a report, as evaluate wrote it.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the files; figures below the report's if absent.")
    ] = None,
) -> None:
    """Write a comparison's figures as PNG, SVG and PDF, and its tables as LaTeX.

    Nothing is run again: the figures are made from the stored runs.
    """
    from workbench.analysis.report import write_figures
    from workbench.analysis.stored_comparison import comparison_in

    target = out or folder / "figures"
    paths = write_figures(comparison_in(folder), target)
    console = Console()
    for path in paths:
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)
