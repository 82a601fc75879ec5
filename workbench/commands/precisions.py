"""`workbench precisions`: one base in several precisions, measured one after the other."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.status import Status

from workbench.commands.shared import options
from workbench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.models.base import Precision
    from workbench.progress import Progress, ProgressEvent
    from workbench.runs.experiment import Experiment
    from workbench.runs.measurements.precisions import AskedPrecisions, MeasuredPrecision
    from workbench.workers.work import Work

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
    cluster: options.Cluster = None,
) -> None:
    """Measure one base in several precisions: memory, perplexity, accuracy, speed, error.

    One precision is in memory at a time (on a cluster one of each worker); finished ones are found
    again.
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
    _measure(asked, _precisions(names), text, out or _FOLDER, cluster)


def _measure(
    experiment: "Experiment",
    wanted: "list[Precision]",
    text: str | None,
    folder: Path,
    cluster: str | None,
) -> None:
    """Measure the base in each precision, print the table and write the report."""
    from workbench.analysis.measurements.precision_comparison import PrecisionComparison
    from workbench.analysis.measurements.precision_sheet import precision_sheet
    from workbench.commands.shared.sheets import show_sheet
    from workbench.commands.shared.typed import typed_command
    from workbench.runs.measurements.precisions import AskedPrecisions
    from workbench.runs.session import open_task, open_template
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
    records = {}
    with console.status("…") as status:
        template = open_template(experiment.template, task)
        asked = AskedPrecisions(experiment, task, template, read)
        for found in _measured(asked, wanted, folder, cluster, status):
            note = " (found, nothing to do)" if found.was_found else ""
            console.print(f"{found.record.precision}: measured{note}", highlight=False)
            records[found.record.precision] = found.record
    ordered = tuple(records[precision] for precision in wanted)
    sheet = precision_sheet(PrecisionComparison(task.name, ordered), command=typed_command())
    show_sheet(console, sheet, folder, "precisions")


def _measured(
    asked: "AskedPrecisions",
    wanted: "list[Precision]",
    folder: Path,
    cluster: str | None,
    status: Status,
) -> "Iterator[MeasuredPrecision]":
    """Yield each precision, measured here or by the workers of a cluster."""
    from workbench.runs.measurements.precisions import measure_precisions
    from workbench.runs.measurements.records import MeasurementStore
    from workbench.runs.origin import from_anywhere
    from workbench.workers.placing import Placing
    from workbench.workers.precisions import measure_by_workers

    store = MeasurementStore(folder / "parts")
    if cluster is None:
        yield from measure_precisions(asked, wanted, store, progress=lambda p: _shown(status, p))
        return
    status.update("waiting for the first worker …")
    sent = replace(asked, experiment=from_anywhere(asked.experiment))
    with Placing(cluster=cluster).started(sent.experiment, folder) as placed:
        pool, teller = placed.pool, _Teller(status)
        if pool is None:
            return  # never with a cluster
        for found in measure_by_workers(pool, sent, wanted, store, teller=teller):
            yield found
            for note in pool.take_notes():
                status.console.print(note, highlight=False, markup=False)


def _shown(status: Status, precision: str) -> "Progress":
    """Return what shows the steps of a precision in the status line."""
    status.update(f"{precision}: loading …")

    def show(event: "ProgressEvent") -> None:
        status.update(f"{precision}: {event.stage} {event.done} of {event.total} …")

    return show


class _Teller:
    """Says which worker measures what, and shows its steps in the status line."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def began(self, work: "Work", where: str) -> None:
        """Say that a worker starts."""
        self._status.console.print(f"{work.name} on {where} …", highlight=False, markup=False)

    def progressed(self, work: "Work", event: "ProgressEvent") -> None:
        """Show a step."""
        self._status.update(f"{work.name}: {event.stage} {event.done} of {event.total} …")


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
