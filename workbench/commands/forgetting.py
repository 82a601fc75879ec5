"""`workbench forgetting`: what runs make the base lose on other texts and other tasks."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from workbench.analysis.measurements.forgetting_sheet import forgetting_sheet
from workbench.commands.sheets import print_sheet
from workbench.commands.stored_runs import experiment_of, find_stored_run
from workbench.errors import ConfigError, StoreError
from workbench.presentation.sheet import write_sheet
from workbench.progress import ProgressEvent
from workbench.runs.experiment import Experiment, TaskChoice, read_experiment
from workbench.runs.measurements.forgetting import (
    Elsewhere,
    TrainedRun,
    check_runs,
    measure_forgetting,
)
from workbench.runs.measurements.records import MeasurementStore
from workbench.runs.session import open_task, open_template
from workbench.tasks.base import Task
from workbench.tasks.text import general_text, read_text
from workbench.templates import PromptTemplate

_FOLDER = Path("runs") / "forgetting"


def run(
    names: Sequence[str],
    *,
    tasks: Sequence[str],
    texts: Sequence[Path],
    limit_test: int | None,
    runs: Path,
    out: Path | None,
) -> None:
    """Measure what runs change elsewhere, print the table and write the report."""
    console = Console()
    trained = [_trained(name, runs) for name in dict.fromkeys(names)]
    elsewhere = Elsewhere(
        tuple(map(read_text, texts)) or (general_text(),),
        tuple(_other_task(task, limit_test) for task in dict.fromkeys(tasks)),
    )
    _check_names(elsewhere)
    check_runs(trained, elsewhere)
    folder = out or _FOLDER
    base = trained[0].run.spec.base
    facts = [
        base.name,
        f"{base.precision} (products in {base.compute_dtype})",
        base.device,
    ]
    console.print(" · ".join(facts), highlight=False, markup=False, style="bold")
    records = []
    with console.status("…") as status:

        def show(event: ProgressEvent) -> None:
            status.update(f"{event.stage} {event.done} of {event.total} …")

        store = MeasurementStore(folder / "parts")
        for record in measure_forgetting(trained, elsewhere, store, progress=show):
            console.print(f"{record.run_id}: measured", highlight=False, markup=False)
            records.append(record)
    sheet = forgetting_sheet(records, facts)
    write_sheet(sheet, folder, "forgetting")
    print_sheet(console, sheet)
    console.print(f"report: {folder / 'forgetting.html'} (also .md .csv .json)", highlight=False)


def _trained(name: str, runs: Path) -> TrainedRun:
    run = find_stored_run(name, runs)
    if run is None:
        raise StoreError(
            f"forgetting: no run '{name}' (looked below {runs}). Give the id of a run (see: "
            "workbench runs) or its folder."
        )
    return TrainedRun(run, experiment_of(run))


def _other_task(name: str, limit_test: int | None) -> tuple[Task, PromptTemplate]:
    """Return a task and its wording: of the catalog, an experiment file, or a file of rows.

    Raises:
        ConfigError: no such task.
        TaskError: the data cannot be read or used.
    """
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


def _check_names(elsewhere: Elsewhere) -> None:
    """Refuse two texts or tasks of one name: a table could not tell them apart."""
    names = [text.name for text in elsewhere.texts] + [task.name for task, _ in elsewhere.tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"forgetting: two texts or tasks are named {', '.join(twice)}. Rename a file, or give "
            "the task a name in an experiment file (task.name)."
        )
