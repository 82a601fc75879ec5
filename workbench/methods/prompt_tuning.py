"""Prompt tuning: learn vectors that stand where the instruction stood; the model stays frozen.

Source: Lester et al. 2021, https://arxiv.org/abs/2104.08691, section 2.
Differs from the source: the vectors take the place of the instruction's tokens inside the rendered
prompt, after special tokens and chat header, and start from those tokens by default, so that
training starts at zero-shot: exactly so when there are as many vectors as tokens. The step size is
relative to the embeddings' scale.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from peft import PromptTuningConfig, TaskType
from safetensors.torch import save_file

from workbench.encoding import PromptStart
from workbench.errors import ConfigError
from workbench.methods.base import Family, FitContext, FittedMethod
from workbench.methods.learning import embedding_rms, fit_by_training
from workbench.models.adapter_import import read_prompt_vectors
from workbench.models.base import Prefix
from workbench.models.catalog import hub_id_of
from workbench.options import option
from workbench.tasks.base import Task
from workbench.training import Trainable, TrainingOptions

_RELATIVE_LEARNING_RATE = 0.2  # of the embeddings' RMS per step; 0.03 for SmolLM2-135M
_DEFAULT_TOKENS = 20  # Lester et al., figure 3a: more brings little
_FREQUENT_TOKENS = 5000  # byte-pair vocabularies list frequent tokens first
_WEIGHTS = "adapter_model.safetensors"


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
        choices=("instruction", "labels", "text", "vocabulary", "random"),
        help="Start from these tokens' embeddings, or from random vectors of their scale.",
    )
    init_text: str | None = option(None, help="The text for init 'text'.")

    def fit(self, context: FitContext) -> FittedMethod:
        """Train the vectors on the training split; return the best step on dev."""
        start = context.encoder.start()
        vectors = torch.nn.Parameter(self._initial_vectors(context, start))
        rate = self.learning_rate or _RELATIVE_LEARNING_RATE * embedding_rms(context)

        def prefix() -> Prefix:
            return Prefix((start.head_ids, vectors))

        def fitted() -> FittedMethod:
            frozen = Prefix((start.head_ids, vectors.detach().clone()))
            return FittedMethod(context.encoder, start, frozen)

        trainable = Trainable({"prompt_embeddings": vectors}, prefix)
        return fit_by_training(context, replace(self, learning_rate=rate), trainable, start, fitted)

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return the method with vectors saved by `save` or by plain PEFT.

        Raises:
            ModelError: not a prompt-tuning adapter, or of another embedding width.
        """
        vectors = read_prompt_vectors(folder, context.engine.forward.embedding_width)
        return FittedMethod(context.encoder, context.encoder.start(), Prefix((vectors,)))

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write the vectors in PEFT's format, with what stands before them included.

        PEFT puts its vectors at the very start of the input, so special tokens and the chat header
        are stored as vectors too; then plain PEFT gives the same answers.
        """
        forward = context.engine.forward
        pieces = [
            piece if isinstance(piece, torch.Tensor) else forward.embed(piece)
            for piece in fitted.prefix.pieces
            if len(piece)
        ]
        vectors = torch.cat([piece.detach().float().cpu() for piece in pieces])
        config = PromptTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=len(vectors),
            token_dim=vectors.shape[1],
            base_model_name_or_path=hub_id_of(context.engine.info.name),
            num_transformer_submodules=1,
            inference_mode=True,
        )
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(folder)
        save_file({"prompt_embeddings": vectors.contiguous()}, folder / _WEIGHTS)

    def num_trainable(self, context: FitContext) -> int:
        """Return P x D."""
        generator = np.random.default_rng(context.seed)
        num_tokens = len(self._initial_ids(context, context.encoder.start(), generator))
        return num_tokens * context.engine.forward.embedding_width

    def labelled_examples(self, task: Task) -> int:
        """Return the size of the training split."""
        return len(task.train)

    def _initial_vectors(self, context: FitContext, start: PromptStart) -> torch.Tensor:
        """Return (P, D) starting vectors in the space of the embedding module's output."""
        generator = np.random.default_rng(context.seed)
        ids = self._initial_ids(context, start, generator)
        vectors = context.engine.forward.embed(ids).detach().clone()
        if self.init == "random":
            scale = embedding_rms(context)
            noise = generator.normal(0.0, scale, tuple(vectors.shape))
            vectors = torch.from_numpy(noise).to(vectors)
        return vectors

    def _initial_ids(
        self, context: FitContext, start: PromptStart, generator: np.random.Generator
    ) -> tuple[int, ...]:
        if (self.init == "text") != bool(self.init_text):
            raise ConfigError(
                "methods.prompt_tuning: init 'text' and init_text belong together. "
                "Give both, or neither."
            )
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
