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
    out: options.Out = None,
) -> None:
    """Train one method, evaluate it, and store its adapter in PEFT's format."""
    from workbench.commands.shared.running import run_and_report
    from workbench.commands.shared.setting import experiment_folder, resolve_experiment

    changes = options.changes_of(
        task=task, model=model, seeds=seeds, methods=method, reference=method
    )
    asked = resolve_experiment(experiment, settings, changes)
    run_and_report(asked, experiment_folder(experiment, out))
