"""An experiment run in the terminal: a live line for each run, the table, the report's files."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from workbench.analysis.answers import headline_metric_of
from workbench.analysis.report import terminal_table
from workbench.comparing import UnwrittenReport, run_comparison
from workbench.presentation.display import one_line
from workbench.presentation.quantities import metric_of
from workbench.progress import ProgressEvent, stopped_by
from workbench.runs.checks import check_experiment
from workbench.runs.execute import RunRequest
from workbench.runs.experiment import Experiment
from workbench.runs.failures import FailedRun, raise_if_failed
from workbench.runs.session import Session, memory_text, open_session
from workbench.runs.store import RunStore, StoredRun


def run_and_report(experiment: Experiment, folder: Path) -> None:
    """Run an experiment, print its table and write its report; finished runs are found again.

    Raises:
        WorkbenchError: what is asked for cannot be run.
        RunError: some of the runs failed; the report has the others.
        Interrupted: Ctrl-C was pressed.
        UnwrittenReport: what is finished was printed, and the folder cannot be written.
    """
    console = Console()
    checked = check_experiment(experiment, folder)
    with console.status("loading base model and task …"):
        session = open_session(experiment, checked.task)
    print_setting(console, session, experiment)
    try:
        with stopping() as stop, RunProgress(console) as watcher:
            comparison = run_comparison(
                session,
                experiment,
                store=RunStore(folder),
                folder=folder,
                watcher=watcher,
                should_stop=stop.is_requested,
            )
    except UnwrittenReport as error:
        print_cells(console, *terminal_table(error.comparison))
        raise
    print_cells(console, *terminal_table(comparison))
    console.print(f"report: {folder / 'report.html'} (also .md .csv .json)", highlight=False)
    raise_if_failed(comparison.failed)


class RunProgress:
    """A live line for the current run, with its latest figures."""

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
        self._line = self._bar.add_task("", total=None, figures="", visible=False)
        self._name = ""
        self._figures: dict[str, float] = {}

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def began(self, request: RunRequest, run_id: str, *, number: int, total: int) -> None:
        """Show a run's start."""
        self._name = f"[{number + 1}/{total}] {request.row} seed {request.seed}"
        if request.place:
            self._name += f" at {request.place}"
        if request.is_trial:
            rate = getattr(request.method, "learning_rate", None)
            self._name += " trying learning rate " + (f"{rate:g}" if rate else "of the method")
        self._figures = {}
        self._bar.reset(
            self._line, description=self._name.replace("[", r"\["), figures="", visible=True
        )

    def progressed(self, event: ProgressEvent) -> None:
        """Show a step, and print what is to be told on a line of its own."""
        if event.note:
            self._console.print(event.note, markup=False, highlight=False, style="yellow")
        self._figures |= event.figures
        shown = ("loss", "dev_accuracy", "dev_loss")
        figures = "  ".join(
            f"{name} {self._figures[name]:.3f}" for name in shown if name in self._figures
        )
        self._bar.update(
            self._line,
            description=f"{self._name} · {event.stage}".replace("[", r"\["),
            completed=event.done,
            total=event.total,
            figures=figures,
        )

    def ended(self, request: RunRequest, run: StoredRun, *, found: bool) -> None:
        """Print a finished run's figure on a line of its own."""
        if request.is_trial:
            name, accuracy = "dev accuracy", run.record.cost.dev_accuracy
        else:
            metric = headline_metric_of(run)
            name, accuracy = metric_of(metric).title, run.record.metrics[metric].value
        value = "–" if accuracy is None else f"{100 * accuracy:.1f} %"
        origin = " (found, nothing to do)" if found else ""
        reason = ", training failed" if run.record.status == "failed" else ""
        self._console.print(
            f"{self._name}: {name} {value}{reason}{origin}", markup=False, highlight=False
        )

    def failed(self, failure: FailedRun) -> None:
        """Print why a run failed on a line of its own."""
        self._console.print(f"{self._name}: failed: {failure.reason}", markup=False, style="red")


class _StopRequest:
    """Set by the first Ctrl-C; the second one interrupts at once."""

    def __init__(self) -> None:
        self._requested = False

    def is_requested(self) -> bool:
        """Return whether Ctrl-C was pressed."""
        return self._requested

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True


@contextmanager
def stopping() -> Iterator[_StopRequest]:
    """Let Ctrl-C and termination end the work at once, a training with a checkpoint."""
    request = _StopRequest()
    previous = {
        number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with stopped_by(request.is_requested):
            yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def print_setting(console: Console, session: Session, experiment: Experiment) -> None:
    """Print base, task, sizes and seeds, where the weights came from, rows dropped and warnings."""
    info, task = session.engine.info, session.task
    console.print(
        f"{info.name} · {info.precision} (products in {info.compute_dtype}) · {info.device} · "
        f"{task.name} · {len(task.train)} train / {len(task.dev)} dev / {len(task.test)} test · "
        f"seeds {', '.join(map(str, experiment.seeds))}",
        highlight=False,
        style="bold",
    )
    console.print(f"base from {info.source}", highlight=False, style="dim")
    console.print(
        f"weights: {memory_text(info)} ({info.restored_reason})", highlight=False, style="dim"
    )
    for reason, count in task.dropped.counts.items():
        console.print(f"dropped {count} rows: {reason}", highlight=False, style="yellow")
    for warning in task.warnings:
        console.print(one_line(warning), highlight=False, markup=False, style="yellow")


def print_cells(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print as many columns of a table as fit side by side, the most important ones first."""
    widths = [
        max(len(line) for cell in (column, *cells) for line in cell.splitlines() or [""])
        for column, *cells in zip(columns, *rows, strict=True)
    ]
    shown = 0
    while shown < len(columns) and sum(w + 2 for w in widths[: shown + 1]) <= console.width + 2:
        shown += 1
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns[:shown]:
        table.add_column(Text(column), no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row[:shown]))
    console.print(table)
    if shown < len(columns):
        console.print(f"not shown here: {', '.join(columns[shown:])}", style="dim", markup=False)
