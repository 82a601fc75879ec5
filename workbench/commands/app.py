"""`workbench app`: the same workbench in the browser."""

import os
from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.shared import options


def app(
    runs: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; this machine alone if absent.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; the first free one from 7860.")] = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
) -> None:
    """Open the workbench in the browser.

    Jobs make their runs in one process, unless --workers or --cluster says otherwise.
    """
    for name, value in {"WORKBENCH_WORKERS": workers, "WORKBENCH_CLUSTER": cluster}.items():
        if value is not None:
            os.environ[name] = str(value)
    from workbench.startup import page_begins

    page_begins()
    from workbench.ui.starting import launch

    launch(runs, host=host, port=port)
