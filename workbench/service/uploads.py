"""A visitor's own labelled rows: looked at, mapped, checked, and kept as a task."""

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from workbench.atomic import write_bytes
from workbench.errors import StoreError, TaskError, WorkbenchError
from workbench.runs.experiment import TaskChoice
from workbench.runs.session import open_task
from workbench.sealed import clear_place, is_old, is_there, read_sealed, remove, write_sealed
from workbench.service.profile import Caps
from workbench.service.workspace import Workspace, checked_name
from workbench.tasks.base import Task
from workbench.tasks.catalog import prompts_folder
from workbench.tasks.files import declared_rows, read_table
from workbench.tasks.rows import cell_text, is_list_of_texts
from workbench.yaml_files import check_mapping

Result = TypeVar("Result")

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_PREFIX = "upload:"
_RECORD = "upload.json"
_TEXT_NAMES = (
    *("text", "sentence", "message", "review", "question", "input", "prompt", "content"),
    *("source", "dialogue", "document"),
)
_LABEL_NAMES = (
    *("label", "labels", "intent", "category", "class", "target", "answer", "sentiment"),
    *("summary", "output"),
)
_REFERENCES = "references"
_MOST_LABELS = 100  # values of a column that is still guessed to hold labels
_SHOWN_ROWS, _SHOWN_CHARS = 8, 200


@dataclass(frozen=True)
class TableView:
    """What a file holds, before anything is decided.

    Attributes:
        columns: Names in order.
        rows: The first few, as short texts.
        num_rows: All of them.
        text_column: The column that looks like the text.
        label_column: The column that looks like the label.
        notes: What was guessed to read the file.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_rows: int
    text_column: str
    label_column: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskView:
    """What becomes of a file's rows as a task.

    Attributes:
        name: What the task is called.
        labels: Label to its number of rows in train, most frequent first; empty for short answers.
        sizes: Split to number of rows.
        dropped: Reason to number of rows left out.
        example: Fields and target of one training row.
        writes_texts: Whether answers are texts that are held against references.
        most_references: How many references a test row has at most.
        warnings: What may not be as meant in the data.
    """

    name: str
    labels: Mapping[str, int]
    sizes: Mapping[str, int]
    dropped: Mapping[str, int]
    example: tuple[Mapping[str, str], str]
    writes_texts: bool = False
    most_references: int = 1
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ColumnChoice:
    """Which columns mean what; as in `TaskChoice`."""

    text: str
    label: str
    text_b: str | None = None
    kind: str = "classification"


def look_at(path: Path, caps: Caps) -> TableView:
    """Return the columns and first rows of a file, and which columns are likely text and label.

    Raises:
        TaskError: the file cannot be read, or has more rows than allowed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise TaskError(
            f"{path.name}: unknown file type. Known: {', '.join(SUFFIXES)}. Convert the file."
        )
    if not path.is_file():  # uploads are kept for a day
        raise TaskError(f"{path.name}: is not there any more. Upload it again.")
    if path.stat().st_size > caps.upload_bytes:
        raise TaskError(
            f"{path.name}: {path.stat().st_size / 1e6:.1f} MB; at most "
            f"{caps.upload_bytes / 1e6:g} MB here. Take a sample of it."
        )
    _check_rows(path, _named(path, lambda: declared_rows(path)) or 0, caps)
    table = _named(path, lambda: read_table(path))
    rows = table.rows
    _check_rows(path, len(rows), caps)
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    if not columns:
        raise TaskError(f"{path.name}: no column in {len(rows)} rows. Name the values.")
    texts = {name: [_cell(row.get(name)) for row in rows] for name in columns}
    label = _guess_label(columns, texts)
    text = _guess_text(columns, texts, label)
    shown = tuple(
        tuple(texts[name][number][:_SHOWN_CHARS] for name in columns)
        for number in range(min(_SHOWN_ROWS, len(rows)))
    )
    return TableView(columns, shown, len(rows), text, label, tuple(table.notes))


def task_view(task: Task) -> TaskView:
    """Return split sizes, label counts and what was dropped."""
    counts = Counter(sample.target for sample in task.train) if task.labels else Counter[str]()
    first = task.train[0]
    return TaskView(
        name=task.name,
        labels=dict(counts.most_common()),
        sizes={name: len(getattr(task, name)) for name in ("train", "dev", "test")},
        dropped=dict(task.dropped.counts),
        example=(dict(first.fields), first.target),
        writes_texts=task.kind == "generation",
        most_references=max(len(sample.all_references) for sample in task.test),
        warnings=task.warnings,
    )


def keep_upload(
    workspace: Workspace, caps: Caps, path: Path, name: str, columns: ColumnChoice
) -> tuple[str, Task]:
    """Check a file as a task and keep it; return its key and the task.

    Where the answer is no label, a column "references" is taken for lists of all correct ones; of
    short answers only where it has nothing but lists, for it may name sources.
    The copy on disk is named by us; what the visitor called the file only shapes the task's name.

    Raises:
        ConfigError: the mapping is none.
        TaskError: the rows cannot be used as mapped.
    """
    view = look_at(path, caps)
    references, warnings = _references(path, view, columns)
    workspace.check_space(caps.stored_bytes)
    content = path.read_bytes()
    stem = _slug(name or path.stem)
    if (prompts_folder() / stem).is_dir():  # its wordings fit other fields and labels
        stem += "_own"
    digest = _digest([stem, columns.text, columns.label, columns.text_b, columns.kind], content)
    folder = workspace.uploads / digest
    target = folder / f"{stem}{path.suffix.lower()}"
    given = {
        "name": stem,
        "train": target,
        "kind": columns.kind,
        "text_column": columns.text,
        "text_b_column": columns.text_b or None,
        "label_column": columns.label,
        "references_column": references,
    }
    choice = check_mapping(given, TaskChoice, where="upload")
    _clear_half_kept(workspace.uploads)
    is_new = not (folder / _RECORD).is_file()
    if folder.is_symlink() or folder.is_file():
        remove(folder)
    clear_place(target)
    write_bytes(target, content)
    try:
        task = _named(target, lambda: open_task(choice))
    except WorkbenchError:
        if is_new:
            shutil.rmtree(folder)
        raise
    write_sealed(folder / _RECORD, choice.model_dump(mode="json"))
    return f"{_PREFIX}{digest}", replace(task, warnings=(*task.warnings, *warnings))


def task_choices(workspace: Workspace, catalog: Sequence[str]) -> list[tuple[str, str]]:
    """Return (title, key) of every task the visitor can choose: their own first."""
    own = []
    for path in workspace.uploads.glob(f"*/{_RECORD}"):
        with suppress(OSError, ValueError, KeyError):
            name = read_sealed(path, is_digest_needed=False)["name"]
            own.append((path.stat().st_mtime, (f"{name} (yours)", f"{_PREFIX}{path.parent.name}")))
    newest_first = [choice for _, choice in sorted(own, reverse=True)]
    return [*newest_first, *((name, name) for name in catalog)]


def task_choice(workspace: Workspace, key: object) -> TaskChoice:
    """Return the task a key stands for; an upload's file is read once and compared with its name.

    Raises:
        StoreError: an upload that is not among the visitor's, or is damaged.
    """
    if isinstance(key, str) and key.startswith(_PREFIX):
        digest = checked_name(key.removeprefix(_PREFIX), "upload")
        folder = workspace.uploads / digest
        if not is_there(folder / _RECORD):
            raise StoreError(
                f"upload '{digest}': not found among your files. Upload the file again."
            )
        try:
            return _kept_choice(folder)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"upload '{digest}': has changed on disk or is damaged. Upload the file again."
            ) from error
    return TaskChoice(name=checked_name(key, "task"))


def _kept_choice(folder: Path) -> TaskChoice:
    """Return what was kept in a folder, which is named by the digest of it.

    Raises:
        OSError: a file is not there.
        ValueError: a file is not what was kept.
    """
    choice = TaskChoice.model_validate(read_sealed(folder / _RECORD, is_digest_needed=False))
    if choice.train is None:
        raise ValueError("no file is named")
    path = folder / choice.train.name  # wherever the folder was moved to
    content = path.read_bytes()
    first, kind = [choice.name, choice.text_column, choice.label_column], choice.kind
    no_column = (None, "")  # as pages and programs say that there is no second text
    seconds = (choice.text_b_column,) if choice.text_b_column else no_column
    if folder.name not in [_digest([*first, second, kind], content) for second in seconds]:
        raise ValueError("it has another digest than its folder")
    return choice.model_copy(update={"train": path})


def _digest(mapping: Sequence[str | None], content: bytes) -> str:
    return hashlib.sha256(json.dumps(mapping).encode() + content).hexdigest()[:12]


def _clear_half_kept(uploads: Path) -> None:
    """Delete what processes left that were killed between a file and its record."""
    for folder in uploads.glob("*"):
        if folder.is_dir() and not is_there(folder / _RECORD) and is_old(folder):
            remove(folder)


def key_of(workspace: Workspace, choice: TaskChoice) -> str | None:
    """Return the key of a task; None for files that are not uploads of this workspace."""
    if choice.train is None:
        return choice.name
    folder = choice.train.parent
    return f"{_PREFIX}{folder.name}" if folder.parent == workspace.uploads else None


def _references(
    path: Path, view: TableView, columns: ColumnChoice
) -> tuple[str | None, tuple[str, ...]]:
    """Return the column of all correct texts or answers, if any, and what to say about it."""
    if columns.kind == "classification" or _REFERENCES not in view.columns:
        return None, ()
    if columns.kind == "generation":
        return _REFERENCES, ()
    table = _named(path, lambda: read_table(path))
    for place, row in zip(table.places, table.rows, strict=True):
        cell = row.get(_REFERENCES)
        if not is_list_of_texts(cell) and _cell(cell):
            return None, (
                f"Column '{_REFERENCES}' is left out, so only '{columns.label}' is right: "
                f"{table.unit} {place} has no list of texts there. If it holds further right "
                'answers, write each cell as ["one", "another"].',
            )
    return _REFERENCES, ()


def _check_rows(path: Path, number: int, caps: Caps) -> None:
    if number > caps.rows:
        raise TaskError(
            f"{path.name}: {number} rows; at most {caps.rows} here. Take a sample of it."
        )


def _named(path: Path, work: Callable[[], Result]) -> Result:
    """Run work; its errors name the file, not the folder it lies in here."""
    try:
        return work()
    except TaskError as error:
        raise TaskError(str(error).replace(str(path), path.name)) from error


def _cell(value: object) -> str:
    try:
        return cell_text(value) or ""
    except (TypeError, ValueError):
        return ascii(value)


def _guess_label(columns: Sequence[str], texts: Mapping[str, Sequence[str]]) -> str:
    named = [name for name in columns if name.lower() in _LABEL_NAMES]
    if named:
        return named[0]
    few = [name for name in columns if 1 < len(set(texts[name])) <= _MOST_LABELS]
    return min(few or columns, key=lambda name: (len(set(texts[name])), -columns.index(name)))


def _guess_text(columns: Sequence[str], texts: Mapping[str, Sequence[str]], label: str) -> str:
    others = [name for name in columns if name != label] or list(columns)
    named = [name for name in others if name.lower() in _TEXT_NAMES]
    return named[0] if named else max(others, key=lambda name: sum(map(len, texts[name])))


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40].rstrip("_")
    return slug if re.match(r"[a-z]", slug) else f"task_{slug}".rstrip("_")
