"""Products of states with frozen float32 weights, by the kernel that has most of a CPU at work.

`torch.nn.functional.linear` gives a product of few rows to one core, and reads weights at a third
of the memory's speed; answers are made of such products. Cut into parts they are shared among
cores. With many rows oneDNN's kernel is ahead of the default one, least on Intel's own processors.

Which kernel it is follows from the shapes alone, never from a timing or the number of cores.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import linear

_PARTS = 8  # of the outputs; more cores than that would wait for the memory
_FEW = 128  # rows that are multiplied in parts
_FEWEST = 3500  # numbers of the inputs; as many stay in a core's nearest cache while weights pass
# What `torch.compile` takes for linear layers; a torch without oneDNN has no such operation.
_ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_REORDERED: Any = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
_TRIED = (1, 2, 5, 16, 64, 300)  # rows


def product(
    inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the product (..., out) of inputs (..., in) and a weight (out, in), with its bias."""
    if weight.requires_grad or (bias is not None and bias.requires_grad):
        return linear(inputs, weight, bias)
    return frozen_product(inputs, lambda: weight, bias)


def frozen_product(
    inputs: torch.Tensor, read: Callable[[], torch.Tensor], bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the product (..., out) with a weight that is read here and for the backward pass.

    Gradients reach the inputs alone; the weight need not be held in between.
    """
    if torch.is_grad_enabled() and inputs.requires_grad:
        made: torch.Tensor = _FrozenProduct.apply(inputs, read, bias)  # type: ignore[no-untyped-call]  # of torch
        return made
    return _multiplied(inputs, read(), bias)


class _FrozenProduct(torch.autograd.Function):
    """A product whose weight is not trained."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        read: Callable[[], torch.Tensor],
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the product; keep how the weight is read."""
        ctx.read = read
        return _multiplied(inputs, read(), bias)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Return the gradient of the inputs."""
        return _multiplied(grads[0], ctx.read().t(), None), None, None


def _multiplied(
    inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    kinds = {inputs.dtype, weight.dtype}
    if weight.device.type != "cpu" or kinds != {torch.float32} or not inputs.numel():
        return linear(inputs, weight, bias)
    rows, size = inputs.numel() // inputs.shape[-1], len(weight)
    made: torch.Tensor
    if rows > _FEW or size % _PARTS or not weight.is_contiguous():
        if _ONEDNN is None:
            return linear(inputs, weight, bias)
        made = _ONEDNN(inputs, weight, bias, "none", [], "")
        return made
    flat = inputs.reshape(rows, -1)
    parts = weight.view(_PARTS, size // _PARTS, -1)
    if rows == 1 or flat.numel() <= _FEWEST:
        turned = torch.bmm(parts, flat.t().expand(_PARTS, -1, -1))  # (parts, out / parts, rows)
        made = turned.view(size, rows).t().contiguous()  # as whoever reads it expects
    else:
        beside = torch.bmm(flat.expand(_PARTS, -1, -1), parts.transpose(1, 2))
        made = beside.transpose(0, 1)  # (rows, parts, out / parts)
    made = made.reshape(*inputs.shape[:-1], size)
    return made if bias is None else made + bias


class BlockedWeight:
    """A 16-bit weight in the order in which oneDNN's kernel reads it; no gradient passes it.

    From the usual order it is brought into that one for every product, which with few rows takes
    as long as the product itself.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self._blocks = _REORDERED(weight, 1)

    def product(self, inputs: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Return the product (..., out) of inputs (..., in)."""
        made: torch.Tensor = _ONEDNN(inputs, self._blocks, bias, "none", [], "")
        return made

    def __deepcopy__(self, memo: object) -> "BlockedWeight":
        """Return itself: nothing changes it, and torch cannot copy what it holds."""
        return self


def can_block(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether weights of a dtype may be worth a `BlockedWeight` there."""
    return device.type == "cpu" and dtype == torch.bfloat16 and _ONEDNN is not None


def blocked(weight: torch.Tensor) -> BlockedWeight | None:
    """Return a weight (out, in) in blocks, or None where its products are not the same bits."""
    if not can_block(weight.device, weight.dtype) or not _equal_in_blocks(weight.shape):
        return None
    return BlockedWeight(weight)


@lru_cache
def _equal_in_blocks(shape: torch.Size) -> bool:
    """Return whether the kernel gives the same for weights of a shape in both orders."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=draw).bfloat16()
    try:
        blocks = BlockedWeight(weight)
        for rows in _TRIED:
            inputs = torch.randn(rows, shape[1], generator=draw).bfloat16()
            if not torch.equal(blocks.product(inputs, None), linear(inputs, weight)):
                return False
    except RuntimeError:  # of oneDNN: this processor has no such kernel
        return False
    return True


class PlainLinear(torch.nn.Linear):
    """A linear layer that multiplies so."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product (..., out) of inputs (..., in)."""
        return product(x, self.weight, self.bias)


def use_own_products(model: torch.nn.Module) -> None:
    """Let the plain linear layers of a model multiply so."""
    for layer in model.modules():
        if type(layer) is torch.nn.Linear:
            layer.__class__ = PlainLinear
