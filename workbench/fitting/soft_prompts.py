"""What methods that learn vectors share: where they stand, what they start from, how they train."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from workbench.encoding import PromptStart
from workbench.errors import ConfigError
from workbench.fitting.base import FitContext, FittedMethod
from workbench.fitting.learning import PROMPT, fit_by_training, read_learned_vectors
from workbench.fitting.reparametrisation import LearnedTensor
from workbench.models.adapters.reading import read_prompt_vectors
from workbench.models.base import Prefix
from workbench.models.vocabulary import ordinary_tokens
from workbench.shared_options import NUM_VIRTUAL_TOKENS
from workbench.training.loop import Trainable
from workbench.training.options import TrainingOptions

POSITIONS = ("instead_of_instruction", "before_instruction", "after_instruction", "first")
POSITION_HELP = (
    "Where the vectors stand: in place of the instruction, before or after it inside the template, "
    "or first of all, before special tokens, where PEFT puts them."
)
_FREQUENT_TOKENS = 5000  # byte-pair vocabularies list frequent tokens first


def placed(start: PromptStart, vectors: torch.Tensor | tuple[int, ...], position: str) -> Prefix:
    """Return vectors (P, D), or tokens, among those of a prompt's start, at one of `POSITIONS`."""
    head, shared = start.head_ids, start.shared_ids
    pieces: dict[str, tuple[tuple[int, ...] | torch.Tensor, ...]] = {
        "instead_of_instruction": (head, vectors),
        "before_instruction": (head, vectors, shared),
        "after_instruction": (head, shared, vectors),
        "first": (vectors, head + shared),
    }
    return Prefix(pieces[position])


def frequent_ids(context: FitContext, num: int, generator: np.random.Generator) -> tuple[int, ...]:
    """Return tokens drawn from the 5,000 most frequent ones (Lester et al. 2021, section 3.2).

    Special tokens, which stand first in many vocabularies, are none of them.
    """
    tokenizer = context.encoder.tokenizer
    ordinary = ordinary_tokens(tokenizer, len(tokenizer)).nonzero().flatten()
    frequent = ordinary[:_FREQUENT_TOKENS].tolist()
    return tuple(frequent[i] for i in generator.integers(0, len(frequent), num))


def initial_ids(
    context: FitContext, init: str, *, text: str | None, num: int | None, where: str
) -> tuple[int, ...]:
    """Return the tokens of the instruction, the labels or a text, repeated or cut to `num`.

    Args:
        context: The run's.
        init: "instruction", "labels" or "text".
        text: The text of init "text".
        num: How many; None: the text's, at least 20.
        where: What messages begin with.

    Raises:
        ConfigError: there are no tokens to start from.
    """
    ids = context.encoder.start().shared_ids
    if init == "text":
        ids = context.encoder.encode(text or "")
    elif init == "labels":
        words = (context.template.word(label) for label in context.task.labels)
        ids = context.encoder.encode(" ".join(words))
    if not ids:
        raise ConfigError(
            f"{where}.init: '{init}' gives no tokens to start from. Use init 'vocabulary', or init "
            "'text' with init_text."
        )
    wanted = num or max(len(ids), NUM_VIRTUAL_TOKENS.default)
    return tuple((ids * (wanted // len(ids) + 1))[:wanted])


def check_belongs(where: str, init: str, option: str, *, needed_by: str, value: object) -> None:
    """Refuse an option without the init it belongs to, and that init without it.

    Raises:
        ConfigError: only one of the two is given.
    """
    if (init == needed_by) != bool(value):
        raise ConfigError(
            f"{where}: init '{needed_by}' and {option} belong together. Give both, or neither."
        )


def fit_vectors(
    context: FitContext,
    options: TrainingOptions,
    learned: LearnedTensor,
    *,
    position: str,
    penalty: Callable[[], torch.Tensor] | None = None,
    is_admissible: Callable[[], bool] = lambda: True,
) -> FittedMethod:
    """Train what makes the vectors (P, D); return the method with the vectors alone.

    What makes them is left behind: it is counted as trained, not as stored.
    """
    start = context.encoder.start()

    def fitted() -> FittedMethod:
        vectors = learned.made().detach().clone()
        return FittedMethod(context.encoder, start, placed(start, vectors, position))

    trainable = Trainable(
        learned.parameters,
        lambda: placed(start, learned.made(), position),
        penalty=penalty,
        keep_path=True,
        path=lambda: {PROMPT: learned.made()},
        rate_factors=learned.rate_factors,
    )
    trained = fit_by_training(
        context, options, trainable, start, fitted, is_admissible=is_admissible
    )
    return with_stored(trained, learned.made())


def with_stored(fitted: FittedMethod, kept: torch.Tensor) -> FittedMethod:
    """Return the method with the cost of storing what is kept of all that was trained."""
    if fitted.cost is None:
        return fitted
    size = kept.numel() * kept.element_size()
    return replace(fitted, cost=replace(fitted.cost, stored_bytes=size))


def restore_vectors(context: FitContext, folder: Path, position: str) -> FittedMethod:
    """Return the method with vectors saved by `save_prompt` or by plain PEFT.

    What stands around the learned vectors is given as tokens again where it was stored as the
    embeddings of just those.

    Raises:
        ModelError: not a prompt-tuning adapter, or of another embedding width.
    """
    start, forward = context.encoder.start(), context.engine.forward
    stored = read_prompt_vectors(folder, forward.embedding_width)
    prefix = placed(start, read_learned_vectors(context, folder), position)
    if not torch.equal(forward.embed_pieces(prefix.pieces).detach().cpu(), stored):
        prefix = Prefix((stored,))
    return FittedMethod(context.encoder, start, prefix)
