"""Where a stored run comes from: the experiment whose data and wording are the run's own.

A spec says by digests which data and wording decided a run's numbers; where they lie is in the
experiment that asked for it, kept in the run's folder and, for all runs of a comparison, beside it.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress

from workbench.atomic import write_json
from workbench.errors import StoreError, WorkbenchError
from workbench.runs.experiment import Experiment, TaskChoice, stored_experiment
from workbench.runs.session import open_task, open_template
from workbench.runs.store import RunStore, StoredRun
from workbench.tasks.base import Task
from workbench.tasks.catalog import prompts_folder

_FILE = "origin.json"
_KEPT = {"model", "revision", "device", "task", "template"}


def keep_origin(store: RunStore, run_id: str, experiment: Experiment) -> None:
    """Write beside a run's spec where its base, data and wording lie."""
    content = experiment.model_dump(mode="json", include=_KEPT)
    write_json(store.root / run_id / _FILE, content)


def own_experiment(
    run: StoredRun, *, open_task: Callable[[TaskChoice], Task] = open_task
) -> Experiment:
    """Return an experiment with a run's own base, precision, task and wording.

    Args:
        run: Any run.
        open_task: Reads a task, or hands over one that was read before.

    Raises:
        StoreError: its data or its wording are not at hand any more, or are others now.
    """
    spec = run.spec
    found = [one for one in _candidates(run) if _digest(one.task, open_task) == spec.task.digest]
    if not found:
        raise StoreError(
            f"run {run.record.run_id}: the data it was made on (task '{spec.task.name}', "
            f"{spec.task.num_train} train, {spec.task.num_dev} dev and {spec.task.num_test} test "
            "rows) are not at hand: a file was moved or changed, or the run is a point of a "
            "learning curve. It is not read on other data. Put the file back, or run the "
            "comparison again."
        )
    task = open_task(found[0].task)
    names = sorted(path.stem for path in (prompts_folder() / task.name).glob("*.yaml"))
    for name in dict.fromkeys([*(one.template for one in found), spec.template.name, *names]):
        if _template_digest(name, task) == spec.template.digest:
            own = next((one for one in found if one.model == spec.base.name), None)
            return Experiment(
                model=spec.base.name,
                revision=None if own is None else own.revision,
                device="auto" if own is None else own.device,
                precision=spec.base.precision,
                compute_dtype=spec.base.compute_dtype,
                task=found[0].task,
                template=name,
                chat=spec.template.chat,
            )
    raise StoreError(
        f"run {run.record.run_id}: the wording it was made with ('{spec.template.name}' of task "
        f"'{spec.task.name}') is not at hand: its file was moved or changed. It is not read with "
        "other words. Put the file back, or run the comparison again."
    )


def _candidates(run: StoredRun) -> Iterator[Experiment]:
    """Yield the experiments that may have made a run: its own, those beside it, the catalog's."""
    with suppress(OSError, ValueError):
        text = (run.folder / _FILE).read_text(encoding="utf-8")
        yield Experiment.model_validate(json.loads(text))
    parent = run.folder.parent
    for folder in (parent, *sorted((parent / "jobs").glob("*"))):
        with suppress(StoreError):
            beside = stored_experiment(folder)
            if beside is not None and beside.task.name in (None, run.spec.task.name):
                yield beside
    yield Experiment(task=TaskChoice(name=run.spec.task.name))


def _digest(choice: TaskChoice, open_task: Callable[[TaskChoice], Task]) -> str | None:
    try:
        return open_task(choice).digest
    except WorkbenchError:
        return None


def _template_digest(name: str, task: Task) -> str | None:
    try:
        return open_template(name, task).digest
    except WorkbenchError:
        return None
