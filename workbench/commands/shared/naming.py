"""Names that a command gives to the runs it makes, checked before and given after."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from workbench.analysis.comparison import Comparison
from workbench.methods.catalog import method_name, resolved_options
from workbench.runs.execute import RunRequest
from workbench.runs.experiment import Experiment
from workbench.runs.finding import DEFAULT_FOLDER, runs_below
from workbench.runs.labels import (
    check_free,
    checked_run_name,
    names_of_seeds,
    read_label,
    write_label,
)
from workbench.runs.runner import requests_of
from workbench.runs.store import RunStore, StoredRun


class RunNames:
    """What the runs of a row are to be called: its name, with their seeds if there are several.

    Args:
        name: What was asked for; "" gives no names.
        experiment: What is run.
        row: The row whose runs get the name; None if only the comparison has it.
        folder: Where the report goes.
        store: Where the runs go, which may be elsewhere.

    Raises:
        ConfigError: no name of the form that is allowed.
        StoreError: a run that is not made again here has the name.
    """

    def __init__(
        self, name: str, experiment: Experiment, row: str | None, folder: Path, store: RunStore
    ) -> None:
        self._row, self._names, self._store = row, dict[int, str](), store
        is_default = folder.resolve().is_relative_to(DEFAULT_FOLDER.resolve())
        self._below = DEFAULT_FOLDER if is_default else folder
        if name and row is None:
            checked_run_name(name)
        elif name:
            requests = [one for one in requests_of(experiment) if one.row == row]
            seeds = [request.seed for request in requests]
            self._names = dict(zip(seeds, names_of_seeds(name, seeds), strict=True))
            self._check(requests)

    def _check(self, requests: Sequence[RunRequest]) -> None:
        others = self._others()
        for request in requests:
            given = self._names[request.seed]
            check_free(given, None, [run for run in others if not _may_be(run, request)])

    def _others(self) -> list[StoredRun]:
        """Return all runs among which names are unique: those beside the report, and the store's.

        A run may be among them twice.
        """
        return [*runs_below(self._below), *self._store.runs()]

    def give(self, comparison: Comparison) -> None:
        """Give the finished runs of the row their names, and print them.

        Raises:
            StoreError: another run has one, made on other data perhaps; it says which.
        """
        console = Console()
        for row in comparison.rows:
            given = self._names.get(row.seed) if row.row == self._row else None
            run = self._store.find(row.run_id) if given else None
            if run is None or given is None:
                continue
            check_free(given, run, self._others())
            write_label(run.folder, replace(read_label(run.folder), name=given))
            console.print(f"{row.run_id}: {given}", highlight=False, markup=False, soft_wrap=True)


def _may_be(run: StoredRun, request: RunRequest) -> bool:
    """Return whether a run may be the one that is asked for: on what data is not known yet."""
    ours = json.loads(json.dumps(resolved_options(request.method), default=str))  # as stored
    theirs = dict(run.spec.options)
    if request.search is not None:  # which rate it comes to is not known
        ours, theirs = ({**one, "learning_rate": None} for one in (ours, theirs))
    asked = (method_name(request.method), request.seed, ours)
    return (run.spec.method, run.spec.seed, theirs) == asked
