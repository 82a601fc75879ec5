"""`workbench precisions`: one base in several precisions, measured one after the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.status import Status

from workbench.analysis.measurements.precision_comparison import PrecisionComparison
from workbench.analysis.measurements.precision_sheet import precision_sheet
from workbench.commands.setting import resolve_experiment
from workbench.commands.sheets import print_sheet
from workbench.errors import ConfigError
from workbench.models.base import Precision
from workbench.models.loading import PRECISIONS, check_precision
from workbench.presentation.sheet import write_sheet
from workbench.progress import Progress, ProgressEvent
from workbench.runs.measurements.precisions import measure_precisions
from workbench.runs.measurements.records import MeasurementStore
from workbench.runs.session import open_task
from workbench.tasks.text import general_text, read_text

_FOLDER = Path("runs") / "precisions"
_GENERAL = "general"


def run(
    path: Path | None,
    settings: Sequence[str],
    changes: Mapping[str, object],
    *,
    precisions: str | None,
    text: str | None,
    out: Path | None,
) -> None:
    """Measure the base in each precision, print the table and write the report."""
    console = Console()
    experiment = resolve_experiment(path, settings, changes)
    wanted = _precisions(precisions)
    read = general_text() if text == _GENERAL else None if text is None else read_text(Path(text))
    task = open_task(experiment.task)
    folder = out or _FOLDER
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


def _shown(status: Status, precision: Precision) -> Progress:
    """Return what shows the steps of a precision in the status line."""
    status.update(f"{precision}: loading …")

    def show(event: ProgressEvent) -> None:
        status.update(f"{precision}: {event.stage} {event.done} of {event.total} …")

    return show


def _precisions(text: str | None) -> list[Precision]:
    """Return the precisions asked for, all of them without a word.

    Raises:
        ConfigError: an unknown one, or none.
    """
    if text is None:
        return list(PRECISIONS)
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"--precisions: none named. Possible: {', '.join(PRECISIONS)}.")
    return [check_precision(name) for name in dict.fromkeys(names)]
