"""`workbench curve`: every row over the number of labelled examples, smaller sets in larger ones.

When does training overtake demonstrations? All rows share one labelled budget N at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from workbench.analysis.curves.lines import Curves, PlacedRun, draw_lines
from workbench.analysis.curves.report import curve_table, sentences_of, write_curves
from workbench.commands.compare import RunProgress, print_cells, print_setting, stopping
from workbench.commands.setting import experiment_folder, resolve_experiment
from workbench.errors import ConfigError
from workbench.runs.baselines import MAJORITY
from workbench.runs.experiment import Experiment
from workbench.runs.points import Point, curve_points, run_points
from workbench.runs.runner import requests_of
from workbench.runs.session import Session, open_session
from workbench.runs.store import RunStore

AXIS = "labelled examples"
_NOTES = (
    "Each size is the first so many examples of one seeded order in which the labels take turns, "
    "so a smaller set is contained in every larger one. All seeds share these sets: the draw of "
    "the examples themselves is not part of the spread.",
    "The dev split is the same at every size. Trained rows choose their step on it, so it is "
    "labelled data beyond the number on the axis.",
    "Demonstrations are as many as the row asks for, or as there are examples. Rows that need "
    "training begin above 0.",
    "One row overtakes another where the paired difference on the same test items is above 0 with "
    "its 95 % interval, there and at every larger size tried; these intervals are not adjusted for "
    "the number of sizes.",
)


def run(
    path: Path | None,
    settings: Sequence[str],
    changes: Mapping[str, object],
    out: Path | None,
    *,
    sizes: str,
) -> None:
    """Run every row at every size; finished runs are found again."""
    console, wanted = Console(), read_sizes(sizes)
    experiment = resolve_experiment(path, settings, changes)
    requests_of(experiment)  # the cheap checks come first
    folder = experiment_folder(path, out)
    runs = run_along(
        console, experiment, folder, lambda session: curve_points(session, experiment, wanted)
    )
    curves = draw_lines(runs, axis=AXIS, places=sorted(wanted), title="Learning curve")
    show(console, curves, folder, "curve", notes=_NOTES)


def run_along(
    console: Console,
    experiment: Experiment,
    folder: Path,
    points_of: Callable[[Session], Sequence[Point]],
) -> list[PlacedRun]:
    """Load base and task, run their points or find them again, and return the runs as placed."""
    with console.status("loading base model and task …"):
        session = open_session(experiment)
    print_setting(console, session, experiment)
    points = points_of(session)
    with stopping() as stop, RunProgress(console) as watcher:
        found = run_points(RunStore(folder), points, watcher=watcher, should_stop=stop.is_requested)
    return [
        PlacedRun(MAJORITY if point is None else point.line,
                  None if point is None else point.place, row.run, row.search)
        for point, row in found
    ]  # fmt: skip


def show(
    console: Console,
    curves: Curves,
    folder: Path,
    name: str,
    *,
    notes: Sequence[str],
    band: str = "items",
) -> None:
    """Print table and answer, and write the files."""
    print_cells(console, *curve_table(curves, band=band))
    for sentence in sentences_of(curves):
        console.print(sentence, highlight=False, markup=False)
    write_curves(curves, folder, name, notes=notes, band=band)
    console.print(f"figure: {folder / name}.html (also .png .csv .json)", highlight=False)


def read_sizes(text: str) -> list[int]:
    """Return the sizes of "0,8,32".

    Raises:
        ConfigError: not different whole numbers from 0 up.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise ConfigError(
            f"--sizes {text}: different whole numbers from 0 up, separated by commas, are needed. "
            "Example: --sizes 0,8,32,128"
        )
    return [int(part) for part in parts]
