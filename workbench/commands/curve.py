"""`workbench curve`: every row over the number of training examples, smaller sets in larger ones.

When does training overtake demonstrations? All rows share one training set at a time.
"""

from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from workbench.commands.shared import options
from workbench.errors import ConfigError
from workbench.options import whole_number

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


def curve(
    experiment: options.ExperimentFile = None,
    sizes: Annotated[
        str, typer.Option(help="Numbers of training examples, comma-separated; 0 is allowed.")
    ] = "0,8,32,128",
    settings: options.Settings = None,
    task: options.Task = None,
    train: options.Train = None,
    test: options.Test = None,
    methods: options.Methods = None,
    model: options.Model = None,
    seeds: options.Seeds = None,
    processes: options.Processes = None,
    out: options.Out = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    store: options.Store = None,
) -> None:
    """Run every row with growing training sets, and draw accuracy over their size.

    When does training overtake demonstrations? Finished runs are found again.
    """
    from workbench.analysis.curves.lines import draw_lines
    from workbench.commands.shared.along import run_along, show
    from workbench.commands.shared.processes import placed
    from workbench.commands.shared.setting import experiment_folder, resolve_experiment
    from workbench.runs.checks import check_experiment
    from workbench.runs.points import check_sizes, curve_points
    from workbench.workers.placing import Placing

    console, wanted = Console(), _sizes(sizes)
    placing = Placing(workers, cluster, store)  # before others may be followed
    asked = placed(
        resolve_experiment(
            experiment,
            settings,
            task=task,
            train=train,
            test=test,
            methods=methods,
            model=model,
            seeds=seeds,
            processes=processes,
        )
    )
    folder = experiment_folder(experiment, out)
    checked = check_experiment(
        placing.as_checked(asked), folder, also=lambda task: check_sizes(wanted, task)
    )
    points = partial(curve_points, experiment=asked, sizes=wanted)
    runs, failed = run_along(console, asked, folder, points, checked.task, placing)
    curves = draw_lines(
        runs, axis="training examples", places=sorted(wanted), title="Learning curve"
    )
    show(console, curves, folder, "curve", notes=_NOTES, failed=failed)


def _sizes(text: str) -> list[int]:
    """Return the sizes of "0,8,32".

    Raises:
        ConfigError: not different whole numbers from 0 up.
    """
    parts = [part.strip() for part in text.split(",")]
    sizes = [size for part in parts if isinstance(size := whole_number(part), int)]
    if len(set(sizes)) < len(parts) or min(sizes) < 0:
        raise ConfigError(
            f"--sizes {text}: different whole numbers from 0 up, separated by commas, are needed. "
            "Example: --sizes 0,8,32,128"
        )
    return sizes
