"""What trained methods share: labelled examples, the dev score, and the cost of training."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from workbench.encoding import PromptStart
from workbench.memory import PeakMemory
from workbench.methods.base import FitContext, FittedMethod, TrainedCost
from workbench.training import (
    DevScore,
    Example,
    Trainable,
    TrainingOptions,
    TrainingRequest,
    train,
)

_TINY = 1e-12  # keeps the logarithm of a probability that underflowed finite


def fit_by_training(
    context: FitContext,
    options: TrainingOptions,
    trainable: Trainable,
    start: PromptStart,
    fitted: Callable[[], FittedMethod],
) -> FittedMethod:
    """Train on the training split, keep the best step on dev, and return the fitted method.

    Args:
        context: Engine, encoder, seed and folder of the run.
        options: With the learning rate resolved.
        trainable: What is trained.
        start: Fixes which tokens are a row's own.
        fitted: Makes the fitted method from the current parameters.
    """
    request = TrainingRequest(
        trainable=trainable,
        examples=training_examples(context, start),
        options=options,
        seed=context.seed,
        evaluate=lambda: dev_score(context, fitted()),
        folder=context.folder,
    )
    with PeakMemory() as peak:
        state = train(
            context.engine, request, progress=context.progress, should_stop=context.should_stop
        )
    parameters = trainable.parameters.values()
    cost = TrainedCost(
        trained_parameters=sum(p.numel() for p in parameters),
        stored_bytes=sum(p.numel() * p.element_size() for p in parameters),
        train_seconds=state.seconds,
        peak_memory_bytes=peak.num_bytes or None,
        best_step=state.best_step,
        learning_rate=options.learning_rate or 0.0,
    )
    return replace(fitted(), cost=cost)


def training_examples(context: FitContext, start: PromptStart) -> list[Example]:
    """Return the training split as rows with their answers."""
    choices = dict(zip(context.task.labels, context.encoder.choice_ids(), strict=True))
    return [
        Example(
            context.encoder.own_ids(sample.fields, start),
            choices.get(sample.target) or short_answer_ids(context, sample.fields, sample.target),
        )
        for sample in context.task.train
    ]


def dev_score(context: FitContext, fitted: FittedMethod, *, most: int | None = None) -> DevScore:
    """Return accuracy and mean loss in nats on dev, or on its first `most` items.

    Labels are scored as in the final evaluation, and the loss is taken over the labels alone. For
    short answers, "right" means that greedy decoding would write exactly the correct answer; no
    text is generated.
    """
    task = context.task
    samples = task.dev[:most]
    rows = [fitted.condition(sample.fields) for sample in samples]
    if task.labels:
        scores = context.engine.score(rows, [context.encoder.choice_ids()] * len(rows))
        golds = [task.labels.index(sample.target) for sample in samples]
        probabilities = np.stack([score.probabilities for score in scores])  # (N, C)
        right = probabilities.argmax(axis=1) == golds
        losses = -np.log(probabilities[np.arange(len(golds)), golds] + _TINY)
    else:
        answers = [(short_answer_ids(context, s.fields, s.target),) for s in samples]
        scores = context.engine.score(rows, answers)
        right = np.array([score.is_greedy[0] for score in scores])
        losses = np.array([-score.logprobs[0] for score in scores])
    return DevScore(float(right.mean()), float(losses.mean()), len(rows))


def short_answer_ids(
    context: FitContext, fields: Mapping[str, str], answer: str
) -> tuple[int, ...]:
    """Return the tokens of a short answer and of the end of the text after it."""
    tail = context.encoder.render(fields).tail
    end = context.encoder.tokenizer.eos_token_id
    return (*context.encoder.continuation_ids(tail, answer), *([] if end is None else [end]))


def embedding_rms(context: FitContext) -> float:
    """Return the root mean square of the embeddings of ordinary tokens, as the model sees them.

    A sensible step size for learned vectors is a share of it: the well-known 0.3 belongs to T5,
    whose prompts end up hundreds of times larger.
    """
    size = len(context.encoder.tokenizer)
    sample = np.random.default_rng(0).integers(0, size, 2048)
    vectors: torch.Tensor = context.engine.forward.embed(sample.tolist())
    return float(vectors.square().mean().sqrt())
