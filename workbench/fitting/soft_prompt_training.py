"""Training soft prompts: their options, what they start from, and what they are held to.

Prompt tuning trains one, an ensemble several; sources are named there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from workbench.errors import ConfigError
from workbench.fitting.base import FitContext, FittedMethod
from workbench.fitting.learning import embedding_rms, read_learned_vectors, save_prompt
from workbench.fitting.reparametrisation import plain, residual, residual_size
from workbench.fitting.soft_prompts import (
    POSITION_HELP,
    POSITIONS,
    check_belongs,
    fit_vectors,
    frequent_ids,
    initial_ids,
    restore_vectors,
)
from workbench.metrics import token_f1
from workbench.models.vocabulary import embedding_table, nearest_tokens
from workbench.options import FREE, TEXT, option
from workbench.shared_options import NUM_VIRTUAL_TOKENS
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate
from workbench.training.options import TrainingOptions

_WHERE = "methods.prompt_tuning"
_RELATIVE_LEARNING_RATE = 0.2  # of the embeddings' RMS per step; 0.03 for SmolLM2-135M
_SAYING_LEARNING_RATE = 0.03  # also of that RMS, where the vectors have to stay near a sentence
_LEAST_F1 = 0.9  # of the tokens nearest to the vectors with the sentence they have to say


@dataclass(frozen=True, kw_only=True)
class SoftPromptTraining(TrainingOptions):
    """Learn `num_virtual_tokens` vectors of the model's embedding width; nothing else changes."""

    num_virtual_tokens: int | None = NUM_VIRTUAL_TOKENS.option(
        default=None,
        help="How many vectors are learned (P); null: as many as the init text has, at least 20.",
    )
    init: str = option(
        "instruction",
        choices=("instruction", "labels", "text", "vocabulary", "random", "prompt"),
        help="Where the vectors start: at the tokens of the instruction, the labels or a text, "
        "at frequent ones, at noise, or at a trained prompt.",
    )
    init_text: str | None = option(
        None, holds="text", public=TEXT, help="The text to start from, where init is 'text'."
    )
    init_prompt: str | None = option(
        None,
        holds="run",
        public=TEXT,
        help="The trained soft prompt to start from (warm start), where init is 'prompt': its "
        "adapter folder.",
    )
    position: str = option(POSITIONS[0], choices=POSITIONS, help=POSITION_HELP)
    reparametrisation: str = option(
        "none",
        choices=("none", "residual"),
        help="Train the vectors alone, or with a small network that corrects them and is left "
        "behind.",
    )
    bottleneck: int = option(
        128,
        minimum=1,
        maximum=4096,
        public=(256, 256),
        help="How wide the small network of 'residual' is inside.",
    )
    says: str | None = option(
        None,
        holds="text",
        public=TEXT,
        help="A sentence that the vectors must go on spelling while they learn, read by their "
        "nearest tokens.",
    )
    says_strength: float = option(
        10.0,
        minimum=0.0,
        maximum=1e6,
        public=FREE,
        help="How strongly the vectors are held to that sentence.",
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Train the vectors on the training split; return the best step on dev."""
        self.check(context.task, context.template)
        vectors, scale = self.initial_vectors(context), embedding_rms(context)
        relative = _SAYING_LEARNING_RATE if self.says else _RELATIVE_LEARNING_RATE
        learned = plain(vectors)
        if self.reparametrisation == "residual":
            size, seed = self.bottleneck, context.seed
            learned = residual(vectors, bottleneck=size, scale=scale, seed=seed)
        saying = None
        if self.says and self.says_strength:
            saying = _Saying(context, learned.made, self.says, self.says_strength)
        return fit_vectors(
            context,
            replace(self, learning_rate=self.learning_rate or relative * scale),
            learned,
            position=self.position,
            penalty=saying.penalty if saying else None,
            is_admissible=saying.is_read if saying else lambda: True,
        )

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return the method with vectors saved by `save` or by plain PEFT.

        Raises:
            ModelError: not a prompt-tuning adapter, or of another embedding width.
        """
        return restore_vectors(context, folder, self.position)

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write the vectors in PEFT's format, see `save_prompt`."""
        save_prompt(context, fitted, folder)

    def num_trainable(self, context: FitContext) -> int:
        """Return P x D; with reparametrisation M more, of a bottleneck B: M = 2 D B + B + 3 D."""
        num, width = self.initial_vectors(context).shape
        if self.reparametrisation == "residual":
            return residual_size(num, width, self.bottleneck)
        return num * width

    def initial_vectors(self, context: FitContext) -> torch.Tensor:
        """Return (P, D) starting vectors in the space of the embedding module's output.

        Raises:
            ConfigError: the init gives no tokens to start from, or lacks its text or prompt.
            ModelError: the prompt to start from cannot be read, or has another width.
        """
        forward = context.engine.forward
        if self.init_prompt and not self.says:
            vectors = read_learned_vectors(context, Path(self.init_prompt))
            wanted = self.num_virtual_tokens or len(vectors)
            return vectors.repeat(wanted // len(vectors) + 1, 1)[:wanted].to(forward.device)
        generator = np.random.default_rng(context.seed)
        ids = self._initial_ids(context, generator)
        vectors = forward.embed(ids).detach().clone()
        if self.init == "random" and not self.says:
            scale = embedding_rms(context)
            noise = generator.normal(0.0, scale, tuple(vectors.shape))
            vectors = torch.from_numpy(noise).to(vectors)
        return vectors

    def check(self, task: Task, template: PromptTemplate) -> None:
        """Refuse an option whose partner is missing, or has another value.

        Raises:
            ConfigError: says which.
        """
        for init, name in (("text", "init_text"), ("prompt", "init_prompt")):
            given = getattr(self, name)
            check_belongs(_WHERE, self.init, name, needed_by=init, value=given)
        if self.says is not None and not self.says.strip():
            raise ConfigError("methods.prompt_tuning.says: no words in it. Give a sentence.")
        if self.says and (self.init != "instruction" or self.num_virtual_tokens):
            raise ConfigError(
                "methods.prompt_tuning.says: the sentence is the start and sets the number of "
                "vectors. Leave init and num_virtual_tokens out."
            )

    def _initial_ids(self, context: FitContext, generator: np.random.Generator) -> tuple[int, ...]:
        self.check(context.task, context.template)
        if self.says:
            return context.encoder.encode(self.says)
        if self.init in ("vocabulary", "random"):
            return frequent_ids(
                context, self.num_virtual_tokens or NUM_VIRTUAL_TOKENS.default, generator
            )
        num = self.num_virtual_tokens
        return initial_ids(context, self.init, text=self.init_text, num=num, where=_WHERE)


class _Saying:
    """Keeps vectors near the tokens of a sentence.

    Args:
        context: The run's.
        vectors: Returns the learned vectors (P, D), one for each token of the sentence.
        sentence: What the nearest tokens have to spell.
        strength: Weight of the distance.
    """

    def __init__(
        self,
        context: FitContext,
        vectors: Callable[[], torch.Tensor],
        sentence: str,
        strength: float,
    ) -> None:
        self._vectors = vectors
        self._ids = context.encoder.encode(sentence)
        self._target = context.engine.forward.embed(self._ids).detach()  # (P, D)
        self._table = embedding_table(context.engine.forward).to(self._target.device)
        self._weight = strength / (self._target.shape[1] * embedding_rms(context) ** 2)

    def penalty(self) -> torch.Tensor:
        """Return the mean squared distance from the sentence, weighted."""
        return self._weight * (self._vectors() - self._target).square().sum(dim=1).mean()

    def is_read(self) -> bool:
        """Return whether the nearest tokens still spell the sentence (token F1 of 0.9)."""
        nearest = nearest_tokens(self._table, self._vectors().detach())
        return token_f1(nearest.tolist(), self._ids) > _LEAST_F1
