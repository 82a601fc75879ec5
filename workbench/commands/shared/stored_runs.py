"""Runs by the name a user gives, and the experiment that made one."""

from pathlib import Path

from workbench.errors import StoreError, WorkbenchError
from workbench.runs.experiment import Experiment, stored_experiment
from workbench.runs.session import open_task
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


def experiment_of(run: StoredRun) -> Experiment:
    """Return the experiment that made a run, found beside it.

    Raises:
        StoreError: there is none, or its data have changed since.
    """
    parent = run.folder.parent
    for folder in (parent, *sorted((parent / "jobs").glob("*"))):
        experiment = stored_experiment(folder)
        if experiment is None or experiment.task.name not in (None, run.spec.task.name):
            continue
        try:
            digest = open_task(experiment.task).digest
        except WorkbenchError:
            continue
        if digest == run.spec.task.digest:
            base = run.spec.base
            fixed = {"compute_dtype": base.compute_dtype, "precision": base.precision}
            return experiment.model_copy(update=fixed)
    raise StoreError(
        f"run {run.record.run_id}: no experiment.json beside it whose data are those of the run. "
        "The data may have moved or changed; run the comparison again."
    )
