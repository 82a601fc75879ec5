"""`workbench bases`: every row on several bases one after the other; quality over their size."""

import gc
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from workbench.commands.shared import options
from workbench.errors import ConfigError, require_all, unknown_name

if TYPE_CHECKING:
    from workbench.runs.experiment import Experiment
    from workbench.workers.placing import Placing

_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


def bases(
    experiment: options.ExperimentFile = None,
    *,
    names: Annotated[
        str,
        typer.Option("--models", help="Two or more, comma-separated: names, Hub ids or folders."),
    ],
    against: Annotated[
        str | None,
        typer.Option(help="Row to hold the others against; else that which trains most."),
    ] = None,
    settings: options.Settings = None,
    task: options.Task = None,
    train: options.Train = None,
    test: options.Test = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    methods: options.Methods = None,
    precision: options.Precision = None,
    seeds: options.Seeds = None,
    processes: options.Processes = None,
    out: options.Out = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    store: options.Store = None,
) -> None:
    """Run every row on several bases, a report for each, and show quality over their size.

    One base is in memory at a time. Finished runs are found again.
    """
    from workbench.commands.shared.processes import place_here
    from workbench.commands.shared.setting import experiment_folder, resolve_experiment
    from workbench.workers.placing import Placing

    placing = Placing(workers, cluster, store)
    if place_here() is not None:
        raise ConfigError("bases: not under torchrun, which loads one base. Use --processes.")
    asked = resolve_experiment(
        experiment,
        settings,
        task=task,
        train=train,
        test=test,
        text_column=text_column,
        label_column=label_column,
        methods=methods,
        precision=precision,
        seeds=seeds,
        processes=processes,
    )
    if asked.revision is not None:
        raise ConfigError(
            "bases: revision is that of one base. Remove it from the experiment, or give folders."
        )
    each = {name: asked.model_copy(update={"model": name}) for name in _wanted(names)}
    folder = experiment_folder(experiment, out)
    _check(each, folder, placing, against)
    _run(each, folder, placing, against)


def _check(
    each: "dict[str, Experiment]", folder: Path, placing: "Placing", against: str | None
) -> None:
    """Refuse what cannot be run on one of the bases, all of it at once, before one is loaded."""
    from workbench.runs.checks import check_experiment

    rows = next(iter(each.values())).methods

    def check(one: "Experiment") -> None:
        check_experiment(placing.as_checked(one), folder)

    def check_row() -> None:
        if against is not None and against not in rows:
            raise ConfigError(f"--against: {unknown_name('row', against, rows)}")

    require_all(check_row, *(partial(check, one) for one in each.values()))


def _wanted(names: str) -> list[str]:
    """Return the bases asked for.

    Raises:
        ConfigError: fewer than two, or one of them twice.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if len(set(wanted)) < max(len(wanted), 2):
        raise ConfigError(
            f"--models: {names!r} are not two or more different bases. workbench models lists some."
        )
    return wanted


def _run(
    each: "dict[str, Experiment]", folder: Path, placing: "Placing", against: str | None
) -> None:
    """Make a comparison on each base, and the picture of all."""
    from workbench.analysis.curves.sizes import NOTES, OnBase, draw_sizes, placed_runs
    from workbench.commands.shared.along import show
    from workbench.commands.shared.running import make_comparison
    from workbench.memory import return_freed_memory
    from workbench.runs.failures import raise_if_failed
    from workbench.runs.session import open_task

    console, made = Console(), []
    task, records = open_task(next(iter(each.values())).task), placing.open_store(folder)
    for number, (name, experiment) in enumerate(each.items(), start=1):
        report = folder / f"{number}-{re.sub(_NOT_IN_NAMES, '-', name).strip('-')}"
        comparison, info = make_comparison(
            console, experiment, task, folder, placing, report=report
        )
        made.append(OnBase(comparison, info.num_parameters, report.name))
        gc.collect()  # so that two bases never lie in memory together
        return_freed_memory()
    failed = [failure for one in made for failure in one.comparison.failed]
    if all(row.is_baseline for one in made for row in one.comparison.rows):
        raise_if_failed(failed)
    curves = draw_sizes(placed_runs(made, records), against=against)
    notes = [*(one.sentence for one in made), *NOTES]
    show(console, curves, folder, "bases", notes=notes, failed=failed)
