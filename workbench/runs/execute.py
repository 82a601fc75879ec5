"""Execute one run: fit, predict, measure, store. Finished runs are found again."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np

from workbench.errors import StoreError, WorkbenchError
from workbench.memory import PeakMemory
from workbench.methods.base import FitContext, FittedMethod, Method, SupportsSave
from workbench.methods.catalog import make_method
from workbench.methods.prediction import Prediction, predict
from workbench.models.embeddings import SentenceEncoder
from workbench.progress import Interrupted, Progress, ignore_progress
from workbench.runs.baselines import baseline_predictions
from workbench.runs.measure import measure
from workbench.runs.model_card import write_model_card
from workbench.runs.session import Session, environment
from workbench.runs.spec import RunSpec
from workbench.runs.store import RunRecord, RunStore, StoredRun


@dataclass(frozen=True)
class RunRequest:
    """One row and seed of an experiment.

    Attributes:
        row: Name of the row.
        method: Name of the method.
        options: As given; defaults are filled in.
        seed: The run's one seed.
    """

    row: str
    method: str
    options: dict[str, object]
    seed: int


def execute(
    session: Session,
    store: RunStore,
    request: RunRequest,
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> StoredRun:
    """Return the finished run of a request, executing it only if the store does not have it.

    An unfinished run goes on from its last checkpoint.

    Raises:
        ConfigError: the request's method or options are wrong.
        Interrupted: asked to stop; what is done so far is kept.
        StoreError: the folder cannot be written.
    """
    method = make_method(request.method, request.options)
    found = find_run(session, store, request.method, method, request.seed)
    if found is not None:
        return found
    spec = session.spec(request.method, resolved_options(method), request.seed)
    with store.working_on(spec) as folder:
        context = session.context(request.seed, folder, adapter_name=spec.digest)
        context = replace(context, progress=progress, should_stop=should_stop)
        record = _start(session, spec, request.row)
        store.write_record(record)
        try:
            with _recorded_failure(store, record):
                predictions, cost = _fit_and_predict(context, method)
                record = _finish(session, store, record, predictions, cost)
                if isinstance(method, SupportsSave):
                    write_model_card(folder / "adapter", spec, record, session.encoder)
        finally:  # a stopped run goes on with the same engine where training comes in chunks
            if spec.digest in session.engine.adapters.names:
                session.engine.adapters.remove(spec.digest)
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return _stored(store, spec)


@contextmanager
def _recorded_failure(store: RunStore, record: RunRecord) -> Iterator[None]:
    """Store why a run ended early, then let the error go on."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        store.write_record(record.model_copy(update={"status": "interrupted"}))
        raise
    except StoreError:  # the record could not be written either
        raise
    except Exception as error:
        text = str(error) if isinstance(error, WorkbenchError) else traceback.format_exc()
        store.write_record(record.model_copy(update={"status": "failed", "error": text}))
        raise


def execute_baseline(
    session: Session, store: RunStore, name: str, embed: SentenceEncoder | None
) -> StoredRun | None:
    """Return the finished run of a baseline; None where it does not apply to the task."""
    spec = session.spec(name, {}, 0)
    found = store.find(spec.run_id)
    if found is not None and found.record.status == "finished":
        return found
    predictions = baseline_predictions(name, session.task, embed)
    if predictions is None:
        return None
    with store.working_on(spec):
        _finish(session, store, _start(session, spec, name), predictions, {})
    return _stored(store, spec)


def run_id_of(session: Session, request: RunRequest) -> str:
    """Return the name of the folder a request's run has or will have."""
    method = make_method(request.method, request.options)
    return session.spec(request.method, resolved_options(method), request.seed).run_id


def find_run(
    session: Session, store: RunStore, name: str, method: Method, seed: int
) -> StoredRun | None:
    """Return the finished run of a method with these options, or None."""
    found = store.find(session.spec(name, resolved_options(method), seed).run_id)
    return found if found is not None and found.record.status == "finished" else None


def restore(session: Session, run: StoredRun) -> FittedMethod:
    """Return a finished run's fitted method, ready to condition new texts."""
    method = make_method(run.spec.method, run.spec.options)
    context = session.context(run.spec.seed, run.folder, adapter_name=run.spec.digest)
    return method.restore(context, run.adapter_folder)


def resolved_options(method: Method) -> dict[str, object]:
    """Return all options of a method, defaults included."""
    return {field.name: getattr(method, field.name) for field in fields(method)}


def _fit_and_predict(
    context: FitContext, method: Method
) -> tuple[list[Prediction], dict[str, float | int | None]]:
    """Fit, save the adapter, predict the test split; return predictions and costs."""
    stored = context.folder / "adapter"
    with PeakMemory() as memory:
        fitted = method.fit(context)
        if isinstance(method, SupportsSave):
            method.save(context, fitted, stored)
        began = perf_counter()
        predictions = predict(
            context.engine,
            fitted,
            context.task.test,
            progress=context.progress,
            should_stop=context.should_stop,
        )
        seconds = perf_counter() - began
    trained = fitted.cost
    cost: dict[str, float | int | None] = {
        "trained_parameters": trained.trained_parameters if trained else 0,
        "stored_bytes": (_folder_bytes(stored) or trained.stored_bytes) if trained else 0,
        "train_seconds": trained.train_seconds if trained else 0.0,
        "best_step": trained.best_step if trained else None,
        "learning_rate": trained.learning_rate if trained else None,
        "peak_memory_bytes": memory.num_bytes or None,
        "labelled_examples": method.labelled_examples(context.task),
        "prompt_tokens_mean": float(np.mean([p.prompt_tokens for p in predictions])),
        "generated_tokens_mean": float(np.mean([p.generated_tokens for p in predictions])),
        "milliseconds_per_item": 1000.0 * seconds / len(predictions),
    }
    return predictions, cost


def _start(session: Session, spec: RunSpec, row: str) -> RunRecord:
    return RunRecord(
        run_id=spec.run_id,
        row=row,
        status="running",
        source=session.engine.info.source,
        started=_now(),
        dropped=dict(session.task.dropped.counts),
        environment=environment(),
    )


def _finish(
    session: Session,
    store: RunStore,
    record: RunRecord,
    predictions: Sequence[Prediction],
    cost: dict[str, float | int | None],
) -> RunRecord:
    store.write_predictions(record.run_id, predictions)
    finished = record.model_copy(
        update={
            "status": "finished",
            "finished": _now(),
            "metrics": measure(session.task, predictions),
            "cost": cost,
        }
    )
    store.write_record(finished)
    return finished


def _stored(store: RunStore, spec: RunSpec) -> StoredRun:
    found = store.find(spec.run_id)
    assert found is not None, spec.run_id
    return found


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
