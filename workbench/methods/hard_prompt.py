"""Hard prompt: tokens found by gradient descent; the result is text that can be pasted elsewhere.

Source: Wen et al. 2023, "Hard Prompts Made Easy" (PEZ), https://arxiv.org/abs/2302.03668,
algorithm 1. Vectors are kept; each step takes the gradient at their nearest tokens' embeddings
(by cosine) and applies it to the vectors. Only the tokens are ever evaluated and stored.
Differs from the source: the objective is the task's, the tokens take the place of the
instruction, and the best step on dev is kept instead of the lowest training loss.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from workbench.atomic import write_text
from workbench.fitting.base import Family, FitContext, FittedMethod
from workbench.fitting.learning import (
    PROMPT,
    embedding_rms,
    fit_by_training,
    read_learned_vectors,
    save_prompt,
)
from workbench.fitting.soft_prompts import frequent_ids
from workbench.models.base import Prefix
from workbench.models.vocabulary import embedding_table, nearest_tokens, ordinary_tokens
from workbench.options import option
from workbench.training.loop import Trainable
from workbench.training.options import TrainingOptions

_RELATIVE_LEARNING_RATE = 1.0  # of the embeddings' RMS: a step has to carry to other tokens


@dataclass(frozen=True, kw_only=True)
class HardPrompt(TrainingOptions):
    """Find `num_tokens` ordinary tokens to stand where the instruction stood."""

    family: ClassVar[Family] = "words"
    summary: ClassVar[str] = "tokens found by gradient in place of the instruction (PEZ)"
    gloss: ClassVar[str] = (
        "An instruction made of real words is learned from your rows; it often reads as nonsense."
    )
    tiny_rate: ClassVar[float | None] = None  # tokens alone do not learn it

    num_tokens: int | None = option(
        None,
        minimum=1,
        maximum=1000,
        public=(50, 200),
        help="How many tokens are learned (P); null: as many as the instruction has.",
    )
    init: str = option(
        "instruction",
        choices=("instruction", "vocabulary"),
        help="Start from the instruction, or from frequent tokens drawn at random.",
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Search on the training split; return the tokens of the best step on dev."""
        start = context.encoder.start()
        forward = context.engine.forward
        table = embedding_table(forward).to(forward.device)
        allowed = ordinary_tokens(context.encoder.tokenizer, len(table)).to(forward.device)
        vectors = torch.nn.Parameter(forward.embed(self._initial_ids(context)).detach().clone())
        rate = self.learning_rate or _RELATIVE_LEARNING_RATE * embedding_rms(context)

        def token_ids() -> torch.Tensor:
            return nearest_tokens(table, vectors.detach(), by_cosine=True, among=allowed)

        def prefix() -> Prefix:
            projected = table[token_ids()]
            # The value is exactly the tokens'; the gradient is that of the vectors.
            return Prefix((start.head_ids, projected + (vectors - vectors.detach())))

        def fitted() -> FittedMethod:
            ids = (*start.head_ids, *token_ids().tolist())
            return FittedMethod(context.encoder, start, Prefix((ids,)))

        options = replace(self, learning_rate=rate)
        return fit_by_training(
            context, options, Trainable({PROMPT: vectors}, prefix, keep_path=True), start, fitted
        )

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return the method with the tokens saved by `save`.

        Raises:
            ModelError: not a prompt-tuning adapter, or of another embedding width.
        """
        start, forward = context.encoder.start(), context.engine.forward
        vectors = read_learned_vectors(context, folder).to(forward.device)
        ids = nearest_tokens(embedding_table(forward).to(forward.device), vectors)
        return FittedMethod(context.encoder, start, Prefix(((*start.head_ids, *ids.tolist()),)))

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write the tokens' embeddings as a soft prompt in PEFT's format, and their text beside."""
        save_prompt(context, fitted, folder)
        num_head = len(fitted.start.head_ids)
        (ids,) = fitted.prefix.pieces
        text = context.encoder.tokenizer.decode(list(ids)[num_head:])
        write_text(context.folder / "prompt.txt", f"{text}\n")

    def num_trainable(self, context: FitContext) -> int:
        """Return P x D."""
        return len(self._initial_ids(context)) * context.engine.forward.embedding_width

    def _initial_ids(self, context: FitContext) -> tuple[int, ...]:
        ids = context.encoder.start().shared_ids
        wanted = self.num_tokens or len(ids) or 1
        if self.init == "instruction" and ids:
            return tuple((ids * (wanted // len(ids) + 1))[:wanted])
        return frequent_ids(context, wanted, np.random.default_rng(context.seed))
