"""`workbench difference`: two runs on the same items, down to the items they answer differently."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from workbench.commands.shared import options
from workbench.errors import StoreError

if TYPE_CHECKING:
    from workbench.runs.store import StoredRun

_FOLDER = Path("runs") / "differences"


def difference(
    first: Annotated[str, typer.Argument(help="Name, id or folder of a finished run.")],
    second: Annotated[str, typer.Argument(help="The run it is held against.")],
    items: Annotated[int, typer.Option(help="Items to show; the files have all.", min=0)] = 20,
    runs: options.Runs = Path("runs"),
    out: Annotated[Path | None, typer.Option(help="Folder of the files.")] = None,
) -> None:
    """Hold two runs against each other: paired difference, 2x2 table, items, items needed.

    Written as HTML, Markdown, LaTeX, CSV and JSON.
    """
    from workbench.analysis.run_difference import difference_sheet, hold_together
    from workbench.commands.shared.sheets import show_sheet
    from workbench.commands.shared.typed import typed_command

    found = hold_together(_stored(first, runs), _stored(second, runs))
    sheet = difference_sheet(found, most_items=items, command=typed_command())
    name = f"{found.first.spec.digest}-{found.second.spec.digest}"
    show_sheet(Console(), sheet, out or _FOLDER, name)


def _stored(name: str, runs: Path) -> "StoredRun":
    from workbench.runs.finding import find_stored_run

    run = find_stored_run(name, runs)
    if run is None:
        raise StoreError(
            f"difference: no run '{name}' (looked below {runs}). Give the name or id of a run "
            "(see: workbench runs) or its folder."
        )
    return run
