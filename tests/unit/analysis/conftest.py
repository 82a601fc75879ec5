"""Finished runs in a real store, made from answers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from specs import spec_of
from workbench import metrics
from workbench.analysis.comparison import ComparedRun
from workbench.estimates import Estimate
from workbench.fitting.prediction import Prediction
from workbench.runs.store import RunRecord, RunStore

COST = {
    "trained_parameters": 0,
    "stored_bytes": 0,
    "train_seconds": 0.0,
    "peak_memory_bytes": 800_000_000,
    "labelled_examples": 0,
    "dev_evaluations": 0,
    "prompt_tokens_mean": 30.5,
    "generated_tokens_mean": 0.0,
    "milliseconds_per_item": 12.25,
}


def predictions_of(
    answers: Sequence[str | None],
    targets: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    **columns: Any,
) -> list[Prediction]:
    """Return one prediction per answer; further columns hold one value for all."""
    names = ids or [f"item-{number}" for number in range(len(answers))]
    return [
        Prediction(name, target, answer, **columns)
        for name, target, answer in zip(names, targets, answers, strict=True)
    ]


@dataclass(frozen=True)
class RunBuilder:
    """Writes runs below one folder."""

    store: RunStore

    def __call__(
        self,
        row: str,
        predictions: Sequence[Prediction],
        *,
        method: str | None = None,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        base: Mapping[str, Any] | None = None,
        task: Mapping[str, Any] | None = None,
        template: Mapping[str, Any] | None = None,
        history: Sequence[Mapping[str, float]] = (),
        **record: Any,
    ) -> ComparedRun:
        """Return a stored run with the metrics its predictions give."""
        spec = spec_of(
            method or row,
            base=base,
            task={"num_test": len(predictions)} | dict(task or {}),
            template=template,
            options=options,
            seed=seed,
        )
        given = {
            "status": "finished",
            "source": "local folder",
            "started": "2026-01-01T00:00:00+00:00",
            "metrics": measured(predictions, kind=spec.task.kind),
            "cost": COST,
            "dropped": {"train: same text as a test row": 2},
            "environment": {"torch": "2.9", "threads": 2},
        }
        with self.store.working_on(spec) as folder:
            self.store.write_predictions(spec.run_id, predictions)
            if history:
                lines = "".join(json.dumps(entry) + "\n" for entry in history)
                (folder / "history.jsonl").write_text(lines)
            self.store.write_record(RunRecord(run_id=spec.run_id, row=row, **(given | record)))
        found = self.store.find(spec.run_id)
        assert found is not None
        return ComparedRun(row, found)


def measured(predictions: Sequence[Prediction], *, kind: str) -> dict[str, Estimate]:
    """Return the metrics the runner stores that these tests look at."""
    answers = [p.answer for p in predictions]
    targets = [p.target for p in predictions]
    if kind == "classification":
        labels = sorted({*targets, *(a for a in answers if a is not None)})
        return {
            "accuracy": metrics.accuracy(answers, targets),
            "macro_f1": metrics.macro_f1(answers, targets, labels=labels),
        }
    exact = metrics.exact_match(answers, targets)
    return {"accuracy": exact, "exact_match": exact}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., ComparedRun]:
    """Return a builder of finished runs in a store of this test."""
    return RunBuilder(RunStore(tmp_path / "runs"))


@pytest.fixture
def predict() -> Callable[..., list[Prediction]]:
    """Return the maker of predictions."""
    return predictions_of
