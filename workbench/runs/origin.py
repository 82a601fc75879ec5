"""Where a stored run comes from: the experiment whose data and wording are the run's own.

A spec says by digests which data and wording decided a run's numbers; where they lie is in the
experiment that asked for it, kept in the run's folder and, for all runs of a comparison, beside it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from workbench.atomic import explained
from workbench.errors import StoreError, WorkbenchError
from workbench.runs.experiment import Experiment, TaskChoice, stored_experiment
from workbench.runs.session import open_task, open_template
from workbench.runs.spec import RunSpec
from workbench.runs.store import RunStore, StoredRun, remove_unlike_file
from workbench.sealed import read_sealed, write_sealed
from workbench.tasks.base import Task
from workbench.tasks.catalog import wordings_of

_FILE = "origin.json"
_BUDGET_VERSION = 4  # of specs, the first whose `limit_train` holds for dev too
_MOST_SHOWN = 3  # paths in a message; jobs beside a run may name many
_KEPT = {"model", "revision", "device", "task", "template"}


def keep_origin(store: RunStore, run_id: str, experiment: Experiment) -> None:
    """Write beside a run's spec where its base, data and wording lie, from whatever folder."""
    kept = from_anywhere(experiment)
    content, path = kept.model_dump(mode="json", include=_KEPT), store.root / run_id / _FILE
    with explained(path):
        remove_unlike_file(path)
    write_sealed(path, content)


def from_anywhere(experiment: Experiment) -> Experiment:
    """Return an experiment whose base, data and wording are found from whatever folder."""
    task, model = experiment.task, Path(experiment.model).expanduser()
    files = {name: path.absolute() for name, path in _files(task).items()}
    changes: dict[str, object] = {"task": task.model_copy(update=files)}
    if _is_file(experiment.template):
        changes["template"] = str(Path(experiment.template).absolute())
    if model.is_dir():
        changes["model"] = str(model.absolute())
    return experiment.model_copy(update=changes)


def has_origin(run: StoredRun) -> bool:
    """Return whether a run says where it comes from, and that can be read."""
    return _own(run) is not None


def own_experiment(
    run: StoredRun, *, open_task: Callable[[TaskChoice], Task] = open_task
) -> Experiment:
    """Return an experiment with a run's own base, precision, task and wording.

    What lies beside the run is read only where its own data or wording is not at hand.

    Args:
        run: Any run.
        open_task: Reads a task, or hands over one that was read before.

    Raises:
        StoreError: its data or its wording are not at hand any more, or are others now.
    """
    spec, own = run.spec, _own(run)
    seen: list[Experiment] = []
    looked: dict[TaskChoice, None] = {}
    task = None
    for one in chain([] if own is None else [own], _beside(run)):
        seen.append(one)
        if task is None and one.task not in looked:
            looked[one.task] = None
            choice, task = _task_of(one.task, spec, open_task)
        if task is None:
            continue
        for name in dict.fromkeys(other.template for other in seen):
            if _template_digest(name, task) == spec.template.digest:
                return _experiment(spec, own, seen, choice, name)
    if task is None:
        raise _data_gone(run, list(looked))
    names = wordings_of(task.name)
    for name in dict.fromkeys([spec.template.name, *names]):
        if _template_digest(name, task) == spec.template.digest:
            return _experiment(spec, own, seen, choice, name)
    raise _wording_gone(run, [one.template for one in seen])


def _own(run: StoredRun) -> Experiment | None:
    """Return the experiment that a run itself keeps; None if it is damaged or was never kept."""
    with suppress(OSError, ValueError):
        return Experiment.model_validate(read_sealed(run.folder / _FILE, is_digest_needed=False))
    return None


def _beside(run: StoredRun) -> Iterator[Experiment]:
    """Yield the other experiments that may have made a run: those beside it, the catalog's."""
    parent = run.folder.parent
    for folder in (parent, *sorted((parent / "jobs").glob("*"))):
        with suppress(StoreError):
            beside = stored_experiment(folder)
            if beside is not None and beside.task.name in (None, run.spec.task.name):
                yield beside
    yield Experiment(task=TaskChoice(name=run.spec.task.name))


def _experiment(
    spec: RunSpec, own: Experiment | None, seen: list[Experiment], choice: TaskChoice, name: str
) -> Experiment:
    """Return the experiment of a spec; the run's own says where the base lies, if it is kept."""
    base = own or next((one for one in seen if one.model == spec.base.name), None)
    return Experiment(
        model=spec.base.name if base is None else base.model,
        revision=None if base is None else base.revision,
        device="auto" if base is None else base.device,
        precision=spec.base.precision,
        compute_dtype=spec.base.compute_dtype,
        task=choice,
        template=name,
        chat=spec.template.chat,
    )


def _task_of(
    asked: TaskChoice, spec: RunSpec, open_task: Callable[[TaskChoice], Task]
) -> tuple[TaskChoice, Task | None]:
    """Return a choice of data and its task, if that can be read and is what a run was made on.

    Before version 4 of specs a dev split that was cut off train was no part of `limit_train`, nor
    bounded: with both sizes said outright the rows of such a run are found as well.
    """
    sizes = {"limit_train": spec.task.num_train, "limit_dev": spec.task.num_dev}
    older = [asked.model_copy(update=sizes)] if spec.schema_version < _BUDGET_VERSION else []
    for choice in (asked, *older):
        with suppress(WorkbenchError):
            task = open_task(choice)
            if task.digest == spec.task.digest:
                return choice, task
    return asked, None


def _template_digest(name: str, task: Task) -> str | None:
    try:
        return open_template(name, task).digest
    except WorkbenchError:
        return None


def _files(choice: TaskChoice) -> dict[str, Path]:
    named = {name: getattr(choice, name) for name in ("train", "dev", "test")}
    return {name: path for name, path in named.items() if path is not None}


def _is_file(template: str) -> bool:
    return template.endswith((".yaml", ".yml"))


def _data_gone(run: StoredRun, looked: list[TaskChoice]) -> StoreError:
    """Return the error that a run's data is nowhere, with the paths that were looked for."""
    task = run.spec.task
    paths = [path for choice in looked for path in _files(choice).values()]
    return StoreError(
        f"run {run.record.run_id}: the data it was made on (task '{task.name}', {task.num_train} "
        f"train, {task.num_dev} dev and {task.num_test} test rows) are not at hand: "
        f"{_found(paths)}a file was moved or changed, or the run is a point of a learning curve. "
        "It is not read on other data. Put the file back, or run the comparison again."
    )


def _wording_gone(run: StoredRun, templates: list[str]) -> StoreError:
    """Return the error that a run's wording is nowhere, with the paths that were looked for."""
    paths = [Path(name) for name in templates if _is_file(name)]
    return StoreError(
        f"run {run.record.run_id}: the wording it was made with ('{run.spec.template.name}' of "
        f"task '{run.spec.task.name}') is not at hand: {_found(paths)}its file was moved or "
        "changed. It is not read with other words. Put the file back, or run the comparison again."
    )


def _found(paths: list[Path]) -> str:
    """Return what stands at the first paths that were looked for; "" without any."""
    said = [
        f"{path}: {'gives something else' if os.path.isfile(path) else 'no such file'}"
        for path in dict.fromkeys(path.absolute() for path in paths)
    ]
    more = f" and {len(said) - _MOST_SHOWN} more" if len(said) > _MOST_SHOWN else ""
    return f"{', '.join(said[:_MOST_SHOWN])}{more}; " if said else ""
