"""`workbench train`: one trained method, evaluated, with its adapter in PEFT's format."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.shared import options


def train(
    method: Annotated[str, typer.Argument(help="A trained method: prompt_tuning, lora, …")],
    experiment: Annotated[
        Path | None, typer.Option(help="YAML file with base, task and options.")
    ] = None,
    settings: options.Settings = None,
    task: options.Task = None,
    model: options.Model = None,
    seeds: options.Seeds = None,
    processes: options.Processes = None,
    out: options.Out = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    store: options.Store = None,
    name: options.RunName = "",
) -> None:
    """Train one method, evaluate it, and store its adapter in PEFT's format."""
    from workbench.commands.shared.running import run_and_report
    from workbench.commands.shared.setting import experiment_folder, resolve_experiment
    from workbench.workers.placing import Placing

    asked = resolve_experiment(
        experiment,
        settings,
        task=task,
        model=model,
        seeds=seeds,
        processes=processes,
        methods=method,
        reference=method,
    )
    placing = Placing(workers, cluster, store)
    folder = experiment_folder(experiment, out)
    run_and_report(asked, folder, placing, name=name.strip(), named_row=method)
