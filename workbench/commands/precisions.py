"""`workbench precisions`: one base in several precisions, measured one after the other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.status import Status

from workbench.commands.shared import options
from workbench.errors import ConfigError

if TYPE_CHECKING:
    from workbench.models.base import Precision
    from workbench.progress import Progress, ProgressEvent
    from workbench.runs.experiment import Experiment

_FOLDER = Path("runs") / "precisions"
_GENERAL = "general"


def precisions(
    experiment: options.ExperimentFile = None,
    settings: options.Settings = None,
    task: options.Task = None,
    train: options.Train = None,
    test: options.Test = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    separator: options.Separator = None,
    limit_test: options.Limit = None,
    model: options.Model = None,
    template: options.Template = None,
    chat: options.Chat = None,
    names: Annotated[
        str | None,
        typer.Option("--precisions", help="Comma-separated: nf4,nf4-single,bf16; else all."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            help="Take perplexity of this file, or of 'general', the text that comes along; else "
            "of the task's texts."
        ),
    ] = None,
    out: options.Out = None,
) -> None:
    """Measure one base in several precisions: memory, perplexity, accuracy, speed, error.

    One precision is in memory at a time; finished ones are found again.
    """
    from workbench.commands.shared.setting import resolve_experiment

    asked = resolve_experiment(
        experiment,
        settings,
        task=task,
        train=train,
        test=test,
        text_column=text_column,
        label_column=label_column,
        separator=separator,
        limit_test=limit_test,
        model=model,
        template=template,
        chat=chat,
    )
    _measure(asked, _precisions(names), text, out or _FOLDER)


def _measure(
    experiment: "Experiment", wanted: "list[Precision]", text: str | None, folder: Path
) -> None:
    """Measure the base in each precision, print the table and write the report."""
    from workbench.analysis.measurements.precision_comparison import PrecisionComparison
    from workbench.analysis.measurements.precision_sheet import precision_sheet
    from workbench.commands.shared.sheets import print_sheet
    from workbench.presentation.sheet import write_sheet
    from workbench.runs.measurements.precisions import measure_precisions
    from workbench.runs.measurements.records import MeasurementStore
    from workbench.runs.session import open_task
    from workbench.tasks.text import general_text, read_text

    console = Console()
    read = general_text() if text == _GENERAL else None if text is None else read_text(Path(text))
    task = open_task(experiment.task)
    console.print(
        f"{experiment.model} · {', '.join(wanted)} · {task.name} · {len(task.test)} items",
        highlight=False,
        markup=False,
        style="bold",
    )
    records = []
    with console.status("…") as status:
        measured = measure_precisions(
            experiment,
            wanted,
            MeasurementStore(folder / "parts"),
            text=read,
            progress=lambda precision: _shown(status, precision),
        )
        for found in measured:
            note = " (found, nothing to do)" if found.was_found else ""
            console.print(f"{found.record.precision}: measured{note}", highlight=False)
            records.append(found.record)
    sheet = precision_sheet(PrecisionComparison(task.name, tuple(records)))
    write_sheet(sheet, folder, "precisions")
    print_sheet(console, sheet)
    console.print(f"report: {folder / 'precisions.html'} (also .md .csv .json)", highlight=False)


def _shown(status: Status, precision: "Precision") -> "Progress":
    """Return what shows the steps of a precision in the status line."""
    status.update(f"{precision}: loading …")

    def show(event: "ProgressEvent") -> None:
        status.update(f"{precision}: {event.stage} {event.done} of {event.total} …")

    return show


def _precisions(text: str | None) -> "list[Precision]":
    """Return the precisions asked for, all of them without a word.

    Raises:
        ConfigError: an unknown one, or none.
    """
    from workbench.models.loading import PRECISIONS, check_precision

    if text is None:
        return list(PRECISIONS)
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"--precisions: none named. Possible: {', '.join(PRECISIONS)}.")
    return [check_precision(name) for name in dict.fromkeys(names)]
