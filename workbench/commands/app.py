"""`workbench app`: the same workbench in the browser."""

from pathlib import Path
from typing import Annotated

import typer


def app(
    runs: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; this machine alone if absent.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; the first free one from 7860.")] = None,
) -> None:
    """Open the workbench in the browser."""
    from workbench.startup import page_begins

    page_begins()
    from workbench.ui.starting import launch

    launch(runs, host=host, port=port)
