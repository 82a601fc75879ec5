"""The product of states with the output head, summed in float32 whatever weights are stored in."""

from typing import Any

import torch

from workbench.models.products import product

_BLOCK_BYTES = 1 << 26  # of the vocabulary in float32 at a time: 64 MiB instead of the whole matrix


def wide_product(hidden: torch.Tensor, head: Any) -> torch.Tensor:
    """Return float32 products (..., V) of hidden states (..., D) and the head with its bias.

    Weights of 16 bits are widened a part of the vocabulary at a time: each logit is the sum it
    would be with the whole matrix in float32, which for 128,000 tokens of width 4,096 takes 2 GB.
    With gradients all parts are held until the backward pass.
    """
    bias = getattr(head, "bias", None)
    wide, weight = hidden.float(), head.weight
    bias = None if bias is None else bias.float()
    if weight.dtype == torch.float32:
        return product(wide, weight, bias)
    rows = max(1, _BLOCK_BYTES // (4 * weight.shape[1]))
    parts = [product(wide, part.float()) for part in weight.split(rows)]
    made = torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]
    return made if bias is None else made + bias
