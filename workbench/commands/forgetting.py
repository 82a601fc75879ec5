"""`workbench forgetting`: what runs make the base lose on other texts and other tasks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from workbench.commands.shared import options
from workbench.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from workbench.progress import ProgressEvent
    from workbench.runs.measurements.forgetting import Elsewhere, TrainedRun
    from workbench.tasks.base import Task
    from workbench.templates import PromptTemplate

_FOLDER = Path("runs") / "forgetting"


def forgetting(
    run: Annotated[list[str], typer.Argument(help="Ids or folders of trained runs on one base.")],
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Another task: of the catalog, a file of rows (columns text and label), or a YAML "
            "file with task and template. Repeatable."
        ),
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="File of plain text; the one that comes along if absent. Repeatable."),
    ] = None,
    limit_test: options.Limit = None,
    runs: options.Runs = Path("runs"),
    out: options.Out = None,
) -> None:
    """Measure what trained runs make the base lose on other texts and tasks.

    Finished parts are found again.
    """
    from dataclasses import replace

    from workbench.analysis.captions import caption_of_runs
    from workbench.analysis.measurements.forgetting_sheet import forgetting_sheet
    from workbench.commands.shared.sheets import show_sheet
    from workbench.commands.shared.typed import typed_command
    from workbench.runs.measurements.forgetting import Elsewhere, check_runs, measure_forgetting
    from workbench.runs.measurements.records import MeasurementStore
    from workbench.tasks.text import general_text, read_text

    console = Console()
    trained = [_trained(name, runs) for name in dict.fromkeys(run)]
    elsewhere = Elsewhere(
        tuple(map(read_text, text or ())) or (general_text(),),
        tuple(_other_task(name, limit_test) for name in dict.fromkeys(task or ())),
    )
    _check_names(elsewhere)
    check_runs(trained, elsewhere)
    folder = out or _FOLDER
    base = trained[0].run.spec.base
    facts = [base.name, f"{base.precision} (products in {base.compute_dtype})", base.device]
    console.print(" · ".join(facts), highlight=False, markup=False, style="bold")
    records = []
    with console.status("…") as status:

        def show(event: "ProgressEvent") -> None:
            status.update(f"{event.stage} {event.done} of {event.total} …")

        store = MeasurementStore(folder / "parts")
        for record in measure_forgetting(trained, elsewhere, store, progress=show):
            console.print(f"{record.run_id}: measured", highlight=False, markup=False)
            records.append(record)
    caption = caption_of_runs([one.run for one in trained], typed_command())
    sheet = forgetting_sheet(records, facts, caption=replace(caption, num_items=None))
    show_sheet(console, sheet, folder, "forgetting")


def _trained(name: str, runs: Path) -> "TrainedRun":
    from workbench.runs.finding import find_stored_run
    from workbench.runs.measurements.forgetting import TrainedRun
    from workbench.runs.origin import own_experiment

    run = find_stored_run(name, runs)
    if run is None:
        raise StoreError(
            f"forgetting: no run '{name}' (looked below {runs}). Give the id of a run (see: "
            "workbench runs) or its folder."
        )
    return TrainedRun(run, own_experiment(run))


def _other_task(name: str, limit_test: int | None) -> "tuple[Task, PromptTemplate]":
    """Return a task and its wording: of the catalog, an experiment file, or a file of rows.

    Raises:
        ConfigError: no such task.
        TaskError: the data cannot be read or used.
    """
    from workbench.runs.experiment import Experiment, TaskChoice, read_experiment
    from workbench.runs.session import open_task, open_template

    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        experiment = read_experiment(path)
    elif path.suffix:
        experiment = Experiment(task=TaskChoice(train=path))
    else:
        experiment = Experiment(task=TaskChoice(name=name))
    choice = experiment.task
    if limit_test is not None:
        choice = choice.model_copy(update={"limit_test": limit_test})
    task = open_task(choice)
    return task, open_template(experiment.template, task)


def _check_names(elsewhere: "Elsewhere") -> None:
    """Refuse two texts or tasks of one name: a table could not tell them apart."""
    names = [text.name for text in elsewhere.texts] + [task.name for task, _ in elsewhere.tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"forgetting: two texts or tasks are named {', '.join(twice)}. Rename a file, or give "
            "the task a name in an experiment file (task.name)."
        )
