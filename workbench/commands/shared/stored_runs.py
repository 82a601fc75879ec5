"""Runs by the name a user gives."""

from pathlib import Path

from workbench.runs.store import RunStore, StoredRun


def find_stored_run(name: str, runs: Path) -> StoredRun | None:
    """Return a run by its folder, its id, or the digest its id ends in; None if there is none.

    Args:
        name: What the user gave.
        runs: Folder to look below.
    """
    path = Path(name)
    if (path / "record.json").is_file():
        run = RunStore(path.resolve().parent).find(path.resolve().name)
        if run is not None:
            return run
    for file in sorted(runs.rglob("record.json")) if runs.is_dir() else []:
        if file.parent.name == name or file.parent.name.endswith(f"_{name}"):
            run = RunStore(file.parent.parent).find(file.parent.name)
            if run is not None:
                return run
    return None
