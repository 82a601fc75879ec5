"""Long work shown in a terminal while it goes on: a live line for each run, one for a reading."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from workbench.analysis.answers import headline_metric_of
from workbench.presentation.display import percent
from workbench.presentation.quantities import metric_of, metric_text
from workbench.presentation.reading import Reading
from workbench.progress import ProgressEvent
from workbench.runs.execute import RunRequest
from workbench.runs.failures import FailedRun
from workbench.runs.store import StoredRun

_MOST_LINES = 16  # shown at once, of runs that are going on


class RunProgress:
    """A live line for each run that is going on, with its latest figures."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[figures]}"),
            console=console,
            transient=True,
        )
        self._lines: dict[str, _Line] = {}

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def began(
        self, request: RunRequest, run_id: str, *, number: int, total: int, where: str
    ) -> None:
        """Show a run's start."""
        name = f"[{number + 1}/{total}] {request.row} seed {request.seed}"
        if request.place:
            name += f" at {request.place}"
        if request.is_trial:
            rate = getattr(request.method, "learning_rate", None)
            name += " trying learning rate " + (f"{rate:g}" if rate else "of the method")
        if where:
            name += f" on {where}"
        self._remove(run_id)  # begun again after its worker died
        shown = self._bar.add_task(
            name.replace("[", r"\["),
            total=None,
            figures="",
            visible=len(self._lines) < _MOST_LINES,
        )
        self._lines[run_id] = _Line(shown, name)

    def progressed(self, run_id: str, event: ProgressEvent) -> None:
        """Show a step, and print what is to be told on a line of its own."""
        if event.note:
            self._console.print(event.note, markup=False, highlight=False, style="yellow")
        line = self._lines.get(run_id)
        if line is None:
            return
        line.figures |= event.figures
        shown = ("loss", "dev_accuracy", "dev_loss")
        figures = "  ".join(
            f"{name} {line.figures[name]:.3f}" for name in shown if name in line.figures
        )
        self._bar.update(
            line.task,
            description=f"{line.name} · {event.stage}".replace("[", r"\["),
            completed=event.done,
            total=event.total,
            figures=figures,
        )

    def ended(self, request: RunRequest, run: StoredRun, *, found: bool) -> None:
        """Print a finished run's figure on a line of its own."""
        if request.is_trial:
            figure = f"dev accuracy {percent(run.record.cost.dev_accuracy)}"
        else:
            metric = headline_metric_of(run)
            estimate = run.record.metrics[metric]
            items = estimate.num_scored + estimate.num_unscored
            figure = f"{metric_of(metric).title} {metric_text(metric, estimate)} of {items} items"
        origin = " (found, nothing to do)" if found else ""
        reason = ", training failed" if run.record.status == "failed" else ""
        self._console.print(
            f"{self._remove(run.record.run_id)}: {figure}{reason}{origin}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def failed(self, failure: FailedRun, run_id: str) -> None:
        """Print why a run failed on a line of its own."""
        name = self._remove(run_id) or failure.name
        self._console.print(f"{name}: failed: {failure.reason}", markup=False, style="red")

    def _remove(self, run_id: str) -> str:
        """Take away the line of a run, show one that waited for room, and return its name."""
        line = self._lines.pop(run_id, None)
        if line is None:
            return ""
        self._bar.remove_task(line.task)
        for other in list(self._lines.values())[:_MOST_LINES]:
            self._bar.update(other.task, visible=True)
        return line.name


class Unwatched:
    """Shows nothing of runs."""

    def began(
        self, request: RunRequest, run_id: str, *, number: int, total: int, where: str
    ) -> None:
        """Pass over a run's start."""

    def progressed(self, run_id: str, event: ProgressEvent) -> None:
        """Pass over a step."""

    def ended(self, request: RunRequest, run: StoredRun, *, found: bool) -> None:
        """Pass over a run's end."""

    def failed(self, failure: FailedRun, run_id: str) -> None:
        """Pass over a failure, which the comparison names."""


@dataclass
class _Line:
    """The line of a run that is going on."""

    task: TaskID
    name: str
    figures: dict[str, float] = field(default_factory=dict)


def last_of(console: Console, name: str, steps: Iterator[ProgressEvent | Reading]) -> Reading:
    """Return the reading that steps end in, showing how far it is.

    Args:
        console: Where it is shown.
        name: What the line begins with.
        steps: As `Inspector.stream` yields them.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        line = bar.add_task(name, total=None)
        for step in steps:
            if isinstance(step, Reading):
                return step
            stage = f"{name} · {step.stage}"
            bar.update(line, description=stage, completed=step.done, total=step.total or None)
    raise AssertionError(f"reading '{name}' ended without a result")
