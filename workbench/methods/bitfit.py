"""BitFit: learn the biases alone.

Source: Ben Zaken et al. 2022, https://arxiv.org/abs/2106.10199, section 3.
Differs from the source: decoders of today have no biases, so each linear layer gets one that starts
at zero.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from workbench.fitting.base import FitContext
from workbench.fitting.weight_training import OwnWeightTraining, sizes_of
from workbench.models.adapters.bank import LayerChange, WeightAdapter
from workbench.models.layers import linear_layers
from workbench.options import option
from workbench.shared_options import TARGETS


@dataclass(frozen=True, kw_only=True)
class BitFit(OwnWeightTraining):
    """Learn what is added to the outputs of the chosen linear layers."""

    summary: ClassVar[str] = "biases alone"
    gloss: ClassVar[str] = (
        "Only the small constants inside the layers are learned; everything else of the base stays."
    )
    default_rate: ClassVar[float] = 3e-3
    tiny_rate: ClassVar[float] = 0.05

    targets: str = option(
        "all_linear", choices=TARGETS, help="Which layers get a learned constant (a bias)."
    )

    def new_adapter(self, context: FitContext) -> WeightAdapter:
        """Return biases of zero."""
        layers = linear_layers(context.engine.forward.model, self.targets)
        return WeightAdapter({name: _Shift(sizes_of(layer)[1]) for name, layer in layers.items()})

    def num_trainable(self, context: FitContext) -> int:
        """Return the sum of the targeted layers' output widths."""
        layers = linear_layers(context.engine.forward.model, self.targets)
        return sum(sizes_of(layer)[1] for layer in layers.values())


class _Shift(LayerChange):
    """Adds a vector (out,) to the outputs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(width))

    def output(
        self, layer: torch.nn.Module, inputs: torch.Tensor, outputs: torch.Tensor
    ) -> torch.Tensor:
        """Return outputs + bias."""
        return outputs + self.bias.to(outputs.dtype)
