"""`workbench sweep`: one row over the values of its options, on dev and on test."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from rich.console import Console

from workbench.analysis.curves.lines import draw_lines
from workbench.commands.curve import run_along, show
from workbench.commands.setting import experiment_folder, resolve_experiment
from workbench.errors import ConfigError
from workbench.runs.points import Place, Point, sweep_requests

_NOTES = (
    "Dev chooses: the lowest loss among the values whose dev accuracy is within one standard error "
    "of the highest. To report the value with the best test accuracy would be choosing on test.",
    "All values share the row's other options, steps and learning rate unless it looks for one: a "
    "value that needs another rate looks worse than it is.",
)


def run(
    path: Path | None,
    settings: Sequence[str],
    changes: Mapping[str, object],
    out: Path | None,
    *,
    row: str,
    options: Sequence[str],
    values: Sequence[str],
) -> None:
    """Run a row with every combination of values; finished runs are found again."""
    console = Console()
    wanted = read_values(options, values)
    experiment = resolve_experiment(path, settings, changes)
    requests = sweep_requests(experiment, row, wanted)  # the cheap checks come first
    folder = experiment_folder(path, out)
    runs = run_along(
        console,
        experiment,
        folder,
        lambda session: [Point(line, place, session, asked) for line, place, asked in requests],
    )
    axis = options[0]
    curves = draw_lines(
        runs,
        axis=axis,
        places=_in_order([place for _, place, _ in requests]),
        title=f"{row} over {' and '.join(options)}",
        marks_best=True,
    )
    name = "-".join(re.sub(r"[^\w]+", "_", part) for part in ("sweep", row, *options))
    show(console, curves, folder, name, notes=_NOTES, band="seeds")


def read_values(options: Sequence[str], values: Sequence[str]) -> dict[str, list[Place | None]]:
    """Return the values of each option, read as YAML.

    Raises:
        ConfigError: not one list of values for each option, or a value that is no single one.
    """
    if not options or len(options) != len(values) or len(set(options)) != len(options):
        raise ConfigError(
            f"sweep: --option is given {len(options)} times and --values {len(values)} times. Give "
            "each option once and its values after it: --option rank --values 2,4,8"
        )
    found: dict[str, list[Place | None]] = {}
    for option, text in zip(options, values, strict=True):
        try:
            given = yaml.safe_load(f"[{text}]")
        except yaml.YAMLError as error:
            raise ConfigError(f"--values {text}: not a list of values. Example: 2,4,8") from error
        if not given or not all(isinstance(v, bool | int | float | str | None) for v in given):
            raise ConfigError(
                f"--values {text}: single values separated by commas are needed. Example: 2,4,8"
            )
        found[option] = given
    return found


def _in_order(places: Sequence[Place]) -> list[Place]:
    """Return the places once each: numbers by size, as soon as all are numbers."""
    once = list(dict.fromkeys(places))
    numbers = [place for place in once if not isinstance(place, str)]
    return sorted(numbers) if len(numbers) == len(once) else once
