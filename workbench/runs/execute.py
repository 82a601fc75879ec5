"""Execute one run: fit, predict, measure, store. Finished runs are found again."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np

from workbench.atomic import explained, write_text
from workbench.errors import RoomError, RunError, StoreError, WorkbenchError
from workbench.fitting.base import FitContext, FittedMethod, Method, SupportsSave, TrainedCost
from workbench.fitting.prediction import Prediction, predict
from workbench.memory import PeakMemory, is_out_of_memory
from workbench.methods.catalog import make_method
from workbench.models.sentence_encoder import SentenceEncoder
from workbench.progress import Interrupted, Progress, ProgressEvent, ignore_progress
from workbench.runs.baselines import applies, baseline_predictions
from workbench.runs.experiment import RateSearch
from workbench.runs.joint_training import fit_jointly
from workbench.runs.model_card import write_model_card
from workbench.runs.origin import has_origin, keep_origin
from workbench.runs.provenance import provenance
from workbench.runs.run_cost import RunCost
from workbench.runs.run_files import CARD
from workbench.runs.session import Session, environment
from workbench.runs.spec import RunSpec
from workbench.runs.store import (
    PREDICTIONS,
    BrokenRun,
    RunRecord,
    RunStore,
    StoredRun,
    remove_unlike_file,
)
from workbench.runs.task_metrics import measure, with_scores
from workbench.runs.trimming import clear_for_others, has_learned, trim_finished, trim_members

_LOG = "error.log"
_DONE = {True: ("trained", "finished"), False: ("finished",)}  # by whether the run is a trial


@dataclass(frozen=True)
class RunRequest:
    """One row and seed of an experiment.

    Attributes:
        row: Name of the row.
        method: With all its options.
        seed: The run's one seed.
        search: How the row looks for its learning rate first; None where the options say it.
        is_trial: Only train, keep the dev score, and leave the test split alone.
        place: Where it stands on an axis, for whoever watches; decides nothing.
    """

    row: str
    method: Method
    seed: int
    search: RateSearch | None = None
    is_trial: bool = False
    place: str = ""


def execute(
    session: Session,
    store: RunStore,
    request: RunRequest,
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> StoredRun:
    """Return the finished run of a request, executing it only if the store does not have it.

    An unfinished run goes on from its last checkpoint, a trained one with the test split. A trial
    ends when it is trained; whether a spec's run has been asked for more than that is no part of
    the spec, because it changes no number of the run. What is damaged is made again: the run, or
    only what comes after training if that is all; a note and the record's warnings say so.

    Raises:
        Interrupted: asked to stop; what is done so far is kept.
        BusyRun: another process works on it, or has taken it over; it can be found later.
        StoreError: the folder cannot be written.
        RunError: out of memory, or an error of ours; its traceback is in the run's folder.
        WorkbenchError: whatever else its method cannot do.
    """
    spec = session.spec_of(request.method, request.seed)
    found, damage = _found(store, spec)
    done = _DONE[request.is_trial]
    if found is not None and not damage and found.record.status in done:
        if found.folder.parent == store.root:
            _tidy(session, store, found)
        return found
    notes: list[str] = []

    def told(event: ProgressEvent) -> None:
        if event.note:
            event = replace(event, note=f"run {spec.run_id}: {event.note}")
            notes.append(event.note)
        progress(event)

    with store.working_on(spec) as folder:
        # Its spec is written again by now, which may be all that was missing; and another process
        # may have ended it before this one held it.
        found, left = _found(store, spec)
        is_whole = found is not None and not left and found.record.status in done
        if damage:
            told(_note(damage, found, is_whole=is_whole))
        if is_whole:
            return _stored(store, spec)
        if session.experiment is not None:
            keep_origin(store, spec.run_id, session.experiment)
        context = session.context(request.seed, folder, adapter_name=spec.digest)
        context = replace(context, progress=told, should_stop=should_stop)
        _end(session, store, context, request=request, spec=spec, found=found, notes=notes)
    return _stored(store, spec)


def _end(
    session: Session,
    store: RunStore,
    context: FitContext,
    *,
    request: RunRequest,
    spec: RunSpec,
    found: StoredRun | None,
    notes: Sequence[str],
) -> None:
    """Bring a run that is held to its end, from wherever it was left."""
    try:
        trained = _restored(store, context, request.method, found)
        if trained is not None:
            _go_on(session, store, context, trained=trained, notes=notes)
        else:
            _make(session, store, context, request=request, spec=spec, notes=notes)
    finally:  # a stopped run goes on with the same engine where training comes in chunks
        if spec.digest in session.engine.adapters.names:
            session.engine.adapters.remove(spec.digest)
    trim_finished(context.folder)
    (context.folder / _LOG).unlink(missing_ok=True)


def _go_on(
    session: Session,
    store: RunStore,
    context: FitContext,
    *,
    trained: tuple[StoredRun, FittedMethod],
    notes: Sequence[str],
) -> None:
    """Finish a trained run."""
    found, fitted = trained
    # Whatever goes wrong from here on, what is trained stays so.
    with _recorded_failure(store, found.spec.run_id, None):
        record = _with_notes(found.record, notes)
        _predicted(session, store, context, (found.spec, record), fitted)


def _restored(
    store: RunStore, context: FitContext, method: Method, run: StoredRun | None
) -> tuple[StoredRun, FittedMethod] | None:
    """Return a trained run with what it learned; None where there is nothing to go on from.

    So it is with a run from before digests were kept whose adapter cannot be read.
    """
    if run is None or not has_learned(run):
        return None
    try:
        with _recorded_failure(store, run.spec.run_id, None):
            return run, method.restore(context, run.adapter_folder)
    except WorkbenchError as error:
        if run.files or isinstance(error, RoomError) or is_out_of_memory(error):
            raise
    if run.spec.digest in context.engine.adapters.names:
        context.engine.adapters.remove(run.spec.digest)
    context.progress(_note("what it learned cannot be read", None, is_whole=False))
    return None


def _make(
    session: Session,
    store: RunStore,
    context: FitContext,
    *,
    request: RunRequest,
    spec: RunSpec,
    notes: Sequence[str],
) -> None:
    """Make a run from its beginning or its last checkpoint; `notes` may grow meanwhile."""
    record = _with_notes(_start(session, spec, request.row), notes)
    store.write_record(record)
    with _recorded_failure(store, spec.run_id, record):
        record, fitted = _trained(context, request.method, record)
        record = _with_notes(record, notes)
        if request.is_trial:
            trim_members(context.folder)
            store.write_record(record.model_copy(update={"status": "trained"}))
        else:
            _predicted(session, store, context, (spec, record), fitted)


def _found(store: RunStore, spec: RunSpec) -> tuple[StoredRun | None, str]:
    """Return the run of a spec as far as it is whole, and what is damaged, "" if nothing is.

    One that lost only what is made after training counts as trained.
    """
    found = store.look(spec.run_id)
    if found is None:
        return None, ""
    if isinstance(found, BrokenRun):
        return None, "" if found.is_beginning else found.reason
    if found.spec != spec:
        return None, "spec.json is that of another run"
    damaged = found.damaged()
    if not damaged:
        return found, ""
    what = f"{', '.join(damaged)} {'is' if len(damaged) == 1 else 'are'} not what was written"
    if damaged == [PREDICTIONS] and found.folder.parent == store.root:
        changes: dict[str, object] = {"status": "trained", "finished": None, "metrics": {}}
        return replace(found, record=found.record.model_copy(update=changes)), what
    return None, what


def _note(damage: str, found: StoredRun | None, *, is_whole: bool) -> ProgressEvent:
    """Return the event that says what was damaged and what is done about it."""
    if is_whole:
        done = "the file was written again"
    elif found is not None and found.record.status == "trained":
        done = "the test split is predicted again"
    else:
        done = "the run is made again, from its last checkpoint if it has one"
    return ProgressEvent("damaged", 0, 0, note=f"{damage}; {done}.")


def _with_notes(record: RunRecord, notes: Sequence[str]) -> RunRecord:
    warnings = tuple(dict.fromkeys((*record.warnings, *notes)))
    return record.model_copy(update={"warnings": warnings})


def _tidy(session: Session, store: RunStore, run: StoredRun) -> None:
    """Write again what a finished run lost that decides no number, and clear it, where it can be.

    That is where it comes from, and its model card.
    """
    if session.experiment is not None and not has_origin(run):
        with suppress(StoreError):
            keep_origin(store, run.record.run_id, session.experiment)
    trim_finished(run.folder)  # left by a kill after the record was written
    card, adapter = run.folder / CARD, run.adapter_folder
    if run.record.status == "finished" and adapter.is_dir() and not card.is_file():
        with suppress(StoreError, ValueError), explained(card):
            remove_unlike_file(card)
            write_model_card(adapter, run.spec, run.record, session.encoder)


@contextmanager
def _recorded_failure(store: RunStore, run_id: str, record: RunRecord | None) -> Iterator[None]:
    """Store why a run ended early, then let the error go on; a bug of ours as a `RunError`.

    Args:
        store: Where the run is.
        run_id: Its name.
        record: What becomes "failed" or "interrupted"; None leaves the record as it is.
    """

    def end(**changes: object) -> None:
        if record is not None:
            store.write_record(record.model_copy(update=changes))

    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        end(status="interrupted")
        raise
    except RoomError as error:
        if record is not None:
            clear_for_others(store.root / run_id)
        end(status="failed", error=str(error))
        raise
    except StoreError:  # the record could not be written either
        raise
    except WorkbenchError as error:
        end(status="failed", error=str(error))
        raise
    except Exception as error:
        text, log = traceback.format_exc(), store.root / run_id / _LOG
        write_text(log, text)
        end(status="failed", error=text)
        where = f"The traceback is in {run_id}/{_LOG}."
        raise RunError(f"{_reason(error)} {where}") from error


def _reason(error: Exception) -> str:
    """Return what to tell about an error that is not the user's."""
    text = (str(error).splitlines() or [""])[0]
    if is_out_of_memory(error):
        return (
            f"out of memory ({text}). Use weights_in_memory 'packed', micro_batch_size 1, "
            "gradient_checkpointing, or shorter texts."
        )
    return f"ended by an error of ours ({type(error).__name__}: {text})."


def execute_baseline(
    session: Session, store: RunStore, name: str, embed: SentenceEncoder | None
) -> StoredRun | None:
    """Return the finished run of a baseline; None where it does not apply to the task."""
    spec = session.spec(name, {}, 0)
    found, damage = _found(store, spec)
    if found is not None and found.record.status == "finished":
        return found
    if not applies(name, session.task, embed):
        return None
    notes = [f"run {spec.run_id}: {damage}; the run is made again."] if damage else []
    with store.working_on(spec):
        found, _ = _found(store, spec)
        if found is not None and found.record.status == "finished":  # by another process meanwhile
            return found
        record = _with_notes(_start(session, spec, name), notes)
        store.write_record(record)  # embedding takes a while
        with _recorded_failure(store, spec.run_id, record):
            predictions = baseline_predictions(name, session.task, embed)
            store.write_predictions(record.run_id, with_scores(session.task, predictions))
            store.write_record(_finished(session, record, predictions, RunCost()))
    return _stored(store, spec)


def find_done(store: RunStore, spec: RunSpec, *, is_trial: bool) -> StoredRun | None:
    """Return the run of a spec if all that is asked of it is done and whole, else None."""
    found, damage = _found(store, spec)
    is_done = found is not None and not damage and found.record.status in _DONE[is_trial]
    return found if is_done else None


def is_finished(store: RunStore, spec: RunSpec) -> bool:
    """Return whether the run of a spec is finished and whole."""
    found, _ = _found(store, spec)
    return found is not None and found.record.status == "finished"


def find_run(session: Session, store: RunStore, method: Method, seed: int) -> StoredRun | None:
    """Return the finished run of a method with these options, or None.

    Raises:
        DamagedFile: it cannot be read.
    """
    found = store.find(session.spec_of(method, seed).run_id)
    return found if found is not None and found.record.status == "finished" else None


def restore(session: Session, run: StoredRun) -> FittedMethod:
    """Return a finished run's fitted method, ready to condition new texts.

    Raises:
        DamagedFile: what it learned is not what was written.
    """
    run.check_learned()
    method = make_method(run.spec.method, run.spec.options)
    context = session.context(run.spec.seed, run.folder, adapter_name=run.spec.digest)
    return method.restore(context, run.adapter_folder)


def _trained(
    context: FitContext, method: Method, record: RunRecord
) -> tuple[RunRecord, FittedMethod]:
    """Fit and save the adapter; return the record with what that took, and the fitted method."""
    stored = context.folder / "adapter"
    with PeakMemory(context.engine.info.device) as memory:
        fitted = fit_jointly(context, method)
        if isinstance(method, SupportsSave):
            method.save(context, fitted, stored)
    took = fitted.cost or TrainedCost(trained_parameters=0, stored_bytes=0, train_seconds=0.0)
    num_dev = len(context.task.dev)
    unseen = 0 if took.dev_items is None else num_dev - took.dev_items  # with their labels
    cost = RunCost(
        trained_parameters=took.trained_parameters,
        stored_bytes=_folder_bytes(stored) or took.stored_bytes,
        train_seconds=took.train_seconds,
        best_step=took.best_step,
        learning_rate=took.learning_rate,
        dev_evaluations=took.dev_evaluations,
        dev_items=took.dev_items,
        dev_accuracy=took.dev_accuracy,
        dev_loss=took.dev_loss,
        peak_memory_bytes=memory.num_bytes or None,
        labelled_examples=method.labelled_examples(context.task) - unseen,
    )
    return record.model_copy(update={"cost": cost, "cautions": list(fitted.cautions)}), fitted


def _predicted(
    session: Session,
    store: RunStore,
    context: FitContext,
    trained: tuple[RunSpec, RunRecord],
    fitted: FittedMethod,
) -> None:
    """Predict the test split and finish a trained run; its record is written last and seals it."""
    spec, record = trained
    with PeakMemory(context.engine.info.device) as memory:
        began = perf_counter()
        predictions = predict(
            context.engine,
            fitted,
            context.task.test,
            progress=context.progress,
            should_stop=context.should_stop,
        )
        seconds = perf_counter() - began
    peak = max(memory.num_bytes or 0, record.cost.peak_memory_bytes or 0)
    measured = {
        "peak_memory_bytes": peak or None,
        "prompt_tokens_mean": float(np.mean([p.prompt_tokens for p in predictions])),
        "generated_tokens_mean": float(np.mean([p.generated_tokens for p in predictions])),
        "milliseconds_per_item": 1000.0 * seconds / len(predictions),
    }
    cost = record.cost.model_copy(update=measured)
    record = _finished(session, record, predictions, cost)
    store.write_predictions(record.run_id, with_scores(session.task, predictions))
    adapter = context.folder / "adapter"
    if adapter.is_dir():
        write_model_card(adapter, spec, record, session.encoder)
    trim_members(context.folder)
    store.write_record(record)


def _start(session: Session, spec: RunSpec, row: str) -> RunRecord:
    return RunRecord(
        run_id=spec.run_id,
        row=row,
        status="running",
        source=session.info.source,
        started=_now(),
        dropped=dict(session.task.dropped.counts),
        warnings=session.task.warnings,
        environment=environment(session.info),
        provenance=provenance(),
    )


def _finished(
    session: Session, record: RunRecord, predictions: Sequence[Prediction], cost: RunCost
) -> RunRecord:
    return record.model_copy(
        update={
            "status": "finished",
            "finished": _now(),
            "metrics": measure(session.task, predictions),
            "cost": cost,
        }
    )


def _stored(store: RunStore, spec: RunSpec) -> StoredRun:
    found = store.find(spec.run_id)
    assert found is not None, spec.run_id
    return found


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
