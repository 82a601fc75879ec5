"""Figures of finished runs on a base, to stand beside the estimates."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from workbench.budget.plan import Question
from workbench.models.catalog import hub_id_of
from workbench.runs.store import BrokenRun, RunStore, StoredRun, folders_below, sort_runs


@dataclass(frozen=True)
class Measured:
    """Medians over the finished runs of one method.

    Attributes:
        runs: How many.
        trained_parameters: As recorded; with other options than planned it is another figure.
        peak_memory_bytes: The whole process on a processor, libraries included; what torch
            allocated on a GPU.
        train_seconds: With the evaluations on dev.
    """

    runs: int
    trained_parameters: int | None
    peak_memory_bytes: int | None
    train_seconds: float | None


def runs_below(folder: Path) -> tuple[list[StoredRun], list[BrokenRun]]:
    """Return every run below a folder that can be read, and those that cannot."""
    return sort_runs(run for root in folders_below(folder) for run in RunStore(root).everything())


def measured_costs(runs: Iterable[StoredRun], question: Question) -> dict[str, Measured]:
    """Return what the finished runs on that base measured, by method.

    Only those in the same precision and, as asked for, on a GPU or on a processor; which card it
    was, and how many rows and steps, may differ.
    """
    found: dict[str, list[StoredRun]] = {}
    for run in runs:
        base = run.spec.base
        is_alike = (
            hub_id_of(base.name) == hub_id_of(question.shape.name)
            and base.precision == question.precision
            and (base.device == "cuda") == question.device.is_gpu
        )
        if run.record.status == "finished" and is_alike:
            found.setdefault(run.spec.method, []).append(run)
    return {method: _medians(group) for method, group in found.items()}


def _medians(runs: list[StoredRun]) -> Measured:
    costs = [run.record.cost for run in runs]
    trained = _median(cost.trained_parameters for cost in costs)
    peak = _median(cost.peak_memory_bytes for cost in costs)
    return Measured(
        runs=len(runs),
        trained_parameters=None if trained is None else round(trained),
        peak_memory_bytes=None if peak is None else round(peak),
        train_seconds=_median(cost.train_seconds for cost in costs),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
