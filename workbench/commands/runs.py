"""`workbench runs`: the stored runs, or one deleted."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workbench.errors import StoreError


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder to look below.")] = Path("runs"),
    delete: Annotated[str | None, typer.Option(help="Delete the run with this id.")] = None,
) -> None:
    """List stored runs, or delete one."""
    from workbench.analysis.answers import headline_metric_of
    from workbench.commands.shared.listings import listing, print_listing
    from workbench.commands.shared.stored_runs import print_broken
    from workbench.presentation.quantities import metric_of
    from workbench.runs.store import RunStore, folders_below, sort_runs

    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder. Runs are made by: workbench evaluate")
    folders = folders_below(folder)
    if delete is not None:
        stores = [RunStore(found) for found in folders if RunStore(found).look(delete)]
        if not stores:
            raise StoreError(f"run '{delete}': not found below {folder}. See: workbench runs")
        stores[0].delete(delete)
        Console().print(f"deleted {delete}", highlight=False)
        return
    table = listing("run", "status", "test figure", "started", "folder")
    left_out = []
    for found in folders:
        readable, broken = sort_runs(RunStore(found).everything())
        left_out += broken
        for stored in readable:
            metric = headline_metric_of(stored)
            figure = stored.record.metrics.get(metric)
            value = None if figure is None else figure.value
            table.add_row(
                stored.record.run_id,
                stored.status_text,
                "–" if value is None else f"{metric_of(metric).title} {100 * value:.1f} %",
                stored.record.started,
                str(found),
            )
    print_listing(table)
    print_broken(Console(), left_out)
