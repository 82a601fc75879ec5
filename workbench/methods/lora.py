"""LoRA: learn a low-rank change of some weights; over a 4-bit base this is QLoRA.

Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685, section 4; Dettmers et al. 2023,
https://arxiv.org/abs/2305.14314, section 3; rank-stabilised scaling: Kalajdzievski 2023,
https://arxiv.org/abs/2312.03732; LoRA+: Hayou et al. 2024, https://arxiv.org/abs/2402.12354;
PiSSA: Meng et al. 2024, https://arxiv.org/abs/2404.02948; LoftQ: Li et al. 2023,
https://arxiv.org/abs/2310.08659.
Differs from the sources: the loss is taken on answer tokens only. The base is never changed, so
PiSSA keeps its starting product and takes it off again, and LoftQ corrects the base's rounding in
one step instead of quantising anew.
"""

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import ClassVar

import torch
from peft import LoraConfig, TaskType

from workbench.errors import ConfigError
from workbench.fitting.base import FitContext, FittedMethod
from workbench.fitting.weight_training import LowRankTraining, peft_targets, sizes_of
from workbench.models.adapters.bank import WeightAdapter
from workbench.models.adapters.layer_changes import LowRankChange, new_low_rank, weight_of
from workbench.models.adapters.original_weights import original_weights
from workbench.models.adapters.peft_changes import save_adapter
from workbench.models.base import Prefix
from workbench.models.catalog import published_name
from workbench.options import FREE, option
from workbench.training.loop import Trainable


@dataclass(frozen=True, kw_only=True)
class Lora(LowRankTraining):
    """Learn matrices A and B of rank `rank` beside the chosen linear layers."""

    summary: ClassVar[str] = "a low-rank change of the weights"
    gloss: ClassVar[str] = (
        "A small change of the base's weights is learned and kept beside the base, which stays as "
        "it is."
    )
    default_rate: ClassVar[float] = 1e-3  # small models take larger steps than the usual 2e-4
    tiny_rate: ClassVar[float] = 0.02

    rank_stabilised: bool = option(
        False,
        help="Scale the change by alpha / sqrt(rank) instead of alpha / rank (rsLoRA), which "
        "suits wide ones.",
    )
    learning_rate_ratio: float = option(
        1.0,
        minimum=1.0,
        maximum=1000.0,
        public=FREE,
        help="How many times faster the change's second matrix (B) learns than its first (A), "
        "as in LoRA+.",
    )
    init: str = option(
        "zero",
        choices=("zero", "pissa", "loftq"),
        help="Start from no change, from the main directions of the weight, or from those of "
        "what its rounding lost.",
    )

    def new_adapter(self, context: FitContext) -> WeightAdapter:
        """Return the changes before training.

        Raises:
            ConfigError: the rank is too large for the init, or there is no rounding to correct.
            ModelError: LoftQ finds no unquantised weights.
        """
        layers = self.layers(context)
        if self.init == "loftq":
            return WeightAdapter(self._correcting(context, layers))
        if self.init == "pissa":
            return WeightAdapter(
                {
                    name: self._along(weight_of(layer), start_at_base=True)
                    for name, layer in layers.items()
                }
            )
        generator = torch.Generator().manual_seed(context.seed)
        return WeightAdapter(
            {
                name: LowRankChange(
                    *new_low_rank(sizes_of(layer), self.rank, generator),
                    self.scaling,
                    dropout=self.dropout,
                )
                for name, layer in sorted(layers.items())
            }
        )

    def check_precision(self, precision: str) -> None:
        """Refuse to correct the rounding of a base that has none.

        Raises:
            ConfigError: says so.
        """
        if self.init == "loftq" and precision in ("bf16", "fp32"):
            raise ConfigError(
                f"lora.init: 'loftq' corrects a quantised base's rounding, and precision "
                f"'{precision}' has none. Use precision nf4, or init 'zero'."
            )

    @property
    def scaling(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / (sqrt(self.rank) if self.rank_stabilised else self.rank)

    def trainable(self, context: FitContext, adapter: WeightAdapter, prefix: Prefix) -> Trainable:
        """Return what the loop trains; B may have a learning rate of its own."""
        parameters = adapter.parameters()
        factors = {
            name: self.learning_rate_ratio for name in parameters if name.endswith(".lora_B")
        }
        return Trainable(parameters, lambda: prefix, context.adapter_name, rate_factors=factors)

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write the matrices in PEFT's format; those of PiSSA with twice the rank."""
        rank = self.rank * (2 if self.init == "pissa" else 1)
        config = LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            base_model_name_or_path=published_name(context.engine.info.name),
            r=rank,
            # rsLoRA's scaling is folded into alpha: not every reader knows `use_rslora`.
            lora_alpha=self.scaling * rank,
            lora_dropout=self.dropout,
            **peft_targets(context, self.layers(context)),
        )
        save_adapter(context.engine.adapters.adapter(context.adapter_name), config, folder)

    def num_trainable(self, context: FitContext) -> int:
        """Return the sum of r (in + out) over the targeted layers (Hu et al. 2021, section 4.2)."""
        return self.num_low_rank(context, self.rank)

    def _correcting(
        self, context: FitContext, layers: dict[str, torch.nn.Module]
    ) -> dict[str, LowRankChange]:
        """Return changes that start at the best approximation of what quantising took away."""
        info = context.engine.info
        self.check_precision(info.precision)
        model = context.engine.forward.model
        originals = original_weights(info, model, [f"{name}.weight" for name in layers])
        return {
            name: self._along(
                originals[f"{name}.weight"].to(weight_of(layer)) - weight_of(layer),
                start_at_base=False,
            )
            for name, layer in layers.items()
        }

    def _along(self, matrix: torch.Tensor, *, start_at_base: bool) -> LowRankChange:
        """Return a change along the leading singular directions of a matrix (out, in)."""
        if self.rank > min(matrix.shape):
            raise ConfigError(
                f"methods.lora.rank: {self.rank} is more than the {min(matrix.shape)} directions a "
                f"targeted weight has. Use at most that many with init '{self.init}'."
            )
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        roots = (values[: self.rank] / self.scaling).sqrt()
        a = roots[:, None] * right[: self.rank]
        b = left[:, : self.rank] * roots
        return LowRankChange(
            a,
            b,
            self.scaling,
            dropout=self.dropout,
            subtract=(a.clone(), b.clone()) if start_at_base else None,
        )
