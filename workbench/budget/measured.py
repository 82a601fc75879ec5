"""Figures of finished runs on a base, to stand beside the estimates."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from workbench.budget.shape import ModelShape
from workbench.models.catalog import hub_id_of
from workbench.runs.store import RunStore, StoredRun


@dataclass(frozen=True)
class Measured:
    """Medians over the finished runs of one method.

    Attributes:
        runs: How many.
        trained_parameters: As recorded; with other options than planned it is another figure.
        peak_memory_bytes: Of the whole process on a processor, libraries included; of what torch
            allocated on a GPU.
        train_seconds: With the evaluations on dev.
    """

    runs: int
    trained_parameters: int | None
    peak_memory_bytes: int | None
    train_seconds: float | None


def runs_below(folder: Path) -> list[StoredRun]:
    """Return every readable run below a folder."""
    roots = sorted({path.parent.parent for path in folder.rglob("record.json")})
    return [run for root in roots for run in RunStore(root).runs()]


def measured_costs(runs: Iterable[StoredRun], shape: ModelShape) -> dict[str, Measured]:
    """Return what the finished runs on that base measured, by method."""
    found: dict[str, list[StoredRun]] = {}
    for run in runs:
        base = str(run.spec.base.get("name"))
        if run.record.status == "finished" and hub_id_of(base) == hub_id_of(shape.name):
            found.setdefault(run.spec.method, []).append(run)
    return {method: _medians(group) for method, group in found.items()}


def _medians(runs: list[StoredRun]) -> Measured:
    def of(key: str) -> float | None:
        values = [run.record.cost.get(key) for run in runs]
        there = [value for value in values if value is not None]
        return median(there) if there else None

    trained, peak = of("trained_parameters"), of("peak_memory_bytes")
    return Measured(
        runs=len(runs),
        trained_parameters=None if trained is None else round(trained),
        peak_memory_bytes=None if peak is None else round(peak),
        train_seconds=of("train_seconds"),
    )
