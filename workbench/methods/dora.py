"""DoRA: a low-rank change of a weight's directions, and a learned length for each of its rows.

Source: Liu et al. 2024, https://arxiv.org/abs/2402.09353, section 4. The norm of the changed weight
is a constant for the gradient (section 4.3).
Differs from the source: rows of (out, in) where the paper speaks of columns, as in PEFT.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from peft import LoraConfig, TaskType

from workbench.fitting.base import FitContext, FittedMethod
from workbench.fitting.weight_training import LowRankTraining, peft_targets, sizes_of
from workbench.models.adapters.bank import WeightAdapter
from workbench.models.adapters.layer_changes import DirectionChange, new_low_rank
from workbench.models.adapters.peft_changes import save_adapter
from workbench.models.catalog import published_name


@dataclass(frozen=True, kw_only=True)
class Dora(LowRankTraining):
    """Learn directions by A and B and lengths by a vector m, beside the chosen linear layers."""

    summary: ClassVar[str] = "a low-rank change of directions, and lengths apart"
    gloss: ClassVar[str] = "Like LoRA, with how far and which way the weights move learned apart."
    default_rate: ClassVar[float] = 1e-3
    tiny_rate: ClassVar[float] = 0.02

    def new_adapter(self, context: FitContext) -> WeightAdapter:
        """Return the changes before training: B is zero and m the lengths of the weight's rows."""
        generator = torch.Generator().manual_seed(context.seed)
        return WeightAdapter(
            {
                name: DirectionChange(
                    layer,
                    *new_low_rank(sizes_of(layer), self.rank, generator),
                    self.alpha / self.rank,
                    dropout=self.dropout,
                )
                for name, layer in sorted(self.layers(context).items())
            }
        )

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write matrices and lengths in PEFT's format."""
        config = LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            base_model_name_or_path=published_name(context.engine.info.name),
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            **peft_targets(context, self.layers(context)),
            use_dora=True,
        )
        save_adapter(context.engine.adapters.adapter(context.adapter_name), config, folder)

    def num_trainable(self, context: FitContext) -> int:
        """Return the sum of r (in + out) + out over the targeted layers."""
        lengths = sum(sizes_of(layer)[1] for layer in self.layers(context).values())
        return self.num_low_rank(context, self.rank) + lengths
