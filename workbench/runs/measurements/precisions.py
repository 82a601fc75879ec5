"""Measure one base in several precisions, one after the other; each is kept and found again."""

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from workbench.encoding import PromptEncoder
from workbench.fitting.base import FittedMethod
from workbench.memory import keep_freed_memory
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
from workbench.runs.session import Session, asked_base, environment
from workbench.tasks.base import Task
from workbench.tasks.text import PlainText
from workbench.templates import PromptTemplate

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


@dataclass(frozen=True)
class AskedPrecisions:
    """What is measured in one precision or another; can be sent to other machines.

    Attributes:
        experiment: The base; its own precision and methods do not matter.
        task: Its test items are answered.
        template: Its wording.
        text: What perplexity is taken of; None: the task's test texts.
    """

    experiment: Experiment
    task: Task
    template: PromptTemplate
    text: PlainText | None = None

    def __post_init__(self) -> None:
        check_answerable(self.task)

    def spec(self, precision: Precision) -> dict[str, Any]:
        """Return what decides the figures of a precision here, without loading the base.

        Raises:
            ModelError: there is no such base.
            ConfigError: the precision or the device is not possible.
        """
        asked = self.experiment
        device, products = products_of(precision, asked.compute_dtype, asked.device)
        # As threads, this decides times; none but 4-bit weights can be kept unpacked.
        is_4_bit = uses_double_quantisation(precision) is not None
        kept = {"weights_in_memory": asked.weights_in_memory} if is_4_bit else {}
        return {
            "base": {
                "identity": find_weights(asked.model, asked.revision).identity,
                "precision": precision,
                "compute_dtype": products,
                "device": device,
                **kept,
            },
            "task": self.task.digest,
            "template": self.template.digest,
            "chat": asked.chat,
            "text": _TASK_TEXTS if self.text is None else self.text.digest,
            "windows": [BLOCK, CONTEXT],
            "threads": torch.get_num_threads(),
        }

    def measure(self, precision: Precision, folder: Path, progress: Progress) -> PrecisionRecord:
        """Load the base in a precision and measure it.

        Args:
            precision: The one.
            folder: For what a method may write.
            progress: Told about the steps.

        Raises:
            ModelError: the base cannot be loaded.
        """
        asked = self.experiment.model_copy(update={"precision": precision})
        keep_freed_memory()
        engine = Engine(asked_base(asked))
        encoder = PromptEncoder(engine.tokenizer, self.template, self.task, asked.chat)
        session = Session(engine, encoder, asked)
        weights_folder = find_weights(asked.model, asked.revision).folder
        # Before any forward pass, in case a library moves the weights in the first one.
        weights = weight_errors(engine.forward.model, weights_folder)
        test = self.task.test
        texts = ["\n".join(s.fields.values()) for s in test] if not self.text else [self.text.text]
        lost = text_loss(engine, texts, progress=progress)  # first: a GPU's first passes are slow
        plain = _fitted(session, folder, calibrate=False)
        answers = {ZERO_SHOT: answers_to_test(engine, plain, progress=progress)}
        if self.task.labels:
            calibrated = _fitted(session, folder, calibrate=True)
            answers[CALIBRATED] = answers_to_test(engine, calibrated, progress=progress)
        return PrecisionRecord(
            base=asdict(engine.info),
            weights=weights,
            text_name=_TASK_TEXTS if self.text is None else self.text.name,
            text=lost,
            answers=answers,
            decoded_tokens_per_second=_decoding_speed(engine, plain),
            packed_tokens_per_second=_packed_speed(engine, plain),
            environment=environment(engine.info),
            provenance=provenance(),
        )


def measure_precisions(
    asked: AskedPrecisions,
    precisions: Sequence[Precision],
    store: MeasurementStore,
    *,
    progress: Callable[[Precision], Progress] = lambda _: ignore_progress,
) -> Iterator[MeasuredPrecision]:
    """Yield the base in each precision; only one is in memory at a time.

    Args:
        asked: What is measured.
        precisions: In the order to measure.
        store: Finished parts are found there and kept there.
        progress: Returns whom to tell about the steps of a precision.

    Raises:
        ConfigError: an option is wrong.
        ModelError: the base cannot be loaded.
    """
    specs = {precision: asked.spec(precision) for precision in precisions}
    for precision, spec in specs.items():
        found = store.find(precision, spec, PrecisionRecord)
        if found is None:
            record = asked.measure(precision, store.folder, progress(precision))
            store.keep(precision, spec, record)
            _release()
            yield MeasuredPrecision(record, was_found=False)
        else:
            yield MeasuredPrecision(found, was_found=True)


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
