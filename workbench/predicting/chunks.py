"""A chunk of rows, and its answers: the piece of work that any process with the run can do."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from workbench.errors import PromptError
from workbench.fitting.base import FittedMethod
from workbench.fitting.prediction import Prediction, check_answerable, predict
from workbench.models.engine import Engine
from workbench.presentation.display import one_line
from workbench.progress import Progress, ignore_progress
from workbench.tasks.base import Sample
from workbench.tasks.rows import PlacedRow, Row, cell_text


@dataclass(frozen=True)
class AskedRow:
    """A row to be answered: the texts of the task's fields, or why there are none.

    Attributes:
        fields: Text by field; empty where a text is missing.
        error: What is wrong with the row, "" if nothing is.
    """

    fields: Mapping[str, str]
    error: str = ""


@dataclass(frozen=True)
class Chunk:
    """Rows that are answered together.

    Attributes:
        number: Which one of the file it is, from 0.
        rows: In the order of the file.
    """

    number: int
    rows: tuple[AskedRow, ...]


@dataclass(frozen=True)
class RowAnswer:
    """What the method answers to a row.

    Attributes:
        answer: Label name, short answer or text; None where there is none.
        error: Why there is none, or None.
        probabilities: Of the labels, in the task's order; None for other tasks.
        is_truncated: Whether what was written ended at its upper bound; None where nothing was.
    """

    answer: str | None
    error: str | None = None
    probabilities: tuple[float, ...] | None = None
    is_truncated: bool | None = None


def chunks_of(rows: Iterable[PlacedRow], columns: Mapping[str, str], size: int) -> Iterator[Chunk]:
    """Yield rows in chunks.

    Args:
        rows: Of a file, in order.
        columns: The task's field by the column that has its text.
        size: Rows of a chunk; the last one may have fewer.
    """
    left = iter(rows)
    number = 0
    while part := tuple(asked_row(row, columns) for _, row in islice(left, size)):
        yield Chunk(number, part)
        number += 1


def asked_row(row: Row, columns: Mapping[str, str]) -> AskedRow:
    """Return the texts of a row as the task's own rows are read."""
    fields: dict[str, str] = {}
    for name, column in columns.items():
        try:
            text = cell_text(row.get(column))
        except (TypeError, UnicodeEncodeError):
            return AskedRow({}, f"no plain text in column '{column}'")
        if text is None:
            return AskedRow({}, f"no text in column '{column}'")
        fields[name] = text
    return AskedRow(fields)


def answer_chunk(
    engine: Engine,
    fitted: FittedMethod,
    chunk: Chunk,
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[RowAnswer]:
    """Return an answer to each row of a chunk, in order.

    A row that cannot be answered (without text, longer than the context, with a text that the
    tokenizer cannot write) says why and costs itself alone.

    Raises:
        Interrupted: `should_stop` returned True.
    """
    answers: list[RowAnswer | None] = [
        RowAnswer(None, row.error) if row.error else None for row in chunk.rows
    ]
    asked = [place for place, answer in enumerate(answers) if answer is None]
    samples = [Sample(str(place), chunk.rows[place].fields, target="") for place in asked]
    work = _Work(engine, fitted, progress, should_stop)
    for place, answer in zip(asked, work.answers(samples), strict=True):
        answers[place] = answer
    return [answer for answer in answers if answer is not None]


@dataclass(frozen=True)
class _Work:
    engine: Engine
    fitted: FittedMethod
    progress: Progress
    should_stop: Callable[[], bool]

    def answers(self, samples: Sequence[Sample]) -> list[RowAnswer]:
        """Return the samples' answers; only where some cannot be answered each is looked at."""
        try:
            return self._predicted(samples)
        except PromptError:
            found = [self._refused(sample) for sample in samples]
        good = [sample for sample, one in zip(samples, found, strict=True) if one is None]
        rest = iter(self._halved(good))
        return [next(rest) if one is None else one for one in found]

    def _predicted(self, samples: Sequence[Sample]) -> list[RowAnswer]:
        predictions = predict(
            self.engine,
            self.fitted,
            samples,
            progress=self.progress,
            should_stop=self.should_stop,
        )
        return [row_answer(prediction) for prediction in predictions]

    def _refused(self, sample: Sample) -> RowAnswer | None:
        """Return why a sample cannot be answered; None if it can, as far as one knows before."""
        try:
            check_answerable(self.engine, self.fitted, sample.fields)
        except PromptError as error:
            return RowAnswer(None, one_line(str(error)))
        return None

    def _halved(self, samples: Sequence[Sample]) -> list[RowAnswer]:
        """Return answers where what is generated first may still make a row too long."""
        if not samples:
            return []
        try:
            return self._predicted(samples)
        except PromptError as error:
            if len(samples) == 1:
                return [RowAnswer(None, one_line(str(error)))]
        middle = len(samples) // 2
        return self._halved(samples[:middle]) + self._halved(samples[middle:])


def row_answer(prediction: Prediction) -> RowAnswer:
    """Return what is kept of a prediction."""
    probabilities = prediction.probabilities
    return RowAnswer(
        prediction.answer,
        None if prediction.answer is not None else prediction.reason or "no answer",
        None if probabilities is None else tuple(probabilities.values()),
        prediction.is_truncated,
    )
