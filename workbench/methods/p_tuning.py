"""P-tuning: soft-prompt vectors made by a small encoder, which is left behind after training.

Source: Liu et al. 2021, "GPT Understands, Too", https://arxiv.org/abs/2103.10385, section 3.
Differs from the source: the vectors stand together where those of prompt tuning stand; the encoder
is PEFT's (an MLP by default, or an LSTM with an MLP behind it), and its output is multiplied by a
constant, so that the vectors start at the scale of embeddings.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from workbench.fitting.base import Family, FitContext, FittedMethod
from workbench.fitting.learning import embedding_rms, save_prompt
from workbench.fitting.reparametrisation import LearnedTensor, encoded, encoded_size
from workbench.fitting.soft_prompts import (
    POSITION_HELP,
    POSITIONS,
    fit_vectors,
    restore_vectors,
)
from workbench.options import option
from workbench.shared_options import NUM_VIRTUAL_TOKENS
from workbench.training.options import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class PTuning(TrainingOptions):
    """Learn an encoder that makes `num_virtual_tokens` vectors; the vectors alone are kept."""

    family: ClassVar[Family] = "vectors"
    summary: ClassVar[str] = "vectors from a trained encoder in place of the instruction"
    gloss: ClassVar[str] = (
        "Vectors that stand where the instruction would are learned, by way of a small network."
    )
    tiny_rate: ClassVar[float] = 0.003
    default_rate: ClassVar[float] = 1e-3

    num_virtual_tokens: int = NUM_VIRTUAL_TOKENS.option()
    encoder: str = option(
        "mlp",
        choices=("mlp", "lstm"),
        help="The network that makes the vectors: three linear layers, or a two-layer "
        "bidirectional LSTM and two linear layers.",
    )
    hidden_size: int | None = option(
        None,
        minimum=1,
        maximum=4096,
        public=(1024, 1024),
        help="How wide that network is inside (h); null: as wide as the base's embeddings.",
    )
    position: str = option(POSITIONS[0], choices=POSITIONS, help=POSITION_HELP)

    def fit(self, context: FitContext) -> FittedMethod:
        """Train the encoder on the training split; return the vectors of the best step on dev."""
        options = replace(self, learning_rate=self.learning_rate or self.default_rate)
        learned = self._encoder(context)
        return fit_vectors(context, options, learned, position=self.position)

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return the method with vectors saved by `save`.

        Raises:
            ModelError: not a prompt-tuning adapter, or of another embedding width.
        """
        return restore_vectors(context, folder, self.position)

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write the vectors in PEFT's format of prompt tuning, see `save_prompt`."""
        save_prompt(context, fitted, folder)

    def num_trainable(self, context: FitContext) -> int:
        """Return P D + (D h + h) + (h h + h) + (h D + D) with "mlp".

        With "lstm": P D + 8 h (D + h + 2) + 8 h (3 h + 2) + (4 h h + 2 h) + (2 h D + D).
        """
        width = context.engine.forward.embedding_width
        return encoded_size(self.num_virtual_tokens, width, self.encoder, self.hidden_size or width)

    def initial_vectors(self, context: FitContext) -> torch.Tensor:
        """Return the vectors (P, D) that the untrained encoder makes."""
        return self._encoder(context).made().detach()

    def _encoder(self, context: FitContext) -> LearnedTensor:
        forward = context.engine.forward
        return encoded(
            num_vectors=self.num_virtual_tokens,
            width=forward.embedding_width,
            kind=self.encoder,
            hidden=self.hidden_size or forward.embedding_width,
            scale=embedding_rms(context),
            seed=context.seed,
            device=forward.device,
        )
