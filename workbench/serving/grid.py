"""The grid: wordings x texts x ways, every cell an answer, filled batch by batch on one base.

A column is one way with one wording on one base, a row one text. What is filled is plain data, so
that a table of several bases is made by filling one grid with each of them in turn.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from workbench.encoding import PromptEncoder
from workbench.errors import ConfigError, WorkbenchError, without_folders
from workbench.estimates import Estimate
from workbench.fitting.base import FittedMethod
from workbench.fitting.mixed import Answered, Asked, predict_mixed
from workbench.fitting.short_answers import is_right
from workbench.metrics import rate
from workbench.presentation.display import one_line
from workbench.runs.session import Session
from workbench.runs.task_metrics import with_scores
from workbench.serving.asking import LeftOut, Way
from workbench.tasks.base import Sample, Task
from workbench.templates import PromptTemplate


@dataclass(frozen=True)
class Wording:
    """A wording of the grid: its template, and what it is called."""

    name: str
    template: PromptTemplate


@dataclass(frozen=True)
class GridColumn:
    """What all cells of a column share.

    Attributes:
        base: Name of the base.
        wording: Name of the wording.
        way: Name of the way to answer.
        cautions: What to be careful about in its answers.
    """

    base: str
    wording: str
    way: str
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One way's answer to one text.

    Attributes:
        answer: Label, short answer or text; None where there is none.
        reason: Why there is none.
        probabilities: Label to probability; empty where no labels are scored.
        is_right: Whether the answer is the known one; None where none is known, or where texts are
            scored instead.
        score: Of a text against its references, from 0 to 1; None elsewhere.
        prompt_tokens: Positions of the prompt.
        written_tokens: Tokens written.
        seconds: Its share of the batch it was answered in.
    """

    answer: str | None
    reason: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    is_right: bool | None = None
    score: float | None = None
    prompt_tokens: int = 0
    written_tokens: int = 0
    seconds: float | None = None

    @property
    def confidence(self) -> float | None:
        """The probability of the answer; None where no labels are scored."""
        return None if self.answer is None else self.probabilities.get(self.answer)


@dataclass(frozen=True)
class Grid:
    """A table of answers, as far as it is filled.

    Attributes:
        task: What is asked.
        samples: The texts, one row each; an empty target is not known.
        columns: One per way, wording and base.
        cells: By row and column, from 0; those that are missing are not answered yet.
        left_out: Columns that cannot answer, and why.
    """

    task: Task
    samples: tuple[Sample, ...]
    columns: tuple[GridColumn, ...] = ()
    cells: Mapping[tuple[int, int], Cell] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()

    @property
    def num_cells(self) -> int:
        """How many cells there will be."""
        return len(self.samples) * len(self.columns)

    @property
    def headings(self) -> list[str]:
        """What tells the columns apart: those of base, wording and way that differ.

        A base that is a folder is called by its last part, where no other one is called so.
        """
        bases = {one.base: without_folders(one.base) or one.base for one in self.columns}
        if len(set(bases.values())) < len(bases):
            bases = {name: name for name in bases}
        parts = [(bases[one.base], one.wording, one.way) for one in self.columns]
        differing = [place for place in range(3) if len({part[place] for part in parts}) > 1]
        return [one_line(" · ".join(part[n] for n in differing or [2])) for part in parts]

    def column(self, number: int) -> list[Cell]:
        """Return the cells of a column that are filled, from the first row on."""
        found = (self.cells.get((row, number)) for row in range(len(self.samples)))
        return [cell for cell in found if cell is not None]

    def accuracy(self, number: int) -> Estimate | None:
        """Return the share of right answers in a column, of those whose right answer is known.

        Texts that the column refused are not among them, see `unscored`. None where there is none.
        """
        judged = [one.is_right for one in self.column(number) if one.is_right is not None]
        return rate(judged) if judged else None

    def unscored(self, number: int) -> int:
        """Return how many texts with a known answer a column has not answered to judge."""
        known = (row for row, sample in enumerate(self.samples) if sample.target)
        cells = (self.cells.get((row, number)) for row in known)
        return sum(cell is None or cell.is_right is None for cell in cells)


@dataclass(frozen=True)
class FittedColumn:
    """A column and what answers in it."""

    column: GridColumn
    fitted: FittedMethod


OpenedColumns = tuple[Session, Sequence[FittedColumn], Sequence[LeftOut]]
"""A base's session, its columns, and those that cannot answer."""


def check_grid(grid: Grid, num_columns: int, *, most_cells: int) -> None:
    """Refuse a grid without texts or columns, and one with too many cells.

    Raises:
        ConfigError: says how many there may be.
    """
    if not grid.samples:
        raise ConfigError("grid: no text to answer. Give at least one.")
    cells = num_columns * len(grid.samples)
    if cells > most_cells:
        raise ConfigError(
            f"grid: {len(grid.samples)} texts in {num_columns} columns are {cells:,} cells; at "
            f"most {most_cells:,} here. Take fewer texts, wordings or ways."
        )


def fit_columns(
    session: Session,
    wordings: Sequence[Wording],
    ways: Sequence[Way],
    fit: Callable[[Session, Way], FittedMethod],
) -> tuple[list[FittedColumn], list[LeftOut]]:
    """Return a column for each wording and way that can answer, and the others with the reason.

    Args:
        session: Base and task; its own wording does not matter.
        wordings: Checked against the task.
        ways: Trained runs answer with the wording they were made with alone.
        fit: Returns a way's fitted method in a session, see `asking.fit_way`.

    Raises:
        ConfigError: no column can answer.
    """
    found: list[FittedColumn] = []
    left_out: list[LeftOut] = []
    for wording in wordings:
        there = with_wording(session, wording.template)
        for way in ways:
            try:
                fitted = fit(there, way)
            except WorkbenchError as error:
                left_out.append(LeftOut(f"{way.label} with wording {wording.name}", str(error)))
                continue
            column = GridColumn(
                session.info.name, wording.name, way.label, tuple(map(str, fitted.cautions))
            )
            found.append(FittedColumn(column, fitted))
    if not found:
        lines = [f"{one.label}: {one.reason}" for one in left_out]
        raise ConfigError("\n".join(lines) or "grid: no wording or no way. Give at least one.")
    return found, left_out


def with_wording(session: Session, template: PromptTemplate) -> Session:
    """Return the session with another wording of its task."""
    known = session.encoder
    encoder = PromptEncoder(known.tokenizer, template, known.task, known.chat)
    return replace(session, encoder=encoder, experiment=None)


def fill(session: Session, grid: Grid, columns: Sequence[FittedColumn]) -> Iterator[Grid]:
    """Yield the grid with columns added: at first with empty cells, then after every batch.

    Rows of all columns share batches, so that the table costs what its rows cost in one batch.

    Args:
        session: The base.
        grid: Its texts, and columns of other bases that are filled already.
        columns: What to add.

    Raises:
        Interrupted: asked to stop, see `workbench.progress.stopped_by`.
    """
    first = len(grid.columns)
    grid = replace(grid, columns=(*grid.columns, *(one.column for one in columns)))
    yield grid
    places = [(row, column) for row in range(len(grid.samples)) for column in range(len(columns))]
    asked = [Asked(columns[column].fitted, grid.samples[row]) for row, column in places]
    for batch in predict_mixed(session.engine, asked):
        filled = dict(grid.cells)
        for answered in batch:
            row, column = places[answered.place]
            filled[row, first + column] = _cell(grid.task, grid.samples[row], answered)
        grid = replace(grid, cells=filled)
        yield grid


def fill_base(grid: Grid, base: str, columns_of: Callable[[], OpenedColumns]) -> Iterator[Grid]:
    """Yield the grid as the columns of one more base fill.

    Where other bases have answered, one that cannot is left out with the reason.

    Args:
        grid: Its texts, and columns of other bases that are filled already.
        base: What the base is called.
        columns_of: Puts it in memory; returns its session, columns, and what cannot answer.

    Raises:
        WorkbenchError: it cannot be had, or no column can answer, and nothing is answered yet.
        Interrupted: asked to stop.
    """
    try:
        session, columns, left_out = columns_of()
    except WorkbenchError as error:
        if not grid.cells:
            raise
        lost = LeftOut(base, str(error))
        yield replace(grid, left_out=(*grid.left_out, lost))
        return
    yield from fill(session, replace(grid, left_out=(*grid.left_out, *left_out)), columns)


def _cell(task: Task, sample: Sample, answered: Answered) -> Cell:
    prediction = answered.prediction
    if prediction is None:
        return Cell(None, one_line(answered.error))
    is_known = bool(sample.target)
    writes_texts = task.kind == "generation"
    if is_known and writes_texts:
        (prediction,) = with_scores(task, [prediction])
    return Cell(
        answer=prediction.answer,
        reason="" if prediction.answer is not None else prediction.reason or "no answer",
        probabilities=dict(prediction.probabilities or {}),
        is_right=is_right(task, prediction.answer, sample)
        if is_known and not writes_texts
        else None,
        score=prediction.score,
        prompt_tokens=prediction.prompt_tokens,
        written_tokens=prediction.generated_tokens,
        seconds=answered.seconds,
    )
