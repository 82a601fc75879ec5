"""Ways to train a tensor through something larger that is left behind after training.

A reparametrisation changes how vectors move while they are trained, not what they can become: what
is stored, run and exported is the tensor it makes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from peft import PrefixTuningConfig, PromptEncoderConfig
from peft.tuners.p_tuning import PromptEncoder
from peft.tuners.prefix_tuning import PrefixEncoder

from workbench.fitting.learning import PROMPT


@dataclass(frozen=True)
class LearnedTensor:
    """Trained parameters, and the tensor they make.

    Attributes:
        parameters: What is trained, by name, in float32.
        made: Returns the tensor; differentiable with respect to the parameters.
        rate_factors: What the learning rate is multiplied by, by parameter.
    """

    parameters: Mapping[str, torch.nn.Parameter]
    made: Callable[[], torch.Tensor]
    rate_factors: Mapping[str, float] = field(default_factory=dict)


def plain(vectors: torch.Tensor) -> LearnedTensor:
    """Return vectors (P, D) that are trained themselves."""
    parameter = torch.nn.Parameter(vectors)
    return LearnedTensor({PROMPT: parameter}, lambda: parameter)


class _Residual(torch.nn.Module):
    """Vectors plus a bottleneck's correction of them, which is zero at first."""

    def __init__(self, vectors: torch.Tensor, bottleneck: int) -> None:
        super().__init__()
        width = vectors.shape[1]
        self.prompt_embeddings = torch.nn.Parameter(vectors)
        self.down = torch.nn.Linear(width, bottleneck)
        self.up = torch.nn.Linear(bottleneck, width)
        self.norm = torch.nn.LayerNorm(width)
        torch.nn.init.zeros_(self.norm.weight)

    def forward(self) -> torch.Tensor:
        """Return the vectors (P, D)."""
        inner = torch.relu(self.down(self.prompt_embeddings))
        corrected: torch.Tensor = self.prompt_embeddings + self.norm(self.up(inner))
        return corrected


def residual(vectors: torch.Tensor, *, bottleneck: int, scale: float, seed: int) -> LearnedTensor:
    """Return vectors (P, D) trained together with a shared bottleneck that corrects each.

    Trains P x D + 2 x D x bottleneck + bottleneck + 3 x D parameters.

    Args:
        vectors: What the prompt equals at first.
        bottleneck: Width of the hidden layer.
        scale: Root mean square of an embedding.
        seed: What the layers' weights are drawn from.

    Source: Razdaibiedina et al. 2023, "Residual Prompt Tuning",
    https://arxiv.org/abs/2305.03937. Differs from the source: the layer norm's gain
    starts at zero, so that the prompt starts at its init; and the linear layers' steps are as large
    relative to their own weights as those of the vectors are to an embedding.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _Residual(vectors, bottleneck).to(vectors.device)
    weight = 1.0 / math.sqrt(3 * vectors.shape[1])  # standard deviation of a fresh linear layer's
    factor = weight / scale
    layers = ("down.weight", "down.bias", "up.weight", "up.bias")
    return LearnedTensor(
        dict(module.named_parameters()), module.__call__, dict.fromkeys(layers, factor)
    )


def residual_size(num_vectors: int, width: int, bottleneck: int) -> int:
    """Return how many parameters `residual` trains."""
    return num_vectors * width + 2 * width * bottleneck + bottleneck + 3 * width


def encoded(
    *,
    num_vectors: int,
    width: int,
    kind: str,
    hidden: int,
    scale: float,
    seed: int,
    device: torch.device,
) -> LearnedTensor:
    """Return vectors (P, D) made by an encoder from a trained embedding (PEFT's `PromptEncoder`).

    Args:
        num_vectors: Vectors to make (P).
        width: Width of each (D).
        kind: "mlp", three linear layers; or "lstm", two bidirectional layers and two linear ones.
        hidden: Width of the encoder.
        scale: Root mean square of the vectors at the start, by a constant factor.
        seed: What the weights are drawn from.
        device: Where the parameters live.
    """
    config = PromptEncoderConfig(
        num_virtual_tokens=num_vectors,
        token_dim=width,
        num_transformer_submodules=1,
        encoder_reparameterization_type=kind.upper(),
        encoder_hidden_size=hidden,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = PromptEncoder(config).to(device)
    slots = torch.arange(num_vectors, device=device)[None]
    with torch.no_grad():
        factor = scale / float(encoder(slots).square().mean().sqrt())
    return LearnedTensor(dict(encoder.named_parameters()), lambda: factor * encoder(slots)[0])


def encoded_size(num_vectors: int, width: int, kind: str, hidden: int) -> int:
    """Return how many parameters `encoded` trains."""
    if kind == "mlp":
        layers = (width, hidden, hidden, width)
        linear = sum(a * b + b for a, b in pairwise(layers))
        return num_vectors * width + linear
    first, second = (2 * 4 * hidden * (size + hidden + 2) for size in (width, 2 * hidden))
    head = (2 * hidden) * (2 * hidden) + 2 * hidden + 2 * hidden * width + width
    return num_vectors * width + first + second + head


def shifted(start: torch.Tensor, scale: torch.Tensor) -> LearnedTensor:
    """Return keys and values (P, L x 2 x H x head width) trained as shifts from their start.

    Args:
        start: What they equal at first.
        scale: (L x 2 x H x head width) what a shift of 1 is, so that one learning rate suits all
            layers.
    """
    shift = torch.nn.Parameter(torch.zeros_like(start))
    return LearnedTensor({"shift": shift}, lambda: start + scale * shift)


def projected(
    start: torch.Tensor, scale: torch.Tensor, *, layers: int, hidden: int, seed: int
) -> LearnedTensor:
    """Return keys and values as `shifted` does, with the shifts made by PEFT's `PrefixEncoder`.

    Trains P x K + K x hidden + hidden + (hidden + 1) x 2 x L x K parameters, K being the width of
    all heads of a layer's keys.

    Source: Li and Liang 2021, https://arxiv.org/abs/2101.00190, section 4.3. Differs from
    the source: the network's output is added to the start and is zero at first, so that any init
    can be combined with it.
    """
    config = PrefixTuningConfig(
        num_virtual_tokens=len(start),
        token_dim=start.shape[1] // (2 * layers),
        num_layers=layers,
        encoder_hidden_size=hidden,
        prefix_projection=True,
        init_weights="zero",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = PrefixEncoder(config).to(start.device)
    slots = torch.arange(len(start), device=start.device)[None]
    return LearnedTensor(
        dict(encoder.named_parameters()), lambda: start + scale * encoder(slots)[0]
    )


def projected_size(num_vectors: int, layers: int, key_width: int, hidden: int) -> int:
    """Return how many parameters `projected` trains."""
    inner = num_vectors * key_width + key_width * hidden + hidden
    return inner + (hidden + 1) * 2 * layers * key_width
