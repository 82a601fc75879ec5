"""`workbench name`: a person's own name and note for a run, usable wherever its id is."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workbench.commands.shared import options
from workbench.errors import ConfigError, StoreError


def name(
    run: Annotated[str, typer.Argument(help="Name, id or folder of a run.")],
    to: Annotated[
        str | None, typer.Argument(help="What to call it; without it the present name is shown.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="What to remember about it.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take name and note away.")] = False,
    runs: options.Runs = Path("runs"),
) -> None:
    """Give a run a name and a note, which lists and reports show; its id and digest stay.

    Every command that takes the id of a run takes the name as well.
    """
    from workbench.presentation.display import one_line
    from workbench.runs.finding import find_stored_run, runs_below
    from workbench.runs.labels import (
        NO_LABEL,
        Label,
        check_free,
        checked_run_name,
        read_label,
        write_label,
    )

    if remove and (to is not None or note is not None):
        raise ConfigError("name: --remove takes name and note away; give it alone.")
    found = find_stored_run(run, runs)
    if found is None:
        raise StoreError(
            f"name: no run '{run}' (looked below {runs}). Give its id (see: workbench runs) or its "
            "folder."
        )
    label, to = read_label(found.folder), None if to is None else checked_run_name(to)
    if remove:
        label = NO_LABEL
    elif to is not None or note is not None:
        label = Label(label.name if to is None else to, label.note if note is None else note)
    if to is not None:
        check_free(label.name, found, runs_below(runs))
    if remove or to is not None or note is not None:
        write_label(found.folder, label)
        label = read_label(found.folder)
    shown = f"{found.record.run_id}: {label.name or 'has no name'}"
    shown += f" ({one_line(label.note)})" if label.note else ""
    Console().print(shown, highlight=False, markup=False, soft_wrap=True)
