"""`workbench wordings`: every row with several wordings of the task, and how far they lie apart."""

from typing import Annotated

import typer
from rich.console import Console

from workbench.commands.shared import options

_NOTES = (
    "Every row is run with every wording on the same items; trained rows are trained anew with "
    "each. A wording is chosen on dev or before any look at the figures, never from this table.",
    "Wordings of other sizes of model or other tasks would move other figures: formats that suit "
    "one model say little about another (Sclar et al. 2023).",
)


def wordings(
    experiment: options.ExperimentFile = None,
    names: Annotated[
        str, typer.Option("--wordings", help="Two or more, comma-separated: names or YAML files.")
    ] = "plain,brief",
    settings: options.Settings = None,
    task: options.Task = None,
    train: options.Train = None,
    test: options.Test = None,
    methods: options.Methods = None,
    processes: options.Processes = None,
    out: options.Out = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    store: options.Store = None,
) -> None:
    """Run every row with several wordings of the task, and show how far they lie apart."""
    from workbench.analysis.curves.lines import draw_lines
    from workbench.commands.shared.along import run_along, show
    from workbench.commands.shared.processes import placed
    from workbench.commands.shared.setting import experiment_folder, resolve_experiment
    from workbench.runs.checks import check_experiment
    from workbench.runs.points import check_wordings, wording_points
    from workbench.workers.placing import Placing

    console = Console()
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    placing = Placing(workers, cluster, store)  # before others may be followed
    asked = placed(
        resolve_experiment(
            experiment,
            settings,
            task=task,
            train=train,
            test=test,
            methods=methods,
            processes=processes,
        )
    )
    folder = experiment_folder(experiment, out)
    checked = check_experiment(
        placing.as_checked(asked), folder, wordings=wanted, also=lambda _: check_wordings(wanted)
    )
    runs, failed = run_along(
        console,
        asked,
        folder,
        lambda session: wording_points(session, asked, wanted),
        checked.task,
        placing,
    )
    curves = draw_lines(
        runs, axis="wording", places=wanted, title="Spread over wordings", asks_for_spread=True
    )
    show(console, curves, folder, "wordings", notes=_NOTES, failed=failed)
