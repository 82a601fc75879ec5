"""Prompt tuning: learn vectors that stand where the instruction stood; the model stays frozen.

Source: Lester et al. 2021, https://arxiv.org/abs/2104.08691, section 2.
Differs from the source: the vectors take the place of the instruction's tokens inside the rendered
prompt, after special tokens and chat header, and start from those tokens by default, so that
training starts at zero-shot: exactly so when there are as many vectors as tokens. The step size is
relative to the embeddings' scale.

With `says` the vectors have to stay so near the tokens of a given sentence that they read as that
sentence while they learn the task: Khashabi et al. 2022, "Prompt Waywardness",
https://arxiv.org/abs/2112.08348. Differs from the source: the squared distance is taken
relative to the mean squared norm of an embedding, so that one strength fits bases of any scale.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from workbench.encoding import PromptStart
from workbench.errors import ConfigError
from workbench.methods.base import Family, FitContext, FittedMethod
from workbench.methods.learning import (
    PROMPT,
    embedding_rms,
    fit_by_training,
    read_learned_vectors,
    save_prompt,
)
from workbench.metrics import token_f1
from workbench.models.adapter_import import read_prompt_vectors
from workbench.models.base import Prefix
from workbench.models.vocabulary import embedding_table, nearest_tokens
from workbench.options import option
from workbench.tasks.base import Task
from workbench.training import Trainable, TrainingOptions

_RELATIVE_LEARNING_RATE = 0.2  # of the embeddings' RMS per step; 0.03 for SmolLM2-135M
_SAYING_LEARNING_RATE = 0.03  # likewise, where the vectors have to stay near a sentence
_DEFAULT_TOKENS = 20  # Lester et al., figure 3a: more brings little
_FREQUENT_TOKENS = 5000  # byte-pair vocabularies list frequent tokens first
_LEAST_F1 = 0.9  # of the tokens nearest to the vectors with the sentence they have to say


@dataclass(frozen=True, kw_only=True)
class PromptTuning(TrainingOptions):
    """Learn `num_virtual_tokens` vectors of the model's embedding width; nothing else changes."""

    family: ClassVar[Family] = "vectors"
    summary: ClassVar[str] = "learned vectors in place of the instruction"

    num_virtual_tokens: int | None = option(
        None,
        minimum=1,
        maximum=1000,
        help="Vectors (P); null: the init text's, at least 20.",
    )
    init: str = option(
        "instruction",
        choices=("instruction", "labels", "text", "vocabulary", "random", "prompt"),
        help="Start from these tokens' embeddings, random vectors of their scale, or a prompt.",
    )
    init_text: str | None = option(None, help="The text for init 'text'.")
    init_prompt: str | None = option(
        None, help="Adapter folder of a trained soft prompt, for init 'prompt' (warm start)."
    )
    says: str | None = option(
        None, help="A sentence that the nearest tokens of the vectors must go on spelling."
    )
    says_strength: float = option(
        10.0, minimum=0.0, maximum=1e6, help="Weight of the distance from that sentence, in nats."
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Train the vectors on the training split; return the best step on dev."""
        self._check()
        start = context.encoder.start()
        vectors = torch.nn.Parameter(self.initial_vectors(context))
        relative = _SAYING_LEARNING_RATE if self.says else _RELATIVE_LEARNING_RATE
        rate = self.learning_rate or relative * embedding_rms(context)

        def prefix() -> Prefix:
            return Prefix((start.head_ids, vectors))

        def fitted() -> FittedMethod:
            frozen = Prefix((start.head_ids, vectors.detach().clone()))
            return FittedMethod(context.encoder, start, frozen)

        saying = _Saying(context, vectors, self.says, self.says_strength) if self.says else None
        trainable = Trainable(
            {PROMPT: vectors},
            prefix,
            penalty=saying.penalty if saying and self.says_strength else None,
            keep_path=True,
        )
        return fit_by_training(
            context,
            replace(self, learning_rate=rate),
            trainable,
            start,
            fitted,
            is_admissible=saying.is_read if saying and self.says_strength else lambda: True,
        )

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return the method with vectors saved by `save` or by plain PEFT.

        Raises:
            ModelError: not a prompt-tuning adapter, or of another embedding width.
        """
        vectors = read_prompt_vectors(folder, context.engine.forward.embedding_width)
        return FittedMethod(context.encoder, context.encoder.start(), Prefix((vectors,)))

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write the vectors in PEFT's format, see `save_prompt`."""
        save_prompt(context, fitted, folder)

    def num_trainable(self, context: FitContext) -> int:
        """Return P x D."""
        return self.initial_vectors(context).numel()

    def labelled_examples(self, task: Task) -> int:
        """Return the size of the training split."""
        return len(task.train)

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
        ids = self._initial_ids(context, context.encoder.start(), generator)
        vectors = forward.embed(ids).detach().clone()
        if self.init == "random" and not self.says:
            scale = embedding_rms(context)
            noise = generator.normal(0.0, scale, tuple(vectors.shape))
            vectors = torch.from_numpy(noise).to(vectors)
        return vectors

    def _check(self) -> None:
        """Refuse options that belong together and stand alone."""
        for init, name in (("text", "init_text"), ("prompt", "init_prompt")):
            if (self.init == init) != bool(getattr(self, name)):
                raise ConfigError(
                    f"methods.prompt_tuning: init '{init}' and {name} belong together. "
                    "Give both, or neither."
                )
        if self.says is not None and not self.says.strip():
            raise ConfigError("methods.prompt_tuning.says: no words in it. Give a sentence.")
        if self.says and (self.init != "instruction" or self.num_virtual_tokens):
            raise ConfigError(
                "methods.prompt_tuning.says: the sentence is the start and sets the number of "
                "vectors. Leave init and num_virtual_tokens out."
            )

    def _initial_ids(
        self, context: FitContext, start: PromptStart, generator: np.random.Generator
    ) -> tuple[int, ...]:
        self._check()
        if self.says:
            return context.encoder.encode(self.says)
        if self.init in ("vocabulary", "random"):
            size = min(_FREQUENT_TOKENS, len(context.encoder.tokenizer))
            drawn = generator.integers(0, size, self.num_virtual_tokens or _DEFAULT_TOKENS)
            return tuple(int(token) for token in drawn)
        ids = start.shared_ids
        if self.init == "text":
            ids = context.encoder.encode(self.init_text or "")
        elif self.init == "labels":
            words = (context.template.word(label) for label in context.task.labels)
            ids = context.encoder.encode(" ".join(words))
        if not ids:
            raise ConfigError(
                f"methods.prompt_tuning.init: '{self.init}' gives no tokens to start from. "
                "Use init 'vocabulary', or init 'text' with init_text."
            )
        wanted = self.num_virtual_tokens or max(len(ids), _DEFAULT_TOKENS)
        return tuple((ids * (wanted // len(ids) + 1))[:wanted])


class _Saying:
    """Keeps vectors near the tokens of a sentence.

    Args:
        context: Of the run.
        vectors: (P, D) trained, one for each token of the sentence.
        sentence: What the nearest tokens have to spell.
        strength: Weight of the distance.
    """

    def __init__(
        self, context: FitContext, vectors: torch.nn.Parameter, sentence: str, strength: float
    ) -> None:
        self._vectors = vectors
        self._ids = context.encoder.encode(sentence)
        self._target = context.engine.forward.embed(self._ids).detach()  # (P, D)
        self._table = embedding_table(context.engine.forward).to(self._target.device)
        self._weight = strength / (self._target.shape[1] * embedding_rms(context) ** 2)

    def penalty(self) -> torch.Tensor:
        """Return the mean squared distance from the sentence, weighted."""
        return self._weight * (self._vectors - self._target).square().sum(dim=1).mean()

    def is_read(self) -> bool:
        """Return whether the nearest tokens still spell the sentence (token F1 of 0.9)."""
        nearest = nearest_tokens(self._table, self._vectors.detach())
        return token_f1(nearest.tolist(), self._ids) > _LEAST_F1
