"""Bottleneck adapters: a small network after a sublayer, down, through a nonlinearity, up, added.

Sources: Houlsby et al. 2019, https://arxiv.org/abs/1902.00751, section 2.1 (after attention and
MLP); Pfeiffer et al. 2021, https://arxiv.org/abs/2005.00247 (after the MLP alone).
Differs from the sources: the base's norms are not trained, and the way up starts at zero, so that
training starts at the base exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import gelu, linear, relu

from workbench.fitting.base import FitContext
from workbench.fitting.weight_training import OwnWeightTraining, sizes_of
from workbench.models.adapters.bank import LayerChange, WeightAdapter
from workbench.models.adapters.layer_changes import new_low_rank
from workbench.models.layers import linear_layers
from workbench.options import option
from workbench.shared_options import WIDTH

_NONLINEARITIES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"relu": relu, "gelu": gelu}


@dataclass(frozen=True, kw_only=True)
class BottleneckAdapter(OwnWeightTraining):
    """Learn networks of inner width `width` after the sublayers' output projections."""

    summary: ClassVar[str] = "small networks between the layers"
    gloss: ClassVar[str] = (
        "Small networks are put between the base's layers, and only they are learned."
    )
    default_rate: ClassVar[float] = 3e-4
    tiny_rate: ClassVar[float] = 0.01

    width: int = WIDTH.option()
    places: str = option(
        "attention_and_mlp",
        choices=("attention_and_mlp", "mlp"),
        help="Where they stand: after both parts of each layer (Houlsby), or after its MLP "
        "alone (Pfeiffer).",
    )
    nonlinearity: str = option(
        "relu",
        choices=tuple(_NONLINEARITIES),
        help="The function between the way down and the way up inside each of them.",
    )

    def new_adapter(self, context: FitContext) -> WeightAdapter:
        """Return adapters whose way up is zero."""
        generator = torch.Generator().manual_seed(context.seed)
        changes = {}
        for name, layer in sorted(self._layers(context).items()):
            high = sizes_of(layer)[1]
            down, up = new_low_rank((high, high), self.width, generator)
            changes[name] = _Bottleneck(down, up, self.nonlinearity)
        return WeightAdapter(changes)

    def num_trainable(self, context: FitContext) -> int:
        """Return 2 D m + m + D for each place (Houlsby et al. 2019, section 2.1)."""
        widths = [sizes_of(layer)[1] for layer in self._layers(context).values()]
        return sum(2 * d * self.width + self.width + d for d in widths)

    def _layers(self, context: FitContext) -> dict[str, torch.nn.Module]:
        """Return the last linear layer of each sublayer that gets an adapter."""
        model = context.engine.forward.model
        found = linear_layers(model, "mlp_output")
        if self.places == "attention_and_mlp":
            found |= linear_layers(model, "attention_output")
        return found


class _Bottleneck(LayerChange):
    """Adds up(nonlinearity(down(outputs))) to the outputs (B, T, D).

    Args:
        down: (m, D).
        up: (D, m).
        nonlinearity: Name of it.
    """

    def __init__(self, down: torch.Tensor, up: torch.Tensor, nonlinearity: str) -> None:
        super().__init__()
        self.down = torch.nn.Parameter(down)
        self.down_bias = torch.nn.Parameter(torch.zeros(len(down)))
        self.up = torch.nn.Parameter(up)
        self.up_bias = torch.nn.Parameter(torch.zeros(len(up)))
        self._nonlinearity = _NONLINEARITIES[nonlinearity]

    def output(
        self, layer: torch.nn.Module, inputs: torch.Tensor, outputs: torch.Tensor
    ) -> torch.Tensor:
        """Return outputs + up(nonlinearity(down(outputs)))."""
        inner = self._nonlinearity(linear(outputs.to(self.down.dtype), self.down, self.down_bias))
        return outputs + linear(inner, self.up, self.up_bias).to(outputs.dtype)
