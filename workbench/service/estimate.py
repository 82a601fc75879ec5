"""What a training will cost, before it starts: parameters by formula, time by one real step."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from workbench.batches import Example, micro_batches, rows_of_a_pass
from workbench.errors import ConfigError
from workbench.fitting.base import FittedMethod, Method, SupportsSave
from workbench.fitting.dev_sample import dev_sample
from workbench.fitting.learning import dev_score, training_examples
from workbench.methods.catalog import method_name
from workbench.models.base import Prefix
from workbench.runs.session import Session
from workbench.training.loss import answer_loss
from workbench.training.options import TrainingOptions

_ADAM_BYTES = 16  # per trained parameter: value, gradient and two moments in float32
_BATCHES = 2  # of which the first warms up
_DEV_ITEMS = 32
_AGAIN = 1.5  # forward, forward again and backward, each about as long


@dataclass(frozen=True)
class StepCost:
    """Measured on this machine with a session's texts.

    Attributes:
        seconds_per_token: Forward and backward pass, per position of a batch.
        tokens_per_example: Mean positions of a training example, shared prompt not counted.
        item_seconds: Scoring an item of the dev split.
    """

    seconds_per_token: float
    tokens_per_example: float
    item_seconds: float


@dataclass(frozen=True)
class CostEstimate:
    """Rough costs of a training run.

    Attributes:
        trained_parameters: How many parameters would be trained, exactly.
        seconds: Training with its dev evaluations.
        memory_bytes: Base, trained parameters and optimizer; activations come on top.
        restored_bytes: 4-bit weights kept unpacked beside the base, for speed.
        epochs: How often each training row is seen.
    """

    trained_parameters: int
    seconds: float
    memory_bytes: int
    restored_bytes: int
    epochs: float


def measure_step(session: Session, *, batch_size: int = 8) -> StepCost:
    """Return what one training step costs, from a real one; call it on the model's thread.

    The step is that of a soft prompt, whose gradient goes through all layers as any method's does.
    """
    engine, start = session.engine, session.encoder.start()
    context = session.context(0, Path())
    examples = training_examples(context, start)
    ordered = sorted(examples, key=lambda example: len(example.token_ids))
    middle = max(0, len(ordered) // 2 - batch_size // 2)
    batch: Sequence[Example] = ordered[middle : middle + batch_size]
    ids = (start.head_ids + start.shared_ids) or batch[0].token_ids[:1]
    vectors = torch.nn.Parameter(engine.forward.embed(ids).detach().clone())
    batch = micro_batches(batch, None, len(ids))[0]
    seconds = 0.0
    for _ in range(_BATCHES):
        began = time.perf_counter()
        with engine.lock:
            answer_loss(engine, Prefix((vectors,)), None, batch).backward()  # type: ignore[no-untyped-call]
        seconds = time.perf_counter() - began
    tokens = len(ids) + sum(len(one.token_ids + one.answer_ids) for one in batch)
    few = session.task.dev[:_DEV_ITEMS]
    fitted = FittedMethod(session.encoder, start, start.prefix)
    began = time.perf_counter()
    dev_score(context, fitted, few)
    item_seconds = (time.perf_counter() - began) / len(few)
    mean = sum(len(one.token_ids + one.answer_ids) for one in examples) / len(examples)
    return StepCost(seconds / tokens, mean, item_seconds)


def estimate_training(session: Session, step: StepCost, method: Method) -> CostEstimate:
    """Return what training a method will cost, given what a step costs here.

    Raises:
        ConfigError: the method trains nothing.
    """
    if not isinstance(method, TrainingOptions) or not isinstance(method, SupportsSave):
        raise ConfigError(
            f"methods: '{method_name(method)}' trains nothing. Choose a trained method."
        )
    context, start = session.context(0, Path()), session.encoder.start()
    parameters = method.num_trainable(context)
    shared = len(start.head_ids + start.shared_ids)
    own = max(1, round(step.tokens_per_example))
    at_once = method.micro_batch_size or rows_of_a_pass(own, shared)
    passes = math.ceil(method.batch_size / at_once)
    tokens = passes * shared + method.batch_size * step.tokens_per_example
    tokens *= _AGAIN if method.gradient_checkpointing else 1.0
    evaluations = -(-method.steps // method.eval_every)
    looks = evaluations * len(dev_sample(session.encoder, method)) * step.item_seconds
    seconds = method.steps * tokens * step.seconds_per_token + looks
    return CostEstimate(
        trained_parameters=parameters,
        seconds=method.num_trainings * seconds,
        memory_bytes=session.engine.info.footprint_bytes + _ADAM_BYTES * parameters,
        restored_bytes=session.engine.info.restored_bytes,
        epochs=method.steps * method.batch_size / len(session.task.train),
    )
