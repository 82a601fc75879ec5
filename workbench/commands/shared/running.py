"""An experiment run in the terminal: its setting, its table, the report's files."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from workbench.analysis.comparison import Comparison
from workbench.analysis.headline import headline
from workbench.analysis.report import terminal_table
from workbench.commands.shared.naming import RunNames
from workbench.commands.shared.processes import opened_session, placed
from workbench.commands.shared.sheets import print_report_place
from workbench.comparing import UnwrittenReport, run_comparison
from workbench.models.loading import BaseInfo
from workbench.presentation.display import one_line
from workbench.runs.checks import check_experiment
from workbench.runs.experiment import Experiment
from workbench.runs.failures import raise_if_failed
from workbench.runs.run_files import REPORT_FORMS
from workbench.runs.session import Session, memory_text
from workbench.stopping import stopping
from workbench.tasks.base import Task
from workbench.watching import RunProgress
from workbench.workers.placing import HERE, Placed, Placing


def run_and_report(
    experiment: Experiment,
    folder: Path,
    placing: Placing = HERE,
    *,
    name: str = "",
    named_row: str | None = None,
) -> None:
    """Run an experiment, print its table and write its report; finished runs are found again.

    Args:
        experiment: What to run.
        folder: Where the report goes.
        placing: Who makes the runs, and where they go.
        name: What to call the comparison; may be empty.
        named_row: The row whose runs get the name too.

    Raises:
        WorkbenchError: what is asked for cannot be run, or another run has the name.
        RunError: some of the runs failed; the report has the others.
        Interrupted: Ctrl-C was pressed.
        UnwrittenReport: what is finished was printed, and the folder cannot be written.
    """
    console = Console()
    experiment = placed(experiment)
    checked = check_experiment(placing.as_checked(experiment), folder)
    names = RunNames(name, experiment, named_row, folder, placing.open_store(folder))
    comparison, _ = make_comparison(console, experiment, checked.task, folder, placing, name=name)
    names.give(comparison)
    raise_if_failed(comparison.failed)


def make_comparison(
    console: Console,
    experiment: Experiment,
    task: Task,
    folder: Path,
    placing: Placing,
    *,
    report: Path | None = None,
    name: str = "",
) -> tuple[Comparison, BaseInfo]:
    """Run an experiment, print its table, write its report; return the comparison and its base.

    Args:
        console: Shows what goes on.
        experiment: What to run, checked.
        task: Its data.
        folder: Where the runs go.
        placing: Who makes them.
        report: Where the report goes; `folder` unless given.
        name: What to call the comparison; "" leaves the name it has.

    Raises:
        Interrupted: Ctrl-C was pressed.
        UnwrittenReport: what is finished was printed, and the folder cannot be written.
    """
    report = report or folder
    try:
        with (
            placing.started(experiment, folder) as ready,
            opened(console, ready, task, placing.beginning) as session,
        ):
            print_setting(console, session, experiment)
            with stopping() as stop, RunProgress(console) as watcher:
                comparison = run_comparison(
                    session,
                    experiment,
                    store=placing.open_store(folder),
                    folder=report,
                    watcher=watcher,
                    should_stop=stop.is_requested,
                    make_executor=ready.make_executor,
                    name=name,
                )
    except UnwrittenReport as error:
        print_cells(console, *terminal_table(error.comparison))
        raise
    print_cells(console, *terminal_table(comparison))
    console.print(headline(comparison), highlight=False, markup=False)
    print_report_place(console, report, REPORT_FORMS)
    return comparison, session.info


@contextmanager
def opened(console: Console, ready: Placed, task: Task, beginning: str) -> Iterator[Session]:
    """Load base and wording, here and in the other processes of its trainings, for the block.

    Workers run the parts of a training one after the other, each in its own process.

    Raises:
        WorkbenchError: they cannot be loaded, or the processes are not alike.
    """
    with ExitStack() as stack:
        with console.status(beginning):
            if ready.pool is None:
                session = stack.enter_context(opened_session(ready.experiment, task))
            else:
                session = ready.open_session(ready.experiment, task)
        yield session


def print_setting(console: Console, session: Session, experiment: Experiment) -> None:
    """Print base, task, sizes and seeds, where the weights came from, rows dropped and warnings."""
    info, task = session.info, session.task
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
