"""A visitor's marks on answers: right or wrong, with a comment; and the labelled rows they make."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from workbench.atomic import write_text
from workbench.errors import ConfigError, StoreError
from workbench.presentation.spreadsheet import csv_text
from workbench.sealed import is_there, read_sealed, write_sealed
from workbench.service.changing import one_at_a_time
from workbench.service.profile import Caps
from workbench.service.uploads import ColumnChoice, keep_upload
from workbench.service.workspace import Workspace, checked_name
from workbench.tasks.base import Task

Verdict = Literal["right", "wrong"]

MOST_COMMENT = 500  # characters
_FIGURES = ("verdict", "answer", "comment", "wording", "way", "date")
_LABEL = "label"


@dataclass(frozen=True)
class Mark:
    """What somebody says of an answer.

    Attributes:
        fields: The text that was asked about, by field of the task.
        answer: What was answered.
        verdict: Whether that is right.
        correct: The right answer where it was wrong and is known; else empty.
        comment: Why.
        wording: Name of the wording it was asked with.
        way: What answered.
        date: When it was marked, in UTC as ISO 8601.
    """

    fields: Mapping[str, str]
    answer: str
    verdict: Verdict
    correct: str = ""
    comment: str = ""
    wording: str = ""
    way: str = ""
    date: str = ""

    @property
    def label(self) -> str:
        """The right answer as far as it is known; else empty."""
        return self.answer if self.verdict == "right" else self.correct


def marks_of(workspace: Workspace, task: Task) -> list[Mark]:
    """Return the marks on answers to a task's texts, oldest first.

    Raises:
        StoreError: they are damaged.
    """
    path = _path(workspace, task)
    if not is_there(path):
        return []
    try:
        return [Mark(**one) for one in read_sealed(path)["marks"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"marks on task '{task.name}': have changed on disk or are damaged. Delete the file "
            f"{path.name}, or your files under Runs, to begin anew."
        ) from error


def add_mark(workspace: Workspace, caps: Caps, task: Task, mark: Mark) -> list[Mark]:
    """Keep a mark and return all; a later mark on the same answer to the same text replaces it.

    Raises:
        ConfigError: a verdict that is none, a right answer that the task does not have, too long a
            text, or too many marks.
        StoreError: see `marks_of`; or the folder cannot be written.
    """
    _check(caps, task, mark)
    workspace.check_space(caps.stored_bytes)
    with one_at_a_time(workspace.marks, ".lock", "marks"):
        others = [
            one
            for one in marks_of(workspace, task)
            if (dict(one.fields), one.answer) != (dict(mark.fields), mark.answer)
        ]
        if len(others) >= caps.rows:
            raise ConfigError(
                f"marks: {len(others)} on this task; at most {caps.rows} here. Export them and "
                "delete your files under Runs."
            )
        dated = replace(mark, date=datetime.now(UTC).isoformat(timespec="seconds"))
        marks = [*others, dated]
        content = [asdict(one) for one in marks]
        size = len(json.dumps(content).encode())
        if size > caps.upload_bytes:
            raise ConfigError(
                f"marks: {size:,} bytes on this task; at most {caps.upload_bytes:,} here. Export "
                "them and delete your files under Runs."
            )
        write_sealed(_path(workspace, task), {"marks": content})
    return marks


def labelled_rows(task: Task, marks: Sequence[Mark]) -> list[dict[str, str]]:
    """Return the marks as rows: text, label, and what was said of it.

    The label of a right answer is the answer, that of a wrong one the correct answer; it is empty
    where nobody said which that is.
    """
    return [
        {
            **{name: mark.fields.get(name, "") for name in task.field_names},
            _LABEL: mark.label,
            **{name: str(getattr(mark, name)) for name in _FIGURES},
        }
        for mark in marks
    ]


def export_marks(task: Task, marks: Sequence[Mark], path: Path) -> None:
    """Write marks as labelled rows: a .csv, else a line of JSON for each.

    Raises:
        StoreError: no space left, or no permission.
    """
    rows = labelled_rows(task, marks)
    if path.suffix == ".csv":
        columns = (*task.field_names, _LABEL, *_FIGURES)
        write_text(path, csv_text(columns, ([row[name] for name in columns] for row in rows)))
        return
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def task_of_marks(
    workspace: Workspace, caps: Caps, task: Task, marks: Sequence[Mark]
) -> tuple[str, Task]:
    """Keep marks as a task of the visitor's, by the way of an upload; return its key and the task.

    Of several marks on one text the last with a label counts; those without are left out.

    Raises:
        ConfigError: no mark has a label.
        TaskError: too few rows for a task.
    """
    labelled = {tuple(mark.fields.items()): mark for mark in marks if mark.label}
    if not labelled:
        raise ConfigError(
            "marks: none has a label. Mark answers as right, or say the correct answer of wrong "
            "ones."
        )
    text, *second = task.field_names
    columns = ColumnChoice(text, _LABEL, second[0] if second else None, task.kind)
    path = workspace.marks / f"{checked_name(task.name, 'task')}_marked.jsonl"
    export_marks(task, list(labelled.values()), path)
    return keep_upload(workspace, caps, path, path.stem, columns)


def _check(caps: Caps, task: Task, mark: Mark) -> None:
    if mark.verdict not in ("right", "wrong"):
        raise ConfigError(f"mark: {str(mark.verdict)[:40]!r} is none. Choose right or wrong.")
    if mark.verdict == "right" and task.labels and mark.answer not in task.labels:
        raise ConfigError(
            f"mark: {mark.answer[:40]!r} is no label of task '{task.name}', so it cannot be right. "
            "Fill the grid again."
        )
    if mark.correct and task.labels and mark.correct not in task.labels:
        raise ConfigError(
            f"correct answer: {mark.correct[:40]!r} is no label of task '{task.name}'. Choose one "
            f"of {', '.join(task.labels)}."
        )
    if mark.verdict == "wrong" and mark.correct == mark.answer:
        raise ConfigError(
            f"correct answer: {mark.correct[:40]!r} is what was answered. Mark it as right, or "
            "choose another one."
        )
    if len(mark.correct) > caps.text_chars:
        raise ConfigError(
            f"correct answer: {len(mark.correct)} characters; at most {caps.text_chars} here. "
            "Shorten it."
        )
    if len(mark.comment) > MOST_COMMENT:
        raise ConfigError(
            f"comment: {len(mark.comment)} characters; at most {MOST_COMMENT}. Shorten it."
        )


def _path(workspace: Workspace, task: Task) -> Path:
    """Return the file of a task's marks; tasks of equal names and fields share it."""
    content = json.dumps([task.name, task.kind, task.field_names, task.labels])
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return workspace.marks / f"{digest}.json"
