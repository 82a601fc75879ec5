"""What is wrong with an experiment, as far as it can be known before a base is loaded: all at once.

Methods say themselves what they cannot do with a task and a wording (`SupportsCheck`).
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workbench.atomic import parse_json
from workbench.errors import ConfigError, StoreError, TaskError, WorkbenchError, require_all
from workbench.fitting.base import Method
from workbench.methods.catalog import METHODS, make_method, method_class
from workbench.models.adapters.files import CONFIG_NAME
from workbench.models.catalog import hub_id_of
from workbench.models.loading import check_precision, device_of
from workbench.models.weights import local_identity
from workbench.options import declared_options
from workbench.runs.execute import RunRequest
from workbench.runs.experiment import Experiment, TaskChoice
from workbench.runs.runner import check_methods, check_precisions, requests_of
from workbench.runs.session import open_task, open_template
from workbench.tasks.base import Task
from workbench.templates import read_template


@dataclass(frozen=True)
class Checked:
    """What was read for the checks, so that nothing is read twice."""

    requests: list[RunRequest]
    task: Task


def check_experiment(
    experiment: Experiment,
    folder: Path | None = None,
    *,
    wordings: Sequence[str] = (),
    variants: Sequence[RunRequest] = (),
    also: Callable[[Task], None] = lambda _: None,
) -> Checked:
    """Return the runs and the task of an experiment that can be run as far as is known.

    Args:
        experiment: Asked for.
        folder: Where runs and report shall go.
        wordings: Those to run with instead of the experiment's own.
        variants: What to run instead of the rows as they are.
        also: What else the task has to allow.

    Raises:
        WorkbenchError: everything that is wrong, a line each: rows and their options, files and
            columns, the base, the wording, adapters, and what a method cannot do with the task.
    """
    requests: list[RunRequest] = []
    tasks: list[Task] = []

    def rows() -> None:
        requests.extend(requests_of(experiment))

    def data() -> None:
        _check_files(experiment.task)
        tasks.append(open_task(experiment.task))
        also(tasks[0])

    def methods_asked() -> dict[str, Method]:
        methods = {f"{one.row} at {one.place}": one.method for one in variants}
        return methods or _methods(experiment, without=missing)

    def base() -> None:
        require_all(
            partial(local_identity, experiment.model),
            partial(check_precision, experiment.precision),
            partial(device_of, experiment.device),
            lambda: check_precisions(experiment.precision, methods_asked()),
        )

    def words() -> None:
        methods = methods_asked()
        names = wordings or (experiment.template,)
        require_all(*(partial(_check_words, name, tasks, methods) for name in names))

    missing: set[str] = set()

    def adapters() -> None:
        problems = {row: _adapter_problems(experiment, row) for row in experiment.methods}
        missing.update(row for row, found in problems.items() if found)
        if missing:
            raise ConfigError("\n".join(line for found in problems.values() for line in found))

    require_all(base, rows, data, adapters, words, partial(_check_folder, folder))
    return Checked(requests, tasks[0])


def check_rows_and_files(experiment: Experiment) -> None:
    """Refuse what is wrong with rows, and files that are not there, nothing of the data read.

    Raises:
        WorkbenchError: everything of it, a line each.
    """
    require_all(partial(requests_of, experiment), partial(_check_files, experiment.task))


def _check_words(name: str, tasks: Sequence[Task], methods: Mapping[str, Method]) -> None:
    """Refuse a wording that does not fit the task, and rows that cannot use it."""
    if not tasks:  # what is wrong with the data is said already
        if name.endswith((".yaml", ".yml")):
            read_template(Path(name))
        return
    template = open_template(name, tasks[0])
    check_methods(tasks[0], template, methods)


def _methods(experiment: Experiment, *, without: Collection[str]) -> dict[str, Method]:
    """Return the rows whose options are right; what is wrong with the others is said already."""
    found = {}
    for row in (row for row in experiment.methods if row not in without):
        name, options = experiment.method_of(row)
        with suppress(WorkbenchError):
            found[row] = make_method(name, options)
    return found


def _check_files(choice: TaskChoice) -> None:
    """Refuse files that are not there, all of them by name."""
    given = {name: getattr(choice, name) for name in ("train", "dev", "test")}
    missing = [f"{path}: no such file." for path in given.values() if path and not path.is_file()]
    if missing:
        raise TaskError(" ".join(missing) + " Check the path.")


def _adapter_problems(experiment: Experiment, row: str) -> list[str]:
    """Return which adapters or runs of a row are not there, or were made on another base."""
    name, options = experiment.method_of(row)
    known = declared_options(method_class(name)) if name in METHODS else {}
    problems = []
    for option in known.values():
        if option.holds not in ("adapter", "run", "runs") or not options.get(option.name):
            continue
        for part in str(options[option.name]).split(","):
            problem = _adapter_problem(Path(part.strip()), experiment.model)
            if problem:
                problems.append(f"methods.{row}.{option.name}: {problem}")
    return problems


def _adapter_problem(folder: Path, model: str) -> str | None:
    """Return what is wrong with the folder of an adapter, as far as is quickly seen."""
    if not (folder / CONFIG_NAME).is_file():
        return (
            f"no adapter in '{folder}'. A folder with {CONFIG_NAME} is needed; of a run it is "
            "RUN/adapter."
        )
    try:
        spec = parse_json((folder.parent / "spec.json").read_text(encoding="utf-8"))
        base, identity = str(spec["base"]["name"]), spec["base"].get("identity")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # not made here: its weights are held against the base when it is loaded
    mine = _local_identity(model)
    if hub_id_of(base) == hub_id_of(model) or (mine is not None and mine == identity):
        return None
    if mine is not None and Path(base).expanduser().resolve() == Path(model).expanduser().resolve():
        return None
    copied = " A copy of a folder is the same base if its files keep their dates (cp -p)."
    return (
        f"run '{folder.parent.name}' was made on base '{base}', not on '{model}'. What was "
        f"learned on one base means nothing on another.{copied if mine is not None else ''}"
    )


def _local_identity(model: str) -> str | None:
    """Return the identity of a base in a folder, however its path is written; None for others."""
    with suppress(WorkbenchError):  # a folder that holds no base is said where it is loaded
        return local_identity(model)
    return None


def _check_folder(folder: Path | None) -> None:
    """Refuse a folder that cannot be written.

    Raises:
        StoreError: it is a file, or may not be written and holds no runs.
    """
    if folder is None:
        return
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise StoreError(f"--out {folder}: {there} is a file. Name a folder.")
    # What is finished in it can be shown all the same.
    is_empty = not any(folder.glob("*/record.json"))
    if is_empty and not os.access(there, os.W_OK | os.X_OK):
        raise StoreError(f"--out {folder}: {there} cannot be written. Name another folder.")
