"""The tasks by name: one folder with a `task.yaml` under `prompts/` each, and tasks from files."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, Unpack

import workbench
from workbench.errors import ConfigError, TaskError, unknown_name
from workbench.tasks.arithmetic import generate_problems
from workbench.tasks.base import Sample, Task, TaskKind, TaskSource
from workbench.tasks.files import read_table
from workbench.tasks.formal_replies import generate_replies
from workbench.tasks.forms import label_warnings
from workbench.tasks.labelled_budget import share_budget
from workbench.tasks.rows import (
    ColumnMapping,
    Row,
    Table,
    listed,
    require_columns,
    samples_from_rows,
)
from workbench.tasks.splits import check_task, limit, make_splits
from workbench.tasks.task_file import NAME_PATTERN, SplitNames, TaskFile, shape_rows
from workbench.yaml_files import read_yaml_model

__all__ = [
    "SplitLimits",
    "TaskFile",
    "build_task",
    "list_tasks",
    "load_task",
    "prompts_folder",
    "task_from_files",
    "task_name",
    "wordings_of",
]

_FILE_NAME = "task.yaml"
_DATA_FOLDER = Path(__file__).parent / "data"
_GENERATORS: Mapping[str, Callable[..., list[Sample]]] = {
    "arithmetic": generate_problems,
    "formal_replies": generate_replies,
}


class SplitLimits(TypedDict, total=False):
    """The most samples to keep of each split; None or absent keeps all.

    A dev split that is cut off the training rows is part of `limit_train` unless it has a limit of
    its own: whoever has 600 labelled rows has them for training and choosing together.
    """

    limit_train: int | None
    limit_dev: int | None
    limit_test: int | None


@dataclass(frozen=True)
class _Given:
    """Samples as the source splits them; None where a split has to be cut off train.

    `notes` says what was guessed to read them.
    """

    train: Sequence[Sample]
    dev: Sequence[Sample] | None
    test: Sequence[Sample] | None
    notes: Sequence[str] = ()

    @property
    def target_counts(self) -> Counter[str]:
        """How many rows have each target, over all splits."""
        splits = (self.train, self.dev or (), self.test or ())
        return Counter(sample.target for split in splits for sample in split)


def wordings_of(name: str) -> list[str]:
    """Return the names of the wordings that the package has for a task."""
    try:
        files = sorted((prompts_folder() / name).glob("*.yaml"))
    except (OSError, ValueError):  # no folder can have such a name
        return []
    return [path.stem for path in files if path.name != "task.yaml"]


def prompts_folder() -> Path:
    """Return the folder of task files and templates: inside a wheel, else beside the package.

    Raises:
        ConfigError: neither is there.
    """
    package = Path(workbench.__file__).parent
    places = (package / "prompts", package.parent / "prompts")
    for folder in places:
        if folder.is_dir():
            return folder
    raise ConfigError(
        f"no folder of prompts: looked at {places[0]} and {places[1]}. Install the package again."
    )


def list_tasks() -> list[TaskFile]:
    """Return the task files by name; rows are not loaded.

    Raises:
        ConfigError: a task file is wrong.
    """
    folder = prompts_folder()
    return [_read_task_file(folder / name) for name in _task_names(folder)]


def load_task(name: str, *, seed: int = 0, **limits: Unpack[SplitLimits]) -> Task:
    """Return a task of the catalog with its three splits.

    Args:
        name: One of the names in `list_tasks()`.
        seed: Decides which rows are cut off train and which a limit keeps; runs that are compared
            need the same one.
        **limits: `limit_train`, `limit_dev`, `limit_test`: the most samples to keep.

    Raises:
        ConfigError: the task is unknown, or its file or a limit is wrong.
        TaskError: its rows cannot be had or used.
    """
    folder = prompts_folder()
    names = _task_names(folder)
    if name not in names:
        raise ConfigError(unknown_name("task", name, names))
    return build_task(_read_task_file(folder / name), seed=seed, **limits)


def build_task(task_file: TaskFile, *, seed: int = 0, **limits: Unpack[SplitLimits]) -> Task:
    """Return the task that a task file describes; see `load_task`."""
    source = task_file.source
    locations = {
        "embedded": f"workbench/tasks/data/{source.file}",
        "generated": f"workbench/tasks/{source.generator}.py, seed {source.seed}",
        "hub": source.hub_id if source.config is None else f"{source.hub_id}, {source.config}",
    }
    return _assemble(
        _given_samples(task_file),
        name=task_file.name,
        kind=task_file.kind,
        labels=tuple(task_file.labels),
        source=TaskSource(
            kind=source.kind,
            location=locations[source.kind] or "",
            licence=task_file.licence,
            revision=source.revision,
        ),
        seed=seed,
        limits=limits,
    )


def task_from_files(
    train: Path,
    *,
    dev: Path | None = None,
    test: Path | None = None,
    mapping: ColumnMapping,
    kind: TaskKind,
    name: str | None = None,
    separator: str | None = None,
    seed: int = 0,
    **limits: Unpack[SplitLimits],
) -> Task:
    """Return a task from the user's files; dev and test are cut off train where not given.

    Args:
        train: File with the labelled rows.
        dev: File for choices.
        test: File to report on.
        mapping: Columns to take.
        kind: "classification", "short_answer" or "generation".
        name: What to call the task; made from the name of the train file unless given.
        separator: What stands between the cells of CSV and TSV files; None finds it out.
        seed: Decides which rows are cut off train and which a limit keeps.
        **limits: `limit_train`, `limit_dev`, `limit_test`: the most samples to keep.

    Raises:
        ConfigError: the name or a limit is wrong.
        TaskError: a file cannot be read or used.
    """
    paths = {"train": train, "dev": dev, "test": test}
    given = {split: path for split, path in paths.items() if path is not None}
    tables = {split: read_table(path, separator=separator) for split, path in given.items()}
    mappings = _mappings_by_split(mapping, tables, kind=kind, where=str(train))
    samples: dict[str, list[Sample]] = {}
    for split, path in given.items():
        table = tables[split]
        prefix = path.stem if len(given) == 1 or path.stem == split else f"{split}-{path.stem}"
        samples[split] = samples_from_rows(
            table.rows, mappings[split], where=str(path), kind=kind, table=table, id_prefix=prefix
        )
    found = {sample.target for sample in samples["train"]} if kind == "classification" else ()
    notes = [note for table in tables.values() for note in table.notes]
    return _assemble(
        _Given(samples["train"], samples.get("dev"), samples.get("test"), notes),
        name=task_name(name, train),
        kind=kind,
        labels=tuple(sorted(found)),
        source=TaskSource(
            kind="file",
            location=", ".join(f"{split} {path}" for split, path in given.items()),
            licence="not stated",
        ),
        seed=seed,
        limits=limits,
    )


def _mappings_by_split(
    mapping: ColumnMapping, tables: Mapping[str, Table], *, kind: TaskKind, where: str
) -> dict[str, ColumnMapping]:
    """Return the columns to take of each file: one may have references and another none.

    Raises:
        ConfigError: references of a task with labels.
        TaskError: no file has the column of references.
    """
    if mapping.references is None:
        return dict.fromkeys(tables, mapping)
    if kind == "classification":
        raise ConfigError(
            f"references_column: a task of kind '{kind}' has one correct answer. Use the kind "
            "'short_answer' or 'generation', or leave the column out."
        )
    having = [
        split
        for split, table in tables.items()
        if any(mapping.references in row for row in table.rows)
    ]
    if not having:
        rows = [row for table in tables.values() for row in table.rows]
        require_columns(rows, [mapping.references], where=where)
    plain = replace(mapping, references=None)
    return {split: mapping if split in having else plain for split in tables}


def _assemble(
    given: _Given,
    *,
    name: str,
    kind: TaskKind,
    labels: tuple[str, ...],
    source: TaskSource,
    seed: int,
    limits: SplitLimits,
) -> Task:
    stratify = kind == "classification"
    where = f"task '{name}'"
    train, dev, test, dropped = make_splits(
        given.train,
        dev=given.dev,
        test=given.test,
        seed=seed,
        stratify=stratify,
        where=where,
        joins_texts=kind == "generation",
    )
    check_task(train, dev, test=test, kind=kind, where=where, dropped=dropped)
    labels_of_train = {sample.target for sample in train}
    num_train, num_dev = limits.get("limit_train"), limits.get("limit_dev")
    if num_dev is None and given.dev is None:
        train, dev = share_budget(train, dev, num_train, seed=seed, stratify=stratify)
        num_train = None
    limited = limit(train, num_train, seed=seed, stratify=stratify)
    warnings = list(given.notes)
    if kind == "classification":
        warnings += label_warnings(given.target_counts)
        warnings += _lost_labels(labels_of_train, limited)
    return Task(
        name=name,
        kind=kind,
        labels=labels,
        field_names=tuple(train[0].fields),
        train=tuple(limited),
        dev=tuple(limit(dev, num_dev, seed=seed, stratify=stratify)),
        test=tuple(limit(test, limits.get("limit_test"), seed=seed, stratify=stratify)),
        source=source,
        dropped=dropped,
        warnings=tuple(warnings),
    )


def _lost_labels(labels: Set[str], train: Sequence[Sample]) -> list[str]:
    """Return a warning about the labels of train that a limit has left no row of, if any."""
    lost = sorted(labels - {sample.target for sample in train})
    if not lost:
        return []
    return [
        f"limit_train: train has no row of {listed([repr(name) for name in lost], 'label')} any "
        f"more, so nothing that learns can learn it. Give a limit above {len(labels)}."
    ]


def _given_samples(task_file: TaskFile) -> _Given:
    source, names = task_file.source, task_file.splits
    if source.sizes is not None:
        sizes = source.sizes
        make = _GENERATORS[source.generator]
        rows_made = make(sizes.train + sizes.dev + sizes.test, seed=source.seed)
        held_out = rows_made[sizes.train :]
        return _Given(rows_made[: sizes.train], held_out[: sizes.dev], held_out[sizes.dev :])
    assert names is not None  # TaskFile requires them of everything that is not generated
    rows = _split_rows(task_file, names)
    samples = {
        split: None if given is None else _samples(task_file, given, split=split)
        for split, given in rows.items()
    }
    return _Given(samples["train"] or (), samples["dev"], samples["test"])


def _samples(task_file: TaskFile, rows: Sequence[Row], *, split: str) -> list[Sample]:
    where = f"task '{task_file.name}', {split}"
    return samples_from_rows(
        shape_rows(rows, task_file, where=where),
        task_file.columns,
        where=where,
        kind=task_file.kind,
        id_prefix=f"{task_file.name}-{split}",
    )


def _split_rows(task_file: TaskFile, names: SplitNames) -> dict[str, Sequence[Row] | None]:
    wanted = {"train": names.train, "dev": names.dev, "test": names.test}
    source = task_file.source
    if source.hub_id is None:
        groups = _embedded_rows(source.file or "", source.split_column or "", names=wanted)
        return {split: None if name is None else groups[name] for split, name in wanted.items()}
    # Takes a second and needs pyarrow; most sessions never load from the Hub.
    from workbench.tasks.hub import load_hub_rows

    return {
        split: None
        if name is None
        else load_hub_rows(source.hub_id, source.config, split=name, revision=source.revision)
        for split, name in wanted.items()
    }


def _embedded_rows(
    file: str, split_column: str, *, names: Mapping[str, str | None]
) -> dict[str, list[Row]]:
    path = _DATA_FOLDER / file
    groups: dict[str, list[Row]] = {name: [] for name in names.values() if name is not None}
    table = read_table(path)
    strays = []
    for place, row in zip(table.places, table.rows, strict=True):
        group = groups.get(str(row.get(split_column)))
        if group is None:
            strays.append(str(place))
        else:
            group.append(row)
    if strays:
        raise TaskError(
            f"{path}: '{split_column}' is none of {', '.join(groups)} in "
            f"{listed(strays, table.unit)}. Correct the rows, or the splits in the task file."
        )
    return groups


def _task_names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"*/{_FILE_NAME}"))


def _read_task_file(folder: Path) -> TaskFile:
    path = folder / _FILE_NAME
    task_file = read_yaml_model(path, TaskFile)
    if task_file.name != folder.name:
        raise ConfigError(
            f"{path}, name: '{task_file.name}' stands in the folder '{folder.name}'. Templates are "
            "found by the name; make the two equal."
        )
    return task_file


def task_name(name: str | None, train: Path) -> str:
    """Return what a task of files is called: a name that was given, or one made of train's.

    Raises:
        ConfigError: the name is none that a task can have.
    """
    if name is None:
        stem = re.sub(r"[^a-z0-9]+", "_", train.stem.lower()).strip("_")
        return stem if re.match(NAME_PATTERN, stem) else f"task_{stem}".rstrip("_")
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(
            f"task name '{name}': only lower-case letters, digits and '_', and a letter first. "
            "Choose another name."
        )
    return name
