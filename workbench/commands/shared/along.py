"""Runs placed along an axis, for `curve`, `wordings` and `sweep`: made, printed and written."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from workbench.analysis.curves.lines import Curves, PlacedRun
from workbench.analysis.curves.report import curve_table, sentences_of, write_curves
from workbench.commands.shared.running import opened, print_cells, print_setting
from workbench.commands.shared.typed import typed_command
from workbench.runs.baselines import MAJORITY
from workbench.runs.experiment import Experiment
from workbench.runs.failures import FailedRun, raise_if_failed
from workbench.runs.points import PlacedRequest, run_points
from workbench.runs.session import Session
from workbench.stopping import stopping
from workbench.tasks.base import Task
from workbench.watching import RunProgress
from workbench.workers.placing import Placing


def run_along(
    console: Console,
    experiment: Experiment,
    folder: Path,
    points_of: Callable[[Session], Sequence[PlacedRequest]],
    task: Task,
    placing: Placing,
) -> tuple[list[PlacedRun], list[FailedRun]]:
    """Load base and task, run their points or find them again; return the runs as placed.

    Those that failed come apart.

    Raises:
        RunError: every run failed.
    """
    with (
        placing.started(experiment, folder) as ready,
        opened(console, ready, task, placing.beginning) as session,
    ):
        print_setting(console, session, experiment)
        points = points_of(session)
        with stopping() as stop, RunProgress(console) as watcher:
            found = run_points(
                placing.open_store(folder),
                points,
                watcher=watcher,
                should_stop=stop.is_requested,
                make_executor=ready.make_executor,
            )
    failed = [row for _, row in found if isinstance(row, FailedRun)]
    if len(failed) == len(points):
        raise_if_failed(failed)
    placed = [
        PlacedRun(MAJORITY if point is None else point.line,
                  None if point is None else point.place, row.run, row.search)
        for point, row in found
        if not isinstance(row, FailedRun)
    ]  # fmt: skip
    return placed, failed


def show(
    console: Console,
    curves: Curves,
    folder: Path,
    name: str,
    *,
    notes: Sequence[str],
    failed: Sequence[FailedRun] = (),
    band: str = "items",
) -> None:
    """Print table and answer, and write the files.

    Raises:
        RunError: some of the runs failed; the files have the others.
    """
    print_cells(console, *curve_table(curves, band=band))
    for sentence in sentences_of(curves):
        console.print(sentence, highlight=False, markup=False)
    missing = [failure.sentence for failure in failed]
    write_curves(
        curves,
        folder,
        name,
        notes=[*missing, *notes],
        failed=failed,
        band=band,
        command=typed_command(),
    )
    forms = ".png .svg .pdf .tex .csv .json"
    console.print(f"figure: {folder / name}.html (also {forms})", highlight=False)
    raise_if_failed(failed)
