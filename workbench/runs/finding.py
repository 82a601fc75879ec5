"""Where runs lie unless told otherwise, and runs by the name a user gives."""

from collections.abc import Iterator
from pathlib import Path

from workbench.errors import DamagedFile, StoreError
from workbench.runs.labels import read_label
from workbench.runs.store import BrokenRun, RunStore, StoredRun, folders_below
from workbench.scripts import composed

DEFAULT_FOLDER = Path("runs")
"""Where the runs of every experiment lie, each in a folder of its own, unless told otherwise."""


def find_stored_run(name: str, runs: Path) -> StoredRun | None:
    """Return a run by its folder, its id, the digest its id ends in, or the name it was given.

    Args:
        name: What the user gave.
        runs: Folder to look below.

    Raises:
        DamagedFile: the only one of that name cannot be read.
        StoreError: an address, or a given name that several runs have.
    """
    if "://" in name:
        raise StoreError(
            f"{name}: an address. A run of a store at an address is opened in the folder it comes "
            "to on this machine, where its name is kept too. Give its name or id and --runs FOLDER."
        )
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
    return named_run(name, runs)


def runs_below(runs: Path) -> Iterator[StoredRun]:
    """Yield every run below a folder that can be read."""
    for root in folders_below(runs) if runs.is_dir() else []:
        for run in RunStore(root).everything():
            if isinstance(run, StoredRun):
                yield run


def named_run(name: str, runs: Path) -> StoredRun | None:
    """Return the run that was given a name; several folders may hold copies of one.

    Raises:
        StoreError: several runs have it.
    """
    wanted = " ".join(composed(name).split())
    found = {
        run.record.run_id: run
        for run in runs_below(runs)
        if wanted and read_label(run.folder).name == wanted
    }
    if len(found) > 1:
        raise StoreError(
            f"name '{wanted}': {len(found)} runs below {runs} have it: {', '.join(sorted(found))}. "
            "Give the id of one, or another name with: workbench name ID NAME"
        )
    return next(iter(found.values()), None)
