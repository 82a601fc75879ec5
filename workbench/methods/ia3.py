"""IA3: learned factors for keys, values and the inner states of the MLP.

Source: Liu et al. 2022, https://arxiv.org/abs/2205.05638, section 3.3.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from peft import IA3Config, TaskType

from workbench.fitting.base import FitContext, FittedMethod
from workbench.fitting.weight_training import PeftWeightTraining, peft_targets, sizes_of
from workbench.models.adapters.bank import WeightAdapter
from workbench.models.adapters.layer_changes import ScalingChange
from workbench.models.adapters.peft_changes import save_adapter
from workbench.models.catalog import published_name
from workbench.models.layers import linear_layers


@dataclass(frozen=True, kw_only=True)
class Ia3(PeftWeightTraining):
    """Learn one factor for each key, value and inner feature; all start at 1."""

    summary: ClassVar[str] = "factors for keys, values and inner states"
    gloss: ClassVar[str] = (
        "Only factors that turn parts of the base up or down are learned: very few numbers."
    )
    default_rate: ClassVar[float] = 1e-2
    tiny_rate: ClassVar[float] = 0.1

    def new_adapter(self, context: FitContext) -> WeightAdapter:
        """Return factors of one."""
        outputs, inputs = self._layers(context)
        changes = {name: torch.ones(sizes_of(layer)[1], 1) for name, layer in outputs.items()}
        changes |= {name: torch.ones(1, sizes_of(layer)[0]) for name, layer in inputs.items()}
        return WeightAdapter({name: ScalingChange(ones) for name, ones in changes.items()})

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write the factors in PEFT's format."""
        outputs, inputs = self._layers(context)
        config = IA3Config(
            task_type=TaskType.CAUSAL_LM,
            base_model_name_or_path=published_name(context.engine.info.name),
            feedforward_modules=peft_targets(context, inputs)["target_modules"],
            **peft_targets(context, outputs | inputs),
        )
        save_adapter(context.engine.adapters.adapter(context.adapter_name), config, folder)

    def num_trainable(self, context: FitContext) -> int:
        """Return the widths of keys, values and the MLP's inner states over all layers."""
        outputs, inputs = self._layers(context)
        return sum(sizes_of(layer)[1] for layer in outputs.values()) + sum(
            sizes_of(layer)[0] for layer in inputs.values()
        )

    @staticmethod
    def _layers(
        context: FitContext,
    ) -> tuple[dict[str, torch.nn.Module], dict[str, torch.nn.Module]]:
        """Return the layers whose outputs are scaled, and those whose inputs are."""
        model = context.engine.forward.model
        return linear_layers(model, "keys_values"), linear_layers(model, "mlp_output")
