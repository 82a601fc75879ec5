"""A file of rows answered chunk by chunk, and the file of answers made of all chunks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from workbench.atomic import replacing
from workbench.errors import ConfigError, StoreError, TaskError, require_all, unknown_name
from workbench.predicting.answer_files import check_suffix, writing
from workbench.predicting.chunks import Chunk, RowAnswer, chunks_of
from workbench.predicting.parts import AnswerParts, are_begun, begin_parts, parts_folder
from workbench.progress import (
    Interrupted,
    Progress,
    ProgressEvent,
    ignore_progress,
    raise_if_stopped,
)
from workbench.runs.experiment import TaskChoice
from workbench.runs.folder_lock import alone_in
from workbench.runs.store import StoredRun
from workbench.sealed import is_there
from workbench.tasks.base import Task
from workbench.tasks.files import RowFile
from workbench.tasks.rows import PlacedRow, Row, listed

CHUNK_ROWS = 256  # what a kill costs at most; seconds with most methods on two cores
_VERSION = 1  # of the parts
ANSWER, TRUNCATED, ERROR = "answer", "is_truncated", "error"


def probability_column(label: str) -> str:
    """Return the name of the column with a label's probability."""
    return f"probability_{label}"


@dataclass(frozen=True)
class RowsAsked:
    """Rows without labels, the run that answers them, and where the answers go.

    Attributes:
        run: A finished run.
        task: Its task.
        rows: The file of rows.
        fields: Column by field of the task.
        carried: Columns that stand in the file of answers as they are.
        out: The file of answers.
        separator: Between the cells of `rows`, as it was given.
        limit: The most rows to answer, from the first one on; None: all.
    """

    run: StoredRun
    task: Task
    rows: RowFile
    fields: Mapping[str, str]
    carried: tuple[str, ...]
    out: Path
    separator: str | None = None
    limit: int | None = None

    @property
    def num_rows(self) -> int:
        """How many rows are answered."""
        return self.rows.num_rows if self.limit is None else min(self.rows.num_rows, self.limit)

    @property
    def answer_columns(self) -> dict[str, Any]:
        """Arrow type of each column that answers take, by name."""
        labels = {probability_column(label): pa.float64() for label in self.task.labels}
        written = {} if self.task.labels else {TRUNCATED: pa.bool_()}
        return {ANSWER: pa.string(), **labels, **written, ERROR: pa.string()}

    @property
    def columns(self) -> dict[str, Any]:
        """Arrow type of each column of the file of answers."""
        return {name: self.rows.columns[name] for name in self.carried} | self.answer_columns

    @cached_property
    def header(self) -> dict[str, Any]:
        """What decides the answers: parts of another header are none of these rows."""
        record = self.run.record
        return {
            "version": _VERSION,
            "run": record.run_id,
            "run finished": record.finished,
            "rows file": self.rows.digest,
            "columns": dict(self.fields),
            "separator": self.separator,
            "number of rows": self.num_rows,
            "chunk size": CHUNK_ROWS,
        }

    def chunk_size(self, number: int) -> int:
        """Return how many rows a chunk has."""
        return min(CHUNK_ROWS, self.num_rows - CHUNK_ROWS * number)

    def answered_rows(self) -> Iterator[PlacedRow]:
        """Yield the rows that are answered, with their places."""
        return islice(self.rows.rows(), self.num_rows)

    def check(self) -> None:
        """Refuse what could not be written in the end, before anything is answered.

        Raises:
            ConfigError: the file's type is not known, or a carried column has an answer's name.
            StoreError: the file is there already.
        """
        require_all(lambda: check_suffix(self.out), self._check_new, self._check_names)

    def _check_new(self) -> None:
        if is_there(self.out) and not are_begun(self.out):  # else killed before they were removed
            raise _there_already(self.out)

    def _check_names(self) -> None:
        taken = [name for name in self.answer_columns if name in self.carried]
        if taken:
            others = "them other names" if len(taken) > 1 else "it another name"
            raise ConfigError(
                f"{self.rows.path}: has {listed(taken, 'column')}, where the answers go. Give "
                f"{others}, or name the columns to carry with --keep."
            )


def field_columns(
    task: Task, choice: TaskChoice, rows: RowFile, given: Sequence[str | None]
) -> dict[str, str]:
    """Return the column that has the text of each field of a task.

    That is the one given; else the one of the run's own file, if these rows have it; else the one
    named as the field.

    Args:
        task: Of the run.
        choice: How the run's data was read.
        rows: The file of rows.
        given: What was asked for, by place of the field; None leaves it open.

    Raises:
        ConfigError: a column is given for a field that the task does not have.
        TaskError: the file has no such column.
    """
    own = (choice.text_column, choice.text_b_column) if choice.train is not None else ()
    found: dict[str, str] = {}
    problems = []
    for place, name in enumerate(task.field_names):
        asked = given[place] if place < len(given) else None
        usual = own[place] if place < len(own) else None
        tried = [asked] if asked is not None else [one for one in (usual, name) if one is not None]
        column = next((one for one in tried if one in rows.columns), None)
        if column is None:
            problems.append(unknown_name("column", tried[0], rows.columns))
        else:
            found[name] = column
    if any(given[len(task.field_names) :]):
        raise ConfigError(
            f"--text-b-column: task '{task.name}' has one text ({task.field_names[0]}). Leave it "
            "out."
        )
    if problems:
        options = ("--text-column", "--text-b-column")[: len(task.field_names)]
        raise TaskError(
            "\n".join(f"{rows.path}: {problem}" for problem in problems)
            + f" Name the columns of the texts with {' and '.join(options)}."
        )
    return found


@dataclass(frozen=True)
class Answered:
    """What became of a file of rows: how many there are, and how many of them have no answer."""

    num_rows: int
    num_errors: int


@contextmanager
def begun(asked: RowsAsked) -> Iterator[AnswerParts]:
    """Hold the parts of a file of answers for the block; see `begin_parts`.

    Raises:
        StoreError: another process works on it, or its folder cannot be written.
    """
    with alone_in(parts_folder(asked.out)):
        yield begin_parts(asked.out, asked.header)


def missing_chunks(asked: RowsAsked, parts: AnswerParts) -> list[int]:
    """Return the numbers of the chunks that have no answers yet; a torn part counts as none.

    Raises:
        StoreError: some are missing, and the file of answers is there.
    """
    missing = []
    for number in range(_num_chunks(asked)):
        raise_if_stopped()
        answers = parts.read(number)
        if answers is None or len(answers) != asked.chunk_size(number):
            missing.append(number)
    if missing and is_there(asked.out):
        raise _there_already(asked.out)
    return missing


def answer_missing(
    asked: RowsAsked,
    parts: AnswerParts,
    missing: Sequence[int],
    answer: Callable[[Chunk, Progress], Sequence[RowAnswer]],
    *,
    progress: Progress = ignore_progress,
) -> None:
    """Answer the chunks that have no answers yet, each written as soon as it is answered.

    Args:
        asked: The rows.
        parts: Where answers go.
        missing: Numbers of chunks, ascending.
        answer: Returns the answers of a chunk, in order.
        progress: Told how many rows are answered.

    Raises:
        Interrupted: asked to stop; answered chunks are kept.
        StoreError: answers cannot be written.
        TaskError: the file was changed meanwhile.
    """
    left = set(missing)
    done = asked.num_rows - sum(asked.chunk_size(number) for number in missing)

    def told(event: ProgressEvent) -> None:
        progress(ProgressEvent("predict", done + event.done, asked.num_rows))

    try:
        for chunk in chunks_of(asked.answered_rows(), asked.fields, CHUNK_ROWS):
            raise_if_stopped()
            if chunk.number not in left:
                continue
            answers = answer(chunk, told)
            asked.rows.check_unchanged()
            parts.write(chunk.number, answers)
            done += len(answers)
            progress(ProgressEvent("predict", done, asked.num_rows))
    except Interrupted as stop:
        raise Interrupted(f"{done} of {asked.num_rows} rows are answered") from stop


def write_answers(
    asked: RowsAsked, parts: AnswerParts, progress: Progress = ignore_progress
) -> Answered:
    """Write the file of answers in one step, out of rows and parts, and remove the parts.

    Raises:
        Interrupted: asked to stop; the parts are kept.
        StoreError: no space left, or no permission; a part was lost meanwhile.
        TaskError: the file of rows was changed meanwhile.
    """
    num_errors = done = 0
    asked.rows.check_unchanged()
    rows = asked.answered_rows()
    size = sum(path.stat().st_size for path in (asked.rows.path, *parts.folder.glob("*.jsonl")))
    with (
        replacing(asked.out, size) as stream,
        writing(stream, asked.out.suffix, asked.columns) as writer,
    ):
        for number in range(_num_chunks(asked)):
            raise_if_stopped()
            answers = parts.read(number)
            part = [row for _, row in islice(rows, asked.chunk_size(number))]
            if answers is None or len(answers) != len(part):
                raise StoreError(
                    f"{parts.folder}: answers were lost or damaged meanwhile. The same command "
                    "makes them again."
                )
            pairs = zip(part, answers, strict=True)
            writer.write([_with_answer(asked, row, answer) for row, answer in pairs])
            num_errors += sum(answer.answer is None for answer in answers)
            done += len(part)
            progress(ProgressEvent("write", done, asked.num_rows))
        asked.rows.check_unchanged()
    parts.remove()
    return Answered(asked.num_rows, num_errors)


def _with_answer(asked: RowsAsked, row: Row, answer: RowAnswer) -> Row:
    found: Row = {name: row[name] for name in asked.carried if name in row}
    found[ANSWER] = answer.answer
    given = answer.probabilities or (None,) * len(asked.task.labels)
    for label, probability in zip(asked.task.labels, given, strict=True):
        found[probability_column(label)] = probability
    if not asked.task.labels:
        found[TRUNCATED] = answer.is_truncated
    found[ERROR] = answer.error
    return found


def _there_already(out: Path) -> StoreError:
    return StoreError(f"--out {out}: is there already. Name another file; nothing is overwritten.")


def _num_chunks(asked: RowsAsked) -> int:
    return -(-asked.num_rows // CHUNK_ROWS)
