"""`workbench evaluate`: every row of an experiment on one base and one task, and the report."""

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.commands.shared import options

if TYPE_CHECKING:
    from workbench.runs.experiment import Experiment


def evaluate(
    experiment: options.ExperimentFile = None,
    settings: options.Settings = None,
    task: options.Task = None,
    train: options.Train = None,
    dev: options.Dev = None,
    test: options.Test = None,
    text_column: options.TextColumn = None,
    text_b_column: options.TextBColumn = None,
    label_column: options.LabelColumn = None,
    id_column: options.IdColumn = None,
    separator: options.Separator = None,
    limit_train: options.LimitTrain = None,
    limit_dev: options.Limit = None,
    limit_test: options.Limit = None,
    methods: options.Methods = None,
    model: options.Model = None,
    precision: options.Precision = None,
    template: options.Template = None,
    chat: options.Chat = None,
    seeds: options.Seeds = None,
    processes: options.Processes = None,
    out: options.Out = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    store: options.Store = None,
    name: options.Name = "",
    server: options.Server = None,
    visitor: options.Visitor = "",
) -> None:
    """Run every method on one base and one task, and write the report.

    Finished runs are found again; an interrupted comparison goes on where it stopped.
    """
    from workbench.commands.shared.setting import experiment_folder, resolve_experiment

    limits = {"limit_train": limit_train, "limit_dev": limit_dev, "limit_test": limit_test}
    asked = resolve_experiment(
        experiment,
        settings,
        task=task,
        train=train,
        dev=dev,
        test=test,
        text_column=text_column,
        text_b_column=text_b_column,
        label_column=label_column,
        id_column=id_column,
        separator=separator,
        **limits,
        methods=methods,
        model=model,
        precision=precision,
        template=template,
        chat=chat,
        seeds=seeds,
        processes=processes,
    )
    place = (workers, cluster, store)
    _run(asked, experiment_folder(experiment, out), server, visitor, name.strip(), place)


def _run(
    asked: "Experiment",
    folder: Path,
    server: str | None,
    visitor: str,
    name: str,
    place: tuple[int | None, str | None, str | None],
) -> None:
    """Run an experiment here, by workers or on a server."""
    if server is not None:
        from workbench.commands.shared.server import evaluate_there

        evaluate_there(server, asked, out=folder, visitor=visitor, name=name)
        return
    from workbench.commands.shared.running import run_and_report
    from workbench.workers.placing import Placing

    run_and_report(asked, folder, Placing(*place), name=name)
