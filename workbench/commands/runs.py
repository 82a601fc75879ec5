"""`workbench runs`: the stored runs with the names they were given, or one deleted."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workbench.errors import StoreError


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder to look below.")] = Path("runs"),
    delete: Annotated[str | None, typer.Option(help="Delete the run with this id or name.")] = None,
) -> None:
    """List stored runs, or delete one."""
    from workbench.analysis.answers import headline_metric_of
    from workbench.commands.shared.listings import listing, print_listing
    from workbench.commands.shared.stored_runs import print_broken
    from workbench.presentation.quantities import metric_of
    from workbench.runs.labels import read_label
    from workbench.runs.store import RunStore, folders_below, sort_runs

    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder. Runs are made by: workbench evaluate")
    folders = folders_below(folder)
    if delete is not None:
        _delete(delete, folders, folder)
        return
    lines: list[tuple[str, ...]] = []
    left_out = []
    for found in folders:
        readable, broken = sort_runs(RunStore(found).everything())
        left_out += broken
        for stored in readable:
            metric = headline_metric_of(stored)
            figure = stored.record.metrics.get(metric)
            value = None if figure is None else figure.value
            row = (
                stored.record.run_id,
                read_label(stored.folder).name,
                stored.status_text,
                "–" if value is None else f"{metric_of(metric).title} {100 * value:.1f} %",
                stored.record.started,
                str(found),
            )
            lines.append(row)
    columns = ("run", "name", "status", "test figure", "started", "folder")
    has_names = any(line[1] for line in lines)  # no room is lost where nobody gave any
    kept = [place for place in range(len(columns)) if has_names or place != 1]
    table = listing(*(columns[place] for place in kept))
    for line in lines:
        table.add_row(*(line[place] for place in kept))
    print_listing(table)
    print_broken(Console(), left_out)


def _delete(name: str, folders: "list[Path]", below: Path) -> None:
    """Delete a run by its id, whether it can be read or not, or by the name it was given.

    Raises:
        StoreError: no such run, or several have the name.
    """
    from workbench.runs.finding import named_run
    from workbench.runs.store import RunStore

    run_id = name
    stores = [RunStore(found) for found in folders if RunStore(found).look(name)]
    if not stores:
        named = named_run(name, below)
        if named is None:
            raise StoreError(f"run '{name}': not found below {below}. See: workbench runs")
        run_id, stores = named.record.run_id, [RunStore(named.folder.parent)]
    stores[0].delete(run_id)
    Console().print(f"deleted {run_id}", highlight=False)
