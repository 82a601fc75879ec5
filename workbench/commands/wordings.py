"""`workbench wordings`: every row with several wordings of the task, and how far they lie apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from workbench.analysis.curves.lines import draw_lines
from workbench.commands.curve import run_along, show
from workbench.commands.setting import experiment_folder, resolve_experiment
from workbench.runs.points import wording_points
from workbench.runs.runner import requests_of

_NOTES = (
    "Every row is run with every wording on the same items; trained rows are trained anew with "
    "each. A wording is chosen on dev or before any look at the figures, never from this table.",
    "Wordings of other sizes of model or other tasks would move other figures: formats that suit "
    "one model say little about another (Sclar et al. 2023).",
)


def run(
    path: Path | None,
    settings: Sequence[str],
    changes: Mapping[str, object],
    out: Path | None,
    *,
    names: str,
) -> None:
    """Run every row with every wording; finished runs are found again."""
    console = Console()
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    experiment = resolve_experiment(path, settings, changes)
    requests_of(experiment)  # the cheap checks come first
    folder = experiment_folder(path, out)
    runs = run_along(
        console, experiment, folder, lambda session: wording_points(session, experiment, wanted)
    )
    curves = draw_lines(
        runs, axis="wording", places=wanted, title="Spread over wordings", asks_for_spread=True
    )
    show(console, curves, folder, "wordings", notes=_NOTES)
