"""Changes of linear layers that PEFT knows: LoRA, DoRA, AdaLoRA and IA3.

Sources: Hu et al. 2021 (LoRA), https://arxiv.org/abs/2106.09685, section 4.1; Liu et al. 2024
(DoRA), https://arxiv.org/abs/2402.09353, sections 4.1 and 4.3; Zhang et al. 2023 (AdaLoRA),
https://arxiv.org/abs/2303.10512, section 3.1. Names of parameters are PEFT's.
"""

import torch
from torch.nn.functional import dropout, linear
from transformers.pytorch_utils import Conv1D

from workbench.models.adapters.bank import LayerChange
from workbench.models.quantised_layers import dequantised_weight

_ALMOST_NOTHING = 1e-5  # PEFT adds it to the rank that AdaLoRA's change is divided by


class LowRankChange(LayerChange):
    """Adds scaling * B A x to the outputs of a linear layer.

    Args:
        a: (r, in).
        b: (out, r).
        scaling: What the product is multiplied by: alpha / r, or alpha / sqrt(r).
        dropout: Share of the inputs of A that are set to zero while training.
        subtract: A and B whose product is taken off again, so that a change that starts from
            directions of the base's own weight starts at the base; not trained.
    """

    is_weight_change = True

    start_a: torch.Tensor | None
    start_b: torch.Tensor | None

    def __init__(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
        *,
        dropout: float = 0.0,
        subtract: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.lora_A = torch.nn.Parameter(a)
        self.lora_B = torch.nn.Parameter(b)
        self.scaling, self.dropout = scaling, dropout
        a_off, b_off = subtract or (None, None)
        self.register_buffer("start_a", a_off)
        self.register_buffer("start_b", b_off)

    @property
    def matrices(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A (r, in) and B (out, r) of the whole change, including the start that is subtracted."""
        if self.start_a is None or self.start_b is None:
            return self.lora_A, self.lora_B
        return torch.cat([self.lora_A, self.start_a]), torch.cat([self.lora_B, -self.start_b], 1)

    def output(
        self, layer: torch.nn.Module, inputs: torch.Tensor, outputs: torch.Tensor
    ) -> torch.Tensor:
        """Return outputs + scaling * B A inputs."""
        return outputs + self._change(inputs).to(outputs.dtype)

    def _change(self, inputs: torch.Tensor) -> torch.Tensor:
        a, b = self.matrices
        states = dropout(inputs.to(a.dtype), self.dropout, self.training)
        return linear(linear(states, a), b) * self.scaling


class DirectionChange(LowRankChange):
    """Learns the lengths of the weight's rows apart from their directions (DoRA).

    The layer's weight becomes m (W + scaling B A) / ||W + scaling B A||, row by row; the norm is a
    constant for the gradient (section 4.3).
    Differs from the source: rows of (out, in), as in its own code and in PEFT.

    Args:
        layer: The linear layer; m starts at the lengths of its weight's rows.
        a: (r, in).
        b: (out, r).
        scaling: What the product is multiplied by.
        dropout: Before A while training.
    """

    weight_norms: torch.Tensor

    def __init__(
        self,
        layer: torch.nn.Module,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(a, b, scaling, dropout=dropout)
        weight = weight_of(layer)
        self.register_buffer("weight_norms", weight.norm(dim=1), persistent=False)
        self.lora_magnitude_vector = torch.nn.Parameter(self.weight_norms.clone())
        self._lengths: tuple[tuple[int, int, bool], torch.Tensor] | None = None

    def output(
        self, layer: torch.nn.Module, inputs: torch.Tensor, outputs: torch.Tensor
    ) -> torch.Tensor:
        """Return the outputs of the layer with the decomposed weight; its bias stays."""
        bias = layer.get_parameter("bias") if getattr(layer, "bias", None) is not None else None
        scale = self.lora_magnitude_vector / self._row_lengths(layer)
        # The lengths scale the product of the weight alone, so the bias is taken off and put back.
        product = outputs if bias is None else outputs - bias
        changed = scale * (product + self._change(inputs))
        return (changed if bias is None else changed + bias).to(outputs.dtype)

    def _row_lengths(self, layer: torch.nn.Module) -> torch.Tensor:
        """Return (out,) lengths of the rows of W + scaling B A, without forming the sum.

        The square of a row's length is |w|^2 + 2 s b A w' + s^2 b A A' b'.
        """
        # What was computed under inference mode cannot be part of a gradient.
        key = (self.lora_A._version, self.lora_B._version, torch.is_inference_mode_enabled())
        if self._lengths is not None and self._lengths[0] == key:
            return self._lengths[1]
        with torch.no_grad():
            a, b, s = self.lora_A, self.lora_B, self.scaling
            weight = weight_of(layer)  # (out, in)
            cross = (b * (weight @ a.T)).sum(1)
            square = ((b @ (a @ a.T)) * b).sum(1)
            lengths = (self.weight_norms.square() + 2 * s * cross + s * s * square).sqrt()
        self._lengths = (key, lengths)
        return lengths


class SingularChange(LayerChange):
    """Adds alpha / r * B (E * A x): a change as a singular value decomposition (AdaLoRA).

    Args:
        a: (r, in) right singular vectors.
        e: (r, 1) singular values; what is zero has been pruned.
        b: (out, r) left singular vectors.
        alpha: Numerator of the scaling.
        rank: Its denominator, the rank at the start; None: that of A.
        dropout: Before A while training.
    """

    is_weight_change = True

    def __init__(
        self,
        a: torch.Tensor,
        e: torch.Tensor,
        b: torch.Tensor,
        alpha: float,
        *,
        rank: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.lora_A = torch.nn.Parameter(a)
        self.lora_E = torch.nn.Parameter(e)
        self.lora_B = torch.nn.Parameter(b)
        self.scaling, self.dropout = alpha / ((rank or len(a)) + _ALMOST_NOTHING), dropout

    def output(
        self, layer: torch.nn.Module, inputs: torch.Tensor, outputs: torch.Tensor
    ) -> torch.Tensor:
        """Return outputs + alpha / r * B (E * A inputs)."""
        states = dropout(inputs.to(self.lora_A.dtype), self.dropout, self.training)
        change = linear(linear(states, self.lora_A * self.lora_E), self.lora_B) * self.scaling
        return outputs + change.to(outputs.dtype)


def new_low_rank(
    sizes: tuple[int, int], rank: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A (r, in), drawn as PEFT and linear layers draw it, and B (out, r) of zeros."""
    wide, high = sizes
    bound = wide**-0.5
    a = torch.empty(rank, wide).uniform_(-bound, bound, generator=generator)
    return a, torch.zeros(high, rank)


def weight_of(layer: torch.nn.Module) -> torch.Tensor:
    """Return the weight (out, in) of a linear layer in float32, restored if it is quantised."""
    weight = dequantised_weight(layer)
    return weight.T if isinstance(layer, Conv1D) else weight


class ScalingChange(LayerChange):
    """Multiplies the outputs of a layer, or its inputs, by a learned vector (IA3).

    Source: Liu et al. 2022, https://arxiv.org/abs/2205.05638, section 3.3.

    Args:
        scales: (out, 1) for outputs, (1, in) for inputs, as in PEFT.
    """

    is_weight_change = True

    def __init__(self, scales: torch.Tensor) -> None:
        super().__init__()
        self.ia3_l = torch.nn.Parameter(scales)
        # The shape says it, as in PEFT, whose files hold nothing else about it.
        self.changes_input = scales.shape[0] == 1

    def input(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return inputs times the vector."""
        return (inputs * self.ia3_l.flatten()).to(inputs.dtype)

    def output(
        self, layer: torch.nn.Module, inputs: torch.Tensor, outputs: torch.Tensor
    ) -> torch.Tensor:
        """Return outputs times the vector, or as they are where it is for the inputs."""
        if self.changes_input:
            return outputs
        return (outputs * self.ia3_l.flatten()).to(outputs.dtype)
