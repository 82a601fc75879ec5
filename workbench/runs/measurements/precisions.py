"""Measure one base in several precisions, one after the other; each is kept and found again."""

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from workbench.fitting.base import FittedMethod
from workbench.methods.catalog import make_method
from workbench.models.base import Conditioning, GenerationOptions, Precision
from workbench.models.engine import Engine
from workbench.models.loading import products_of, uses_double_quantisation
from workbench.models.perplexity import BLOCK, CONTEXT
from workbench.models.quantisation import weight_errors
from workbench.models.quantised_layers import unpacked_anew
from workbench.models.weights import find_weights
from workbench.progress import Progress, ignore_progress
from workbench.runs.experiment import Experiment
from workbench.runs.measurements.loss_and_answers import (
    answers_to_test,
    check_answerable,
    text_loss,
)
from workbench.runs.measurements.records import MeasurementStore, PrecisionRecord
from workbench.runs.provenance import provenance
from workbench.runs.session import Session, environment, open_session, open_task, open_template
from workbench.tasks.base import Task
from workbench.tasks.text import PlainText

ZERO_SHOT = "zero_shot"
CALIBRATED = "zero_shot_calibrated"
_TASK_TEXTS = "texts of the task"
_DECODED_PROMPTS = 6
_DECODED_TOKENS = 32  # of each


@dataclass(frozen=True)
class MeasuredPrecision:
    """A record, and whether it was there already."""

    record: PrecisionRecord
    was_found: bool


def measure_precisions(
    experiment: Experiment,
    precisions: Sequence[Precision],
    store: MeasurementStore,
    *,
    text: PlainText | None = None,
    progress: Callable[[Precision], Progress] = lambda _: ignore_progress,
) -> Iterator[MeasuredPrecision]:
    """Yield the base of an experiment in each precision; only one is in memory at a time.

    Args:
        experiment: Base, task and wording; its own precision and methods do not matter.
        precisions: In the order to measure.
        store: Finished parts are found there and kept there.
        text: What perplexity is taken of; the task's test texts unless given.
        progress: Returns whom to tell about the steps of a precision.

    Raises:
        ConfigError: the task cannot be measured this way, or an option is wrong.
        ModelError: the base cannot be loaded.
    """
    task = open_task(experiment.task)
    check_answerable(task)
    identity = find_weights(experiment.model, experiment.revision).identity
    specs = {p: _spec(experiment, task, p, text, identity=identity) for p in precisions}
    for precision in precisions:
        found = store.find(precision, specs[precision], PrecisionRecord)
        if found is None:
            chosen = experiment.model_copy(update={"precision": precision})
            record = _measure(chosen, store, text, progress(precision))
            store.keep(precision, specs[precision], record)
            _release()
            yield MeasuredPrecision(record, was_found=False)
        else:
            yield MeasuredPrecision(found, was_found=True)


def _spec(
    experiment: Experiment,
    task: Task,
    precision: Precision,
    text: PlainText | None,
    *,
    identity: str,
) -> dict[str, Any]:
    """Return what decides the figures of a precision, without loading the base."""
    device, products = products_of(precision, experiment.compute_dtype, experiment.device)
    # As threads, this decides times; none but 4-bit weights can be kept unpacked.
    is_4_bit = uses_double_quantisation(precision) is not None
    kept = {"weights_in_memory": experiment.weights_in_memory} if is_4_bit else {}
    template = open_template(experiment.template, task)
    return {
        "base": {
            "identity": identity,
            "precision": precision,
            "compute_dtype": products,
            "device": device,
            **kept,
        },
        "task": task.digest,
        "template": template.digest,
        "chat": experiment.chat,
        "text": _TASK_TEXTS if text is None else text.digest,
        "windows": [BLOCK, CONTEXT],
        "threads": torch.get_num_threads(),
    }


def _measure(
    experiment: Experiment, store: MeasurementStore, text: PlainText | None, progress: Progress
) -> PrecisionRecord:
    session = open_session(experiment)
    engine, task = session.engine, session.task
    folder = find_weights(experiment.model, experiment.revision).folder
    # Before any forward pass, in case a library moves the weights in the first one.
    weights = weight_errors(engine.forward.model, folder)
    texts = ["\n".join(s.fields.values()) for s in task.test] if text is None else [text.text]
    lost = text_loss(engine, texts, progress=progress)  # first: a GPU's first passes are slow
    plain = _fitted(session, store.folder, calibrate=False)
    answers = {ZERO_SHOT: answers_to_test(engine, plain, progress=progress)}
    if task.labels:
        calibrated = _fitted(session, store.folder, calibrate=True)
        answers[CALIBRATED] = answers_to_test(engine, calibrated, progress=progress)
    return PrecisionRecord(
        base=asdict(engine.info),
        weights=weights,
        text_name=_TASK_TEXTS if text is None else text.name,
        text=lost,
        answers=answers,
        decoded_tokens_per_second=_decoding_speed(engine, plain),
        packed_tokens_per_second=_packed_speed(engine, plain),
        environment=environment(engine.info),
        provenance=provenance(),
    )


def _fitted(session: Session, folder: Path, *, calibrate: bool) -> FittedMethod:
    method = make_method("zero_shot", {"calibrate": calibrate})
    return method.fit(session.context(0, folder))


def _decoding_speed(engine: Engine, fitted: FittedMethod) -> float | None:
    """Return tokens per second of greedy decoding, one row at a time, the prompt's time left out.

    It is the difference between writing many tokens and writing one, over the same prompts.
    """
    samples = fitted.encoder.task.test[:_DECODED_PROMPTS]
    rows = [fitted.condition(sample.fields) for sample in samples]
    _decode(engine, rows[0], 1)  # the first one also fills the prefix cache
    num_tokens, seconds = 0, 0.0
    for row in rows:
        few, many = _decode(engine, row, 1), _decode(engine, row, _DECODED_TOKENS)
        num_tokens += many[0] - few[0]
        seconds += many[1] - few[1]
    return num_tokens / seconds if num_tokens > 0 and seconds > 0 else None


def _packed_speed(engine: Engine, fitted: FittedMethod) -> float | None:
    """Return that of a base whose weights are unpacked beside it, without these; else None.

    So that a precision's memory can be held against the speed it has in that memory.
    """
    if not engine.info.restored_bytes:
        return None
    with unpacked_anew(engine.forward.model):
        return _decoding_speed(engine, fitted)


def _decode(engine: Engine, row: Conditioning, most: int) -> tuple[int, float]:
    began = perf_counter()
    (written,) = engine.generate([row], GenerationOptions(max_new_tokens=most))
    return len(written.token_ids), perf_counter() - began


def _release() -> None:
    """Give back what the last base took, so that two never lie in memory together."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
