"""Products of states with a base's frozen weights, by the kernel that has most of a CPU at work.

`torch.nn.functional.linear` gives a float32 product of few rows to one core on AMD processors and
reads weights at a third of the memory's speed; answers are made of such products. Cut into parts
they are shared among cores. With many rows oneDNN's kernel is ahead of the default one there. In
bfloat16 it is oneDNN's in any case, and with few rows half of the time goes into bringing weights
into its order; `BlockedWeight` keeps them so.

Which kernel takes a product never follows from a timing or from the number of cores. Everything
else than float32 weights on a CPU is left to torch.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

_PARTS = 8  # of the outputs; more cores than that would wait for the memory
_FEW_ROWS = 128  # up to which a product is cut into parts
# Inputs of so few numbers stay in a core's nearest cache while the weights pass by.
_FEW_INPUTS = 3500
_TRIED = (1, 2, 5, 16, 64, 300)  # rows
# What `torch.compile` takes for linear layers; not every torch has them, see `_has_onednn`.
_PRODUCT: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_REORDERED: Any = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
_NEAR = 1e-4  # of products of numbers of unit size, 64 in a sum


def product(
    inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the product (..., out) of inputs (..., in) and a weight (out, in), with its bias."""
    if weight.requires_grad:
        return linear(inputs, weight, bias)
    return frozen_product(inputs, lambda: weight, bias)


def frozen_product(
    inputs: torch.Tensor, read: Callable[[], torch.Tensor], bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the product (..., out) with a weight that is read here and for the backward pass.

    Gradients reach inputs and bias; the weight need not be held in between.
    """
    if bias is not None and bias.requires_grad:
        return frozen_product(inputs, read) + bias
    if not torch.is_grad_enabled() or not inputs.requires_grad:
        return _multiplied(inputs, read(), bias)
    made: torch.Tensor = _FrozenProduct.apply(  # type: ignore[no-untyped-call]  # of torch
        inputs, read, bias
    )
    return made


class _FrozenProduct(torch.autograd.Function):
    """A product of which neither weight nor bias is trained."""

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
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Return the gradient of the inputs."""
        return _multiplied(grads[0], ctx.read().t(), None), None, None


def _multiplied(
    inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    if not _is_float_on_cpu(inputs, weight, bias) or not inputs.numel() or not weight.numel():
        return linear(inputs, weight, bias)
    size, width = weight.shape
    made: torch.Tensor
    rows = inputs.numel() // width
    if rows > _FEW_ROWS or size % _PARTS or not weight.is_contiguous():
        if not _has_onednn():
            return linear(inputs, weight, bias)
        made = _PRODUCT(inputs, weight, bias, "none", [], "")
        return made
    flat = inputs.reshape(rows, width)
    parts = weight.view(_PARTS, size // _PARTS, width)
    if rows == 1 or flat.numel() <= _FEW_INPUTS:
        turned = torch.bmm(parts, flat.t().expand(_PARTS, -1, -1))  # (parts, out / parts, rows)
        made = turned.view(size, rows).t().contiguous()  # as whoever reads it expects
    else:
        beside = torch.bmm(flat.expand(_PARTS, -1, -1), parts.transpose(1, 2))
        made = beside.transpose(0, 1)  # (rows, parts, out / parts)
    made = made.reshape(*inputs.shape[:-1], size)
    return made if bias is None else made + bias


def _is_float_on_cpu(*tensors: torch.Tensor | None) -> bool:
    given = [one for one in tensors if one is not None]
    return all(one.device.type == "cpu" and one.dtype == torch.float32 for one in given)


@lru_cache
def _has_onednn() -> bool:
    """Return whether oneDNN's operations are there, are called as here, and multiply rightly.

    They are torch's own, so another version may have changed them; and oneDNN may have been told
    to round (`ONEDNN_DEFAULT_FPMATH_MODE`).
    """
    if _PRODUCT is None or _REORDERED is None:
        return False
    draw = torch.Generator().manual_seed(0)
    inputs, bias = torch.randn(3, 64, generator=draw), torch.randn(16, generator=draw)
    weight = torch.randn(16, 64, generator=draw)
    turned = weight.t().contiguous().t()
    try:
        gaps = [
            (_PRODUCT(inputs, one, bias, "none", [], "") - linear(inputs, weight, bias)).abs().max()
            for one in (weight, turned)
        ]
    except (RuntimeError, TypeError):
        return False
    return bool(max(gaps) < _NEAR)


class BlockedWeight:
    """A 16-bit weight in the order in which oneDNN's kernel reads it; no gradient passes it."""

    def __init__(self, weight: torch.Tensor) -> None:
        self._blocks = _REORDERED(weight, 1)

    def product(self, inputs: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Return the product (..., out) of inputs (..., in)."""
        made: torch.Tensor = _PRODUCT(inputs, self._blocks, bias, "none", [], "")
        return made

    def __deepcopy__(self, memo: object) -> "BlockedWeight":
        """Return itself: nothing changes it, and torch cannot copy what it holds."""
        return self


def can_block(device: str, dtype: torch.dtype, shape: torch.Size) -> bool:
    """Return whether products with a `BlockedWeight` (out, in) are `linear`'s to the last bit."""
    return device == "cpu" and dtype == torch.bfloat16 and _equal_in_blocks(shape)


@lru_cache
def _equal_in_blocks(shape: torch.Size) -> bool:
    if not _has_onednn():
        return False
    draw = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(size, generator=draw).bfloat16() for size in (shape, shape[:1]))
    try:
        blocks = BlockedWeight(weight)
        for rows in _TRIED:
            inputs = torch.randn(rows, shape[1], generator=draw).bfloat16()
            for added in (None, bias):
                if not torch.equal(blocks.product(inputs, added), linear(inputs, weight, added)):
                    return False
    except (RuntimeError, TypeError):  # this processor has no such kernel
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
