"""What trained methods share: labelled examples, the dev score, and the cost of training."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from peft import PromptTuningConfig, TaskType
from scipy.special import logsumexp

from workbench.batches import Example
from workbench.encoding import PromptEncoder, PromptStart
from workbench.fitting.base import FitContext, FittedMethod, TrainedCost
from workbench.fitting.dev_sample import dev_sample
from workbench.fitting.label_scores import label_scores
from workbench.fitting.short_answers import is_right, read_answer, writing_options
from workbench.memory import PeakMemory
from workbench.models.adapters.peft_changes import write_config
from workbench.models.adapters.reading import read_adapter
from workbench.models.adapters.tensors import learned_range
from workbench.models.base import Conditioning
from workbench.models.catalog import published_name
from workbench.models.engine import Engine
from workbench.tasks.base import Sample
from workbench.tensor_files import write_tensors
from workbench.training.loop import Trainable, TrainingRequest, train
from workbench.training.options import TrainingOptions
from workbench.training.score import DevScore

PROMPT = "prompt_embeddings"  # PEFT's name for the vectors of a soft prompt
WEIGHTS = "adapter_model.safetensors"
_TINY = 1e-12  # keeps the logarithm of a probability that underflowed finite


def fit_by_training(
    context: FitContext,
    options: TrainingOptions,
    trainable: Trainable,
    start: PromptStart,
    fitted: Callable[[], FittedMethod],
    *,
    is_admissible: Callable[[], bool] = lambda: True,
) -> FittedMethod:
    """Train on the training split, keep the best step on dev, and return the fitted method.

    Dev is looked at by a sample where all of it would cost more than a fifth of the training; see
    `dev_sample`.

    Args:
        context: Engine, encoder, seed and folder of the run.
        options: Options of the loop, with the learning rate resolved.
        trainable: What is trained.
        start: Fixes which tokens are a row's own.
        fitted: Makes the fitted method from the current parameters.
        is_admissible: Whether the current parameters may be kept, asked at each evaluation.
    """
    looked_at = dev_sample(context.encoder, options)

    def evaluate() -> DevScore:
        if context.ranks.parts == 1:
            score = dev_score(context, fitted(), looked_at)
            return replace(score, is_admissible=is_admissible())
        return _shared_dev_score(context, fitted, looked_at, is_admissible)

    request = TrainingRequest(
        trainable=trainable,
        examples=training_examples(context, start),
        options=options,
        seed=context.seed,
        evaluate=evaluate,
        folder=context.folder,
        identity=_identity(context, options),
        ranks=context.ranks,
    )
    with PeakMemory(context.engine.info.device) as peak:
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
        dev_evaluations=sum("dev_loss" in entry for entry in state.history),
        dev_items=len(looked_at),
        dev_accuracy=None if state.best is None else state.best.accuracy,
        dev_loss=None if state.best is None else state.best.loss,
    )
    return replace(fitted(), cost=cost)


def _identity(context: FitContext, options: TrainingOptions) -> str:
    """Return a digest of all that decides a training; a checkpoint of another is not its own."""
    info, encoder = context.engine.info, context.encoder
    parts = (
        *(context.adapter_name, info.identity, info.precision, info.compute_dtype, info.device),
        *(context.task.digest, encoder.template.digest, encoder.chat, context.seed, repr(options)),
        *([] if context.ranks.parts == 1 else [context.ranks.parts]),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def training_examples(context: FitContext, start: PromptStart) -> list[Example]:
    """Return the training split as rows with their answers: the label, or the target's text.

    Where a text has several references, only the target, the first one, is learned from, so that a
    labelled example is one text for every method.
    """
    choices = dict(zip(context.task.labels, context.encoder.choice_ids(), strict=True))
    return [
        Example(
            context.encoder.own_ids(sample.fields, start),
            choices.get(sample.target)
            or short_answer_ids(context.encoder, sample.fields, sample.target),
        )
        for sample in context.task.train
    ]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What conditioned rows answer to N items.

    Attributes:
        right: (N,) bool. For short answers: whether what greedy decoding writes is read as a right
            one, as in a report; for texts, whether it would write exactly the target.
        losses: (N,) negative log-probability in nats of the right label among the labels, or of
            the right short answer with any of the ends it may have; of a text's target, per token.
        answers: (N,) index of the label chosen; -1 for tasks without labels.
    """

    right: np.ndarray
    losses: np.ndarray
    answers: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())

    @property
    def loss(self) -> float:
        """Mean loss in nats."""
        return float(self.losses.mean())


def score_answers(
    engine: Engine,
    encoder: PromptEncoder,
    rows: Sequence[Conditioning],
    samples: Sequence[Sample],
    *,
    log_prior: np.ndarray | None = None,
) -> Outcome:
    """Return what rows answer to their samples, judged as in the final evaluation.

    `log_prior` (C,) is that of the fitted method, see `FittedMethod`.
    """
    labels = encoder.task.labels
    if labels:
        given = label_scores(engine, encoder, rows, log_prior=log_prior)
        golds = np.array([labels.index(sample.target) for sample in samples])
        losses = -np.log(given.probabilities[np.arange(len(golds)), golds] + _TINY)
        return Outcome(given.answers == golds, losses, given.answers)
    no_label = np.full(len(rows), -1)
    if encoder.task.kind == "short_answer":
        written = engine.generate(rows, writing_options(encoder))
        right = [
            is_right(encoder.task, read_answer(encoder.task, one.text).lenient, sample)
            for one, sample in zip(written, samples, strict=True)
        ]
        wanted = [_ended_answers(encoder, sample) for sample in samples]
        losses = [-logsumexp(score.logprobs) for score in engine.score(rows, wanted)]
        return Outcome(np.array(right, dtype=bool), np.array(losses), no_label)
    targets = [short_answer_ids(encoder, s.fields, s.target) for s in samples]
    scores = engine.score(rows, [(tokens,) for tokens in targets])
    exact = np.array([bool(score.is_greedy[0]) for score in scores])
    # Per token, or long targets would decide alone.
    nats = np.array([-float(score.logprobs[0]) for score in scores])
    return Outcome(exact, nats / np.array([len(tokens) for tokens in targets]), no_label)


def _ended_answers(encoder: PromptEncoder, sample: Sample) -> list[tuple[int, ...]]:
    """Return the tokens of a short answer with each end that a report accepts, none in another."""
    ended = {
        short_answer_ids(encoder, sample.fields, sample.target),
        *(encoder.answer_ids(sample.fields, sample.target + end) for end in encoder.answer_ends),
    }
    return [
        one
        for one in sorted(ended)
        if not any(one != other and one[: len(other)] == other for other in ended)
    ]


def dev_score(
    context: FitContext, fitted: FittedMethod, samples: Sequence[Sample] | None = None
) -> DevScore:
    """Return accuracy and mean loss in nats on all of dev, or on these of its items.

    A generation task has a loss per token of the targets, and no accuracy.
    """
    samples = context.task.dev if samples is None else samples
    found = _answered(context, fitted, samples)
    accuracy = None if context.task.kind == "generation" else found.accuracy
    return DevScore(accuracy, found.loss, len(samples))


def _answered(context: FitContext, fitted: FittedMethod, samples: Sequence[Sample]) -> Outcome:
    rows = [fitted.condition(sample.fields) for sample in samples]
    return score_answers(context.engine, context.encoder, rows, samples, log_prior=fitted.log_prior)


def _shared_dev_score(
    context: FitContext,
    fitted: Callable[[], FittedMethod],
    samples: Sequence[Sample],
    is_admissible: Callable[[], bool],
) -> DevScore:
    """Return `dev_score` of items that are scored in parts, each by the process that has it.

    Whether the parameters may be kept is what the first process says.
    """
    ranks = context.ranks

    def tables() -> Iterator[torch.Tensor]:
        current, admissible = fitted(), is_admissible()
        for number in ranks.own_parts:
            part = samples[number :: ranks.parts]
            table = torch.empty(len(part), 3, dtype=torch.float64)  # right, loss, admissible
            if part:
                found = _answered(context, current, part)
                table[:, 0] = torch.from_numpy(found.right)
                table[:, 1] = torch.from_numpy(found.losses)
                table[:, 2] = admissible
            yield table

    joined = np.empty((len(samples), 3))
    for number, table in enumerate(ranks.gathered(tables())):
        joined[number :: ranks.parts] = table.numpy()
    accuracy = None if context.task.kind == "generation" else float((joined[:, 0] > 0).mean())
    return DevScore(
        accuracy, float(joined[:, 1].mean()), len(samples), is_admissible=bool(joined[0, 2])
    )


def short_answer_ids(
    encoder: PromptEncoder, fields: Mapping[str, str], answer: str
) -> tuple[int, ...]:
    """Return the tokens of a short answer or text, and of the end of the text after it."""
    end = encoder.tokenizer.eos_token_id
    return (*encoder.answer_ids(fields, answer), *([] if end is None else [end]))


def embedding_rms(context: FitContext) -> float:
    """Return the root mean square of the embeddings of ordinary tokens, as the model sees them.

    A sensible step size for learned vectors is a share of it: the well-known 0.3 belongs to T5,
    whose prompts end up hundreds of times larger.
    """
    size = min(len(context.encoder.tokenizer), context.engine.forward.num_embeddings)
    sample = np.random.default_rng(0).integers(0, size, 2048)
    vectors: torch.Tensor = context.engine.forward.embed(sample.tolist())
    return float(vectors.square().mean().sqrt())


def save_prompt(context: FitContext, fitted: FittedMethod, folder: Path) -> None:
    """Write a fitted prompt as vectors in PEFT's format, with what stands around them included.

    PEFT puts its vectors at the very start of the input, so special tokens, the chat header and an
    instruction beside the vectors are stored as vectors too; then plain PEFT gives the same
    answers. Which vectors are the learned ones stands in the file's metadata.
    """
    pieces = fitted.prefix.pieces
    vectors = context.engine.forward.embed_pieces(pieces).detach().float().cpu()
    config = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=len(vectors),
        token_dim=vectors.shape[1],
        base_model_name_or_path=published_name(context.engine.info.name),
        num_transformer_submodules=1,
        inference_mode=True,
    )
    write_config(config, folder)
    begin, end = len(fitted.start.head_ids), len(vectors)  # of a hard prompt, which is all tokens
    place = 0
    for piece in pieces:
        if isinstance(piece, torch.Tensor):
            begin, end = place, place + len(piece)
        place += len(piece)
    write_tensors(folder / WEIGHTS, {PROMPT: vectors}, learned_range(begin, end))


def read_learned_vectors(context: FitContext, folder: Path) -> torch.Tensor:
    """Return the vectors (P, D) of a stored soft prompt without what `save_prompt` put around them.

    Files that do not say which ones were learned have special tokens and chat header cut off where
    those are what they start with.

    Raises:
        ModelError: not a prompt-tuning adapter, or of another embedding width.
    """
    forward = context.engine.forward
    adapter = read_adapter(folder)
    vectors = adapter.prompt_vectors(forward.embedding_width)
    if adapter.learned is not None:
        begin, end = adapter.learned
        return vectors[begin:end]
    head = context.encoder.start().head_ids
    if not head or len(vectors) <= len(head):
        return vectors
    # Exactly: `save_prompt` stored these very embeddings.
    is_head = torch.equal(vectors[: len(head)], forward.embed(head).detach().cpu())
    return vectors[len(head) :] if is_head else vectors
