"""Labelled data as Python gives it: a task of the catalog, files, or rows in memory."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, Unpack, cast

import numpy as np
import pandas as pd

from workbench.atomic import write_text
from workbench.errors import ConfigError, TaskError
from workbench.notebook.figures import frame_of, shown_html
from workbench.presentation.blocks import Table
from workbench.runs.experiment import TaskChoice
from workbench.runs.finding import DEFAULT_FOLDER
from workbench.runs.session import columns_of, open_template
from workbench.runs.session import open_task as open_choice
from workbench.tasks.base import Task, TaskKind
from workbench.tasks.catalog import task_name
from workbench.tasks.rows import ColumnMapping, Row, cell_text, samples_from_rows
from workbench.tasks.task_file import NAME_PATTERN
from workbench.yaml_files import check_mapping

Rows: TypeAlias = pd.DataFrame | Iterable[Mapping[str, object]]
"""Rows in memory, column to cell: a frame, a list of mappings, or a dataset that yields them."""

Split = Literal["train", "dev", "test"]
_SPLITS = ("train", "dev", "test")
_ROWS_ADVICE = 'Give rows such as {"text": "…", "label": "…"}, or a pandas DataFrame.'
_ROWS_NAME = "rows"  # of a task of rows in memory that is given no name


class TaskOptions(TypedDict, total=False):
    """What may be said of a task, as in the `task` of an experiment; see `TaskChoice`.

    `dev` and `test` are files or rows in memory, like the source itself.
    """

    name: str
    dev: str | Path | Rows
    test: str | Path | Rows
    kind: str
    text_column: str
    text_b_column: str
    label_column: str
    references_column: str
    id_column: str
    separator: str
    limit_train: int
    limit_dev: int
    limit_test: int
    split_seed: int


_OF_ANY_TASK = {"limit_train", "limit_dev", "limit_test", "split_seed"}


@dataclass(frozen=True, eq=False)
class OpenTask:
    """A task that was read, with the wording it is asked in.

    Attributes:
        choice: What an experiment says of it.
        task: Its samples in three frozen splits, and what was dropped on the way.
        template: The wording: a name, or the path of a YAML file.
        chat: Whether the base's chat template stands around it.
    """

    choice: TaskChoice
    task: Task
    template: str = "plain"
    chat: bool = False

    def table(self, split: Split = "test") -> pd.DataFrame:
        """Return the samples of a split: one row each, with its id, fields and target."""
        samples = getattr(self.task, split)
        fields = list(self.task.field_names)
        rows = [[one.id, *(one.fields[name] for name in fields), one.target] for one in samples]
        return frame_of(Table(title=split, columns=["id", *fields, "target"], rows=rows))

    def __repr__(self) -> str:
        task = self.task
        return (
            f"{task.name} · {task.kind} · {len(task.train)} train / {len(task.dev)} dev / "
            f"{len(task.test)} test · wording {self.template}"
        )

    def _repr_html_(self) -> str:
        labels = ", ".join(self.task.labels)
        dropped = [
            f"{count} rows left out: {why}" for why, count in self.task.dropped.counts.items()
        ]
        return shown_html(
            repr(self),
            lines=[f"labels: {labels}"] if labels else [],
            warnings=[*dropped, *self.task.warnings],
        )


def open_task(
    source: str | Path | Rows = "support_intents",
    *,
    template: str = "plain",
    chat: bool = False,
    keep_in: str | Path = DEFAULT_FOLDER,
    **options: Unpack[TaskOptions],
) -> OpenTask:
    """Read labelled data and return it, checked, with its wording.

    Args:
        source: A task of the catalog by name, a file of labelled rows, or rows in memory. Those
            are kept as a file below `keep_in`, named by their content, so that a run made on them
            can be opened later and elsewhere.
        template: The wording: a name, or the path of a YAML file.
        chat: Put the base's chat template around it.
        keep_in: Folder for rows in memory.
        **options: See `TaskOptions`.

    Raises:
        ConfigError: unknown task, wording or option.
        PromptError: the wording does not fit the task.
        TaskError: the data cannot be read or used; names files and lines, or rows.
        StoreError: rows in memory cannot be kept.
    """
    given: dict[str, object] = dict(options)
    if isinstance(source, str) and re.match(NAME_PATTERN, source):
        of_files = TaskChoice.model_fields.keys() - _OF_ANY_TASK
        unused = [name for name in given if name in of_files]
        if unused:
            raise ConfigError(
                f"open_task: {', '.join(unused)}: said of files and rows alone, and '{source}' is "
                "a task of the catalog. Leave it out, or give a file."
            )
        given["name"] = source
    else:
        given["train"] = source
        given.setdefault("name", _ROWS_NAME if _is_in_memory(source) else None)
    choice = _choice(given, Path(keep_in))
    task = open_choice(choice)
    open_template(template, task)
    return OpenTask(choice, task, str(template), chat)


def _choice(given: Mapping[str, object], folder: Path) -> TaskChoice:
    """Return the choice of files, rows in memory put into files first.

    Raises:
        ConfigError: an option is unknown or wrong.
        TaskError: rows in memory cannot be used.
        StoreError: they cannot be kept.
    """
    tables = {name: given[name] for name in _SPLITS if _is_in_memory(given.get(name))}
    names = {name: _file_name(name, given) for name in tables}
    asked = check_mapping({**given, **names}, TaskChoice, where="open_task")
    if not tables:
        return asked
    columns = columns_of(asked)
    texts = {
        name: _lines(cast("Rows", rows), columns, kind=asked.kind, where=f"open_task, {name} rows")
        for name, rows in tables.items()
    }
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]
    place = folder / "rows" / digest
    for name, text in texts.items():
        write_text(place / name / names[name], text)
    return asked.model_copy(update={name: place / name / file for name, file in names.items()})


def _file_name(split: str, given: Mapping[str, object]) -> str:
    """Return the name of the file of rows in memory: ids of rows begin with it, as of any file.

    Raises:
        ConfigError: the task cannot have that name.
    """
    stem = task_name(str(given["name"]), Path()) if split == "train" else split
    return f"{stem}.jsonl"


def _is_in_memory(source: object) -> bool:
    return source is not None and not isinstance(source, str | Path)


def _lines(rows: Rows, columns: ColumnMapping, *, kind: TaskKind, where: str) -> str:
    """Return rows in memory as JSON lines with the columns that are used.

    Raises:
        TaskError: they cannot be used; names the rows, counted from 1.
    """
    found = _mappings(rows, where=where)
    samples_from_rows(found, columns, where=where, kind=kind)  # says what is wrong with which row
    asked = columns.columns
    optional = (asked.id, asked.references)
    used = [*asked.fields.values(), asked.target, *(name for name in optional if name)]
    lines = (
        json.dumps({name: _plain(row.get(name)) for name in used}, ensure_ascii=False)
        for row in found
    )
    return "".join(f"{line}\n" for line in lines)


def _mappings(rows: Rows, *, where: str) -> list[Row]:
    """Return rows as one mapping each; names of columns are text."""
    if not isinstance(rows, Iterable):
        raise TaskError(
            f"{where}: of type {type(rows).__name__}, which has no rows. {_ROWS_ADVICE}"
        )
    given = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else list(rows)
    for number, row in enumerate(given, start=1):
        if not isinstance(row, Mapping):
            raise TaskError(
                f"{where}: row {number} is of type {type(row).__name__}, not a mapping of column "
                f"to cell. {_ROWS_ADVICE}"
            )
    return [{str(name): cell for name, cell in row.items()} for row in given]


def _plain(cell: object) -> str | list[str] | None:
    """Return a cell as JSON has it: the text that any file would give, or a list of texts."""
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if isinstance(cell, list | tuple):
        return [text for one in cell if (text := cell_text(one)) is not None]
    return cell_text(cell)
