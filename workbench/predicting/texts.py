"""Texts to ask a few ways about, out of a file or typed: samples whose right answer may be open."""

from collections.abc import Mapping, Sequence
from itertools import islice

from workbench.errors import TaskError, unknown_name
from workbench.predicting.chunks import asked_row
from workbench.tasks.base import Sample, Task
from workbench.tasks.files import RowFile
from workbench.tasks.rows import cell_text, listed

_USUAL_LABEL = "label"


def typed_samples(task: Task, texts: Sequence[Mapping[str, str]]) -> list[Sample]:
    """Return a sample for each text, without a right answer; empty ones are passed over.

    Raises:
        TaskError: a text lacks one of the task's fields.
    """
    samples = []
    for number, fields in enumerate(texts, start=1):
        found = {name: fields.get(name, "").strip() for name in task.field_names}
        if not any(found.values()):
            continue
        missing = [name for name, text in found.items() if not text]
        if missing:
            raise TaskError(
                f"text {number}: no {' and no '.join(missing)}. Task '{task.name}' needs "
                f"{' and '.join(task.field_names)} of each text."
            )
        samples.append(Sample(f"text-{number:03d}", found, target=""))
    return samples


def label_column_of(rows: RowFile, usual: str | None, asked: str | None) -> str | None:
    """Return the column with the right answers; None where the file has none.

    Args:
        rows: The file.
        usual: How the column is called in the task's own file.
        asked: What was named; has to be there.

    Raises:
        TaskError: there is no such column.
    """
    if asked is not None:
        if asked not in rows.columns:
            problem = unknown_name("column", asked, rows.columns)
            raise TaskError(f"{rows.path}: {problem} Name it with --label-column.")
        return asked
    usual = usual or _USUAL_LABEL
    return usual if usual in rows.columns else None


def samples_of(
    task: Task,
    rows: RowFile,
    fields: Mapping[str, str],
    *,
    label_column: str | None = None,
    id_column: str | None = None,
    limit: int | None = None,
) -> list[Sample]:
    """Return the rows of a file as samples; those without a label have no right answer.

    Args:
        task: Its fields, and its labels where it has any.
        rows: The file.
        fields: Column by field of the task.
        label_column: Of the right answers, or None.
        id_column: Of the ids; None numbers the rows.
        limit: The most rows to take, from the first on.

    Raises:
        TaskError: rows without text, or with a label that the task does not have.
    """
    samples, silent, strange = [], [], dict[str, str]()
    for place, row in islice(rows.rows(), limit):
        asked = asked_row(row, fields)
        if asked.error:
            silent.append(str(place))
            continue
        target = _text(row.get(label_column or "")) or ""
        if target and task.labels and target not in task.labels:
            strange.setdefault(target, str(place))
        name = (id_column and _text(row.get(id_column))) or f"{rows.unit}-{place:05d}"
        samples.append(Sample(name, asked.fields, target))
    problems = []
    if silent:
        problems.append(
            f"{rows.path}: no plain text in {listed(silent, rows.unit)}. Fill the cells or delete "
            "the rows."
        )
    if strange:
        known = ", ".join(task.labels)
        problems.append(
            f"{rows.path}: {listed(list(map(repr, strange)), 'label')} "
            f"({listed(list(strange.values()), rows.unit)}), which task '{task.name}' does not "
            f"have. Its labels: {known}. Leave the cell empty where the answer is not known."
        )
    if problems:
        raise TaskError("\n".join(problems))
    return samples


def _text(cell: object) -> str | None:
    try:
        return cell_text(cell)
    except (TypeError, UnicodeEncodeError):
        return None
