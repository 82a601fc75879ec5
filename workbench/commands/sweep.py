"""`workbench sweep`: one row over the values of its options, on dev and on test."""

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from workbench.commands.shared import options
from workbench.errors import ConfigError
from workbench.yaml_files import parse_value

if TYPE_CHECKING:
    from workbench.runs.execute import RunRequest
    from workbench.runs.points import Place, PlacedRequest
    from workbench.runs.session import Session

_NOTES = (
    "Dev chooses: the lowest loss among the values whose dev accuracy is within one standard error "
    "of the highest. To report the value with the best test accuracy would be choosing on test.",
    "All values share the row's other options, steps and learning rate unless it looks for one: a "
    "value that needs another rate looks worse than it is.",
)


def sweep(
    experiment: options.ExperimentFile = None,
    row: Annotated[str, typer.Option(help="Row of the experiment: lora.")] = "lora",
    option: Annotated[
        list[str] | None, typer.Option(help="Option of the row to vary. Repeatable: a grid.")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option(help="Its values, comma-separated; one list per option.")
    ] = None,
    settings: options.Settings = None,
    task: options.Task = None,
    train: options.Train = None,
    test: options.Test = None,
    model: options.Model = None,
    seeds: options.Seeds = None,
    processes: options.Processes = None,
    out: options.Out = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    store: options.Store = None,
) -> None:
    """Run one row with several values of an option, and draw dev and test accuracy over it.

    The first option is the axis, each combination of the others a line. Finished runs are found.
    """
    from workbench.analysis.curves.lines import draw_lines
    from workbench.commands.shared.along import run_along, show
    from workbench.commands.shared.processes import placed
    from workbench.commands.shared.setting import experiment_folder, resolve_experiment
    from workbench.runs.checks import check_experiment
    from workbench.runs.points import sweep_requests
    from workbench.workers.placing import Placing

    varied = option or []
    wanted = _values(varied, values or [])
    data = {"task": task, "train": train, "test": test, "model": model}
    placing = Placing(workers, cluster, store)  # before others may be followed
    asked = placed(
        resolve_experiment(experiment, settings, seeds=seeds, processes=processes, **data)
    )
    requests = sweep_requests(asked, row, wanted)  # the cheap checks come first
    console, folder = Console(), experiment_folder(experiment, out)
    checked = check_experiment(
        placing.as_checked(asked).model_copy(
            update={"methods": {row: asked.methods[row]}, "reference": row}
        ),
        folder,
        variants=[request for *_, request in requests],
    )
    at = partial(_placed, requests)
    runs, failed = run_along(console, asked, folder, at, checked.task, placing)
    curves = draw_lines(
        runs,
        axis=varied[0],
        places=_in_order([place for _, place, _ in requests]),
        title=f"{row} over {' and '.join(varied)}",
        marks_best=True,
    )
    name = "-".join(re.sub(r"[^\w]+", "_", part) for part in ("sweep", row, *varied))
    show(console, curves, folder, name, notes=_NOTES, failed=failed, band="seeds")


def _placed(
    requests: "Sequence[tuple[str, Place, RunRequest]]", session: "Session"
) -> "list[PlacedRequest]":
    """Return the runs of a sweep, to be made in a session."""
    from workbench.runs.points import PlacedRequest

    return [PlacedRequest(line, place, session, request) for line, place, request in requests]


def _values(varied: Sequence[str], values: Sequence[str]) -> "dict[str, list[Place | None]]":
    """Return the values of each option, read as YAML.

    Raises:
        ConfigError: not one list of values for each option, or a value that is no single one.
    """
    if not varied or len(varied) != len(values) or len(set(varied)) != len(varied):
        raise ConfigError(
            f"sweep: --option is given {len(varied)} times and --values {len(values)} times. Give "
            "each option once and its values after it: --option rank --values 2,4,8"
        )
    found: dict[str, list[Place | None]] = {}
    for option, text in zip(varied, values, strict=True):
        given = parse_value(f"[{text}]", where=f"--values {text}")
        if not given or not all(isinstance(v, bool | int | float | str | None) for v in given):
            raise ConfigError(
                f"--values {text}: single values separated by commas are needed. Example: 2,4,8"
            )
        found[option] = given
    return found


def _in_order(places: "Sequence[Place]") -> "list[Place]":
    """Return the places once each: numbers by size, as soon as all are numbers."""
    once = list(dict.fromkeys(places))
    numbers = [place for place in once if not isinstance(place, str)]
    return sorted(numbers) if len(numbers) == len(once) else once
