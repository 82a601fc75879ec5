"""`workbench grid`: wordings x texts x ways in one table, filled while it is computed."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from workbench.commands.shared import options
from workbench.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.runs.experiment import Experiment
    from workbench.serving.asking import Way
    from workbench.serving.grid import Grid, OpenedColumns, Wording
    from workbench.tasks.base import Sample, Task

_FOLDER = Path("runs") / "grid"
_MOST_CELLS = 20_000  # a table is read by a person; workbench predict answers files of any size
_DEV_TEXTS = 8  # where no others are given
_LOGGED_SECONDS = 30.0  # between two lines where nobody watches a terminal
_SHOWN_ROWS = 20  # of the table while it fills; all of them at its end


_Texts = Annotated[
    list[str] | None,
    typer.Argument(help="Texts to answer; without any and --rows 8 of the task's dev rows."),
]
_Rows = Annotated[
    Path | None,
    typer.Option(help="Texts to answer: CSV, TSV, JSONL, JSON or Parquet; labels optional."),
]
_Dev = Annotated[
    int, typer.Option(help="Answer so many of the task's dev rows too, with labels.", min=0)
]
_Limit = Annotated[int | None, typer.Option(help="The most texts, from the first on.", min=1)]
_Wordings = Annotated[
    str, typer.Option(help="Comma-separated: names or YAML files; the first is compared with.")
]
_Trained = Annotated[
    str | None, typer.Option(help="Finished runs to ask too, comma-separated: ids or folders.")
]
_Models = Annotated[
    str | None, typer.Option(help="Bases, comma-separated, one in memory at a time.")
]
_Out = Annotated[Path | None, typer.Option(help="Folder for grid.html, .md, .csv and .json.")]


def grid(
    texts: _Texts = None,
    rows: _Rows = None,
    dev: _Dev = 0,
    text_column: options.TextColumn = None,
    text_b_column: options.TextBColumn = None,
    label_column: options.LabelColumn = None,
    id_column: options.IdColumn = None,
    separator: options.Separator = None,
    limit: _Limit = None,
    wordings: _Wordings = "plain",
    methods: options.Methods = None,
    trained: _Trained = None,
    models: _Models = None,
    precision: options.Precision = None,
    chat: options.Chat = None,
    task: options.Task = None,
    train: options.Train = None,
    settings: options.Settings = None,
    runs: options.Runs = Path("runs"),
    out: _Out = None,
) -> None:
    """Ask several wordings and ways about several texts, in one table that fills as it is computed.

    Rows of all columns are computed together. Without --methods or --trained the zero_shot row is
    asked; an adapter trained elsewhere is a row too (--set methods.mine.method=imported --set
    methods.mine.adapter=FOLDER --methods mine). What the table says of wordings is not measured on
    unseen texts: workbench evaluate does that.
    """
    from workbench.commands.shared.setting import resolve_experiment
    from workbench.runs.session import open_task
    from workbench.serving.grid import Grid

    names = {"text_column": text_column, "text_b_column": text_b_column}
    names["label_column"] = label_column
    own = names if train else {}  # otherwise they are those of --rows alone
    asked = {"task": task, "train": train, "precision": precision, "chat": chat}
    experiment = resolve_experiment(None, settings, methods=methods or "zero_shot", **asked, **own)
    console, found = Console(), open_task(experiment.task)
    columns = (text_column, text_b_column, label_column, id_column, separator)
    samples = [
        *_samples(console, found, experiment, texts, rows, columns),
        *found.dev[: dev if dev or texts or rows else _DEV_TEXTS],
    ]
    ways = _ways(experiment if methods or not trained else None, trained, runs)
    bases = _named(models, "--models") if models is not None else [experiment.model]
    _answer(
        console,
        [experiment.model_copy(update={"model": base}) for base in bases],
        Grid(found, tuple(samples[:limit])),
        _wordings(found, _named(wordings, "--wordings")),
        ways,
        out or _FOLDER,
    )


def _named(text: str, option: str) -> list[str]:
    """Return comma-separated names, each once.

    Raises:
        ConfigError: none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"{option}: none named. Give one or more, separated by commas.")
    return list(dict.fromkeys(names))


def _wordings(task: "Task", names: Sequence[str]) -> "list[Wording]":
    """Return the wordings by name, checked against the task; files are called by their stem."""
    from workbench.runs.session import open_template
    from workbench.serving.grid import Wording

    taken: list[str] = []
    for name in names:
        stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
        taken.append(name if stem in taken else stem)
    return [
        Wording(short, open_template(name, task)) for short, name in zip(taken, names, strict=True)
    ]


def _samples(
    console: Console,
    task: "Task",
    experiment: "Experiment",
    texts: Sequence[str] | None,
    rows: Path | None,
    columns: Sequence[str | None],
) -> "Sequence[Sample]":
    """Return the texts to answer.

    Raises:
        ConfigError: texts are given twice, or on the line for a task with two of each.
        TaskError: the file cannot be used.
    """
    from workbench.predicting.answering import field_columns
    from workbench.predicting.texts import label_column_of, samples_of, typed_samples
    from workbench.tasks.files import open_rows

    text, text_b, label, name, separator = columns
    if texts and rows is not None:
        raise ConfigError("grid: texts are given on the line and by --rows. Give one of them.")
    if texts:
        if len(task.field_names) > 1:
            raise ConfigError(
                f"grid: task '{task.name}' has {len(task.field_names)} texts "
                f"({', '.join(task.field_names)}) in each row. Give them in a file with --rows."
            )
        (field,) = task.field_names
        return typed_samples(task, [{field: one} for one in texts])
    if rows is None:
        return []
    file = open_rows(rows, separator=separator)
    for note in file.notes:
        console.print(note, markup=False, highlight=False, style="yellow")
    return samples_of(
        task,
        file,
        field_columns(task, experiment.task, file, (text, text_b)),
        label_column=label_column_of(file, experiment.task.label_column, label),
        id_column=name,
    )


def _ways(experiment: "Experiment | None", trained: str | None, runs: Path) -> "list[Way]":
    """Return the rows of an experiment, if any, as ways, and then the runs that are named.

    Raises:
        StoreError: no finished run of that name.
    """
    from workbench.runs.finding import find_stored_run
    from workbench.runs.runner import requests_of
    from workbench.serving.asking import Way

    ways = []
    if experiment is not None:
        requests_of(experiment)  # the cheap checks come first
        for row in experiment.methods:
            name, given = experiment.method_of(row)
            ways.append(Way(row, name, given, experiment.seeds_of(row)[0]))
    for name in _named(trained, "--trained") if trained is not None else []:
        run = find_stored_run(name, runs)
        if run is None or run.record.status != "finished":
            raise StoreError(
                f"{name}: no finished run of that name below {runs}. Give its folder or id; "
                "workbench runs lists them."
            )
        label = f"{run.record.row} ({run.spec.digest[:4]})"
        ways.append(Way(label, run.spec.method, dict(run.spec.options), run.spec.seed, run))
    return ways


def _answer(
    console: Console,
    experiments: "Sequence[Experiment]",
    table: "Grid",
    wordings: "Sequence[Wording]",
    ways: "Sequence[Way]",
    folder: Path,
) -> None:
    """Fill the table with one base after the other, print it and write its files."""
    from workbench.commands.shared.sheets import print_sheet
    from workbench.presentation.sheet import write_sheet
    from workbench.progress import Interrupted
    from workbench.serving.grid import check_grid
    from workbench.serving.grid_sheet import grid_sheet
    from workbench.stopping import stopping

    check_grid(table, len(experiments) * len(wordings) * len(ways), most_cells=_MOST_CELLS)
    stopped: Interrupted | None = None
    with stopping(), _shown(console) as show:
        try:
            for experiment in experiments:
                for filled in _filled(experiment, table, wordings, ways, folder):
                    table = filled
                    show(table)
        except Interrupted as stop:
            stopped = stop
    for left_out in table.left_out:
        text = f"{left_out.label}: left out: {left_out.reason}"
        console.print(text, style="yellow", highlight=False, markup=False)
    if table.cells:
        sheet = grid_sheet(table, wordings)
        write_sheet(sheet, folder, "grid")
        print_sheet(console, sheet)
        console.print(f"report: {folder / 'grid.html'} (also .md .csv .json)", highlight=False)
    if stopped is not None:
        raise Interrupted(f"{len(table.cells)} cells are answered and written") from stopped


def _filled(
    experiment: "Experiment",
    table: "Grid",
    wordings: "Sequence[Wording]",
    ways: "Sequence[Way]",
    folder: Path,
) -> "Iterator[Grid]":
    """Yield the table as the columns of one base fill."""
    from workbench.memory import return_freed_memory
    from workbench.runs.session import open_session
    from workbench.serving.asking import fit_way
    from workbench.serving.grid import fill_base, fit_columns

    def opened() -> "OpenedColumns":
        session = open_session(experiment, table.task)
        return session, *fit_columns(session, wordings, ways, partial(fit_way, folder=folder))

    gc.collect()  # so that two bases never lie in memory together
    return_freed_memory()
    yield from fill_base(table, experiment.model, opened)


@contextmanager
def _shown(console: Console) -> "Iterator[Callable[[Grid], None]]":
    """Yield what shows a table as it fills; in a log a line now and then."""
    from workbench.commands.shared.sheets import rich_table
    from workbench.serving.grid_sheet import answer_table

    last = 0.0

    def logged(table: "Grid") -> None:
        nonlocal last
        if monotonic() - last >= _LOGGED_SECONDS:
            last = monotonic()
            console.print(_progress(table), highlight=False)

    if not console.is_terminal:
        yield logged
        return
    with Live(Text("loading base model …"), console=console, transient=True) as live:

        def shown(table: "Grid") -> None:
            first = answer_table(replace(table, samples=table.samples[:_SHOWN_ROWS]))
            live.update(Group(rich_table(first, console.width), Text(_progress(table))))

        yield shown


def _progress(table: "Grid") -> str:
    return f"{len(table.cells):,} of {table.num_cells:,} cells answered"
