"""`workbench predict`: rows without labels answered with a finished run, into a file."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from workbench.commands.shared import options
from workbench.errors import ConfigError, StoreError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.predicting.answering import RowsAsked
    from workbench.predicting.chunks import Chunk, RowAnswer
    from workbench.predicting.parts import AnswerParts
    from workbench.progress import Progress as Told
    from workbench.progress import ProgressEvent
    from workbench.runs.experiment import Experiment
    from workbench.runs.store import StoredRun
    from workbench.tasks.base import Task
    from workbench.tasks.files import RowFile
    from workbench.workers.placing import Placed, Placing

_LOGGED_SECONDS = 60.0  # between two lines where nobody watches a terminal


def predict(
    run: Annotated[str, typer.Argument(help="Id or folder of a finished run.")],
    rows: Annotated[
        Path, typer.Option(help="Rows to answer: CSV, TSV, JSONL, JSON or Parquet, of any size.")
    ],
    out: Annotated[Path, typer.Option(help="New file: .csv, .tsv, .jsonl or .parquet.")],
    text_column: options.TextColumn = None,
    text_b_column: options.TextBColumn = None,
    id_column: options.IdColumn = None,
    separator: options.Separator = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Columns to carry into --out, comma-separated; else all of them."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="The most rows to answer, from the first on.", min=1)
    ] = None,
    runs: options.Runs = Path("runs"),
    workers: options.Workers = None,
    cluster: options.Cluster = None,
) -> None:
    """Answer rows without labels with a finished run.

    The file of answers has a row for each row, in the same order: its columns as they are, the
    answer, the probability of each label, and an error where a row has no answer. Stopped or
    killed, the same command goes on where it was.
    """
    from workbench.predicting.answering import RowsAsked, field_columns
    from workbench.stopping import stopping
    from workbench.tasks.files import open_rows
    from workbench.workers.placing import Placing

    console, placing = Console(), Placing(workers, cluster)
    found = _finished(run, runs)
    with console.status("looking through the rows …"):
        file = open_rows(rows, separator=separator)
        experiment, task = _opened(found)
    asked = RowsAsked(
        run=found,
        task=task,
        rows=file,
        fields=field_columns(task, experiment.task, file, (text_column, text_b_column)),
        carried=_carried(file, id_column, keep),
        out=out,
        separator=separator,
        limit=limit,
    )
    asked.check()
    for note in file.notes:
        console.print(note, markup=False, highlight=False, style="yellow")
    with stopping() as stop:
        _answer(console, asked, experiment, placing, stop.is_requested)


def _finished(name: str, runs: Path) -> "StoredRun":
    """Return a finished run that answers.

    Raises:
        StoreError: there is none of that name, or it is damaged.
        ConfigError: it is a baseline.
    """
    from workbench.methods.catalog import METHODS
    from workbench.runs.finding import find_stored_run

    found = find_stored_run(name, runs)
    if found is None or found.record.status != "finished":
        raise StoreError(
            f"{name}: no finished run of that name below {runs}. Give its folder or id; "
            "workbench runs lists them."
        )
    if found.spec.method not in METHODS:
        raise ConfigError(
            f"run {found.record.run_id}: '{found.spec.method}' is a baseline and answers no other "
            "rows. Choose the run of a method."
        )
    found.check_learned()
    return found


def _opened(run: "StoredRun") -> "tuple[Experiment, Task]":
    """Return a run's own experiment and its task, which is read once."""
    from workbench.runs.experiment import TaskChoice
    from workbench.runs.origin import own_experiment
    from workbench.runs.session import open_task

    read: dict[TaskChoice, Task] = {}

    def remembered(choice: TaskChoice) -> "Task":
        if choice not in read:
            read[choice] = open_task(choice)
        return read[choice]

    experiment = own_experiment(run, open_task=remembered)
    return experiment, remembered(experiment.task)


def _carried(file: "RowFile", id_column: str | None, keep: str | None) -> tuple[str, ...]:
    """Return the columns that are carried: that of the ids first, where it is named.

    Raises:
        ConfigError: the file has no such column.
    """
    kept = list(file.columns) if keep is None else [name.strip() for name in keep.split(",")]
    names = [
        *([] if id_column is None else [id_column]),
        *(name for name in kept if name or keep is None),
    ]
    unknown = [name for name in names if name not in file.columns]
    if unknown:
        lines = [unknown_name("column", name, file.columns) for name in unknown]
        raise ConfigError("\n".join(f"{file.path}: {line}" for line in lines))
    return tuple(dict.fromkeys(names))


def _answer(
    console: Console,
    asked: "RowsAsked",
    experiment: "Experiment",
    placing: "Placing",
    should_stop: Callable[[], bool],
) -> None:
    """Answer what is missing, write the file of answers, and say what became of the rows."""
    from workbench.predicting.answering import begun, missing_chunks, write_answers

    with begun(asked) as parts:
        missing = missing_chunks(asked, parts)
        if missing:
            with placing.started(experiment, asked.run.folder.parent) as placed:
                _answer_missing(console, asked, placed, (parts, missing), should_stop)
        with _shown(console, "writing") as progress:
            answered = write_answers(asked, parts, progress)
    console.print(
        f"{asked.out}: {answered.num_rows:,} rows answered with {asked.run.record.run_id}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if answered.num_errors:
        console.print(
            f"{answered.num_errors:,} of them have no answer; the column 'error' says why.",
            highlight=False,
            style="yellow",
        )


def _answer_missing(
    console: Console,
    asked: "RowsAsked",
    placed: "Placed",
    left: "tuple[AnswerParts, Sequence[int]]",
    should_stop: Callable[[], bool],
) -> None:
    """Load the run's base and what it learned, and answer what is left with them."""
    from workbench.predicting.answering import answer_missing
    from workbench.predicting.chunks import answer_chunk
    from workbench.predicting.pooled import PooledAnswers
    from workbench.serving.asking import Way, fit_way

    (parts, missing) = left
    run = replace(asked.run, folder=asked.run.folder.absolute())  # workers may be elsewhere
    with console.status("loading base model …"):
        session = placed.open_session(placed.experiment, asked.task)
    way = Way(run.record.row, run.spec.method, dict(run.spec.options), run.spec.seed, run)
    for caution in run.record.cautions:
        console.print(f"caution: {caution}", style="yellow", highlight=False, markup=False)
    if placed.pool is not None:
        pooled = PooledAnswers(placed, session, way, should_stop)
        with _shown(console, "answering") as progress:
            pooled.answer_missing(asked, parts, missing, progress=progress, note=console.print)
        return
    fitted = fit_way(session, way, run.folder)

    def answer(chunk: "Chunk", progress: "Told") -> "Sequence[RowAnswer]":
        return answer_chunk(
            session.engine, fitted, chunk, progress=progress, should_stop=should_stop
        )

    with _shown(console, "answering") as progress:
        answer_missing(asked, parts, missing, answer, progress=progress)


@contextmanager
def _shown(console: Console, what: str) -> "Iterator[Told]":
    """Yield what shows rows done, rows a second and the time left; in a log a line a minute."""
    last = monotonic()

    def logged(event: "ProgressEvent") -> None:
        nonlocal last
        if monotonic() - last >= _LOGGED_SECONDS:
            last = monotonic()
            console.print(f"{what}: {event.done:,} of {event.total:,} rows", highlight=False)

    if not console.is_terminal:
        yield logged
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )

    def shown(event: "ProgressEvent") -> None:
        if not bar.tasks:  # what an earlier call answered is no part of the rate
            bar.add_task(what, total=event.total, completed=event.done, rate="")
        (line,) = bar.tasks
        rate = "" if not line.speed else f"{line.speed:,.1f} rows/s, left:"
        bar.update(line.id, completed=event.done, rate=rate)

    with bar:
        yield shown
