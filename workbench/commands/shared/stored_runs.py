"""Runs by the name a user gives."""

from pathlib import Path

from rich.console import Console

from workbench.errors import DamagedFile
from workbench.runs.store import BrokenRun, RunStore, StoredRun, folders_below


def find_stored_run(name: str, runs: Path) -> StoredRun | None:
    """Return a run by its folder, its id, or the digest its id ends in; None if there is none.

    Args:
        name: What the user gave.
        runs: Folder to look below.

    Raises:
        DamagedFile: the only one of that name cannot be read.
    """
    path = Path(name).resolve()
    found = [RunStore(path.parent).look(path.name)] if path.is_dir() else []
    for root in folders_below(runs) if runs.is_dir() else []:
        names = sorted(folder.name for folder in root.iterdir())
        found += [
            RunStore(root).look(one) for one in names if one == name or one.endswith(f"_{name}")
        ]
    for run in found:
        if isinstance(run, StoredRun):
            return run
    for run in found:
        if isinstance(run, BrokenRun):
            raise DamagedFile(run.sentence)
    return None


def print_broken(console: Console, broken: list[BrokenRun]) -> None:
    """Print a line for each run that a list leaves out because it cannot be read."""
    for run in broken:
        console.print(run.sentence, style="yellow", highlight=False, markup=False, soft_wrap=True)
