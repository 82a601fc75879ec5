"""Attention of rows over prefixes they share and over their own tokens, apart, on a CPU.

The queries of all rows of a prefix are one long product with its keys, which are held once; the
rows' own tokens follow causally, without a mask. Both parts are joined by their normalisers, which
is the softmax over all keys in another order of the same sums.

Source: Dao et al. 2022, "FlashAttention", https://arxiv.org/abs/2205.14135, section 3.1, for the
parts and how they are joined; Juravsky et al. 2024, "Hydragen", https://arxiv.org/abs/2402.05099,
section 3, for the shared prefix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from workbench.models.row_layout import RowLayout

QUERY_BLOCK = 256  # queries of a row that share a mask

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class SharedStates(NamedTuple):
    """Keys and values (H, P, head width) of one prefix, and the rows after it (None: all)."""

    rows: torch.Tensor | None
    keys: torch.Tensor
    values: torch.Tensor


class _Part(NamedTuple):
    """Queries of the own tokens that are attended in one call, and the mask where one is needed."""

    queries: slice
    mask: torch.Tensor | None  # of the keys up to the last of the queries


@dataclass(frozen=True)
class _Plan:
    """What is the same forwards and backwards."""

    layout: RowLayout | None  # None: all own tokens are chains
    rows: tuple[torch.Tensor | None, ...]  # after each prefix
    scale: float | None

    def parts(self, length: int) -> list[_Part]:
        """Return the calls for so many own tokens: the chain without a mask, the rest in blocks."""
        if self.layout is None or self.layout.trunk >= length:
            return [_Part(slice(0, length), None)]
        # Where one block would do anyway, a call is saved.
        trunk = self.layout.trunk if length > QUERY_BLOCK else 0
        parts = [_Part(slice(0, trunk), None)] if trunk else []
        own = self.layout.num_prefix
        for begin in range(trunk, length, QUERY_BLOCK):
            queries = slice(begin, min(begin + QUERY_BLOCK, length))
            keys = slice(own, own + queries.stop)
            parts.append(_Part(queries, self.layout.block(queries, keys, None)))
        return parts


def can_split(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Return whether torch has the kernel that tells its normaliser for such tensors."""
    is_known = query.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return query.device.type == "cpu" and is_known and key.shape[-1] == value.shape[-1]


def split_attention(  # noqa: PLR0917  queries, keys and values have an order known to all
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    shared: Sequence[SharedStates],
    layout: RowLayout | None,
    scale: float | None,
) -> torch.Tensor:
    """Return attention outputs (B, query heads, T, head width); differentiable.

    Args:
        query: (B, query heads, T, head width).
        key: (B, H, T, head width), of the rows' own tokens.
        value: (B, H, T, head width).
        shared: The prefixes; a row follows one at most.
        layout: Who sees whom among the own tokens; None: each row is a chain.
        scale: Of the scores; None: one over the root of the head width.
    """
    plan = _Plan(layout, tuple(one.rows for one in shared), scale)
    # What is stored in fewer bits is widened: the other way round queries would be rounded too.
    states = [part.to(query.dtype) for one in shared for part in (one.keys, one.values)]
    # The kernel takes it for granted that the numbers of one head lie side by side.
    tensors = [_in_order(one) for one in (query, key, value, *states)]
    outputs: torch.Tensor = _SplitAttention.apply(  # type: ignore[no-untyped-call]  # of torch
        plan, *tensors
    )
    return outputs


class _SplitAttention(torch.autograd.Function):
    """The kernel's own derivative of each part, given the outputs and normalisers of the whole."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *tensors: torch.Tensor) -> torch.Tensor:
        """Return the outputs; keep what the way back needs."""
        query, key, value, *shared = tensors
        made = [
            _forward(
                query[:, :, part.queries],
                key[:, :, : part.queries.stop],
                value[:, :, : part.queries.stop],
                is_causal=part.mask is None,
                attn_mask=_bias(part.mask, query),
                scale=plan.scale,
            )
            for part in plan.parts(query.shape[2])
        ]
        outputs = made[0][0] if len(made) == 1 else torch.cat([one[0] for one in made], dim=2)
        normalisers = made[0][1] if len(made) == 1 else torch.cat([one[1] for one in made], dim=2)
        for rows, keys, values in zip(plan.rows, shared[::2], shared[1::2], strict=True):
            found = _after_prefix(_of_rows(query, rows), keys, values, plan.scale)
            own = _of_rows(outputs, rows), _of_rows(normalisers, rows)
            joined = _joined(*own, *found)
            if rows is None:
                outputs, normalisers = joined
            else:
                outputs[rows], normalisers[rows] = joined
        ctx.plan = plan
        ctx.save_for_backward(outputs, normalisers, *tensors)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of queries, own keys and values, and those of the prefixes."""
        outputs, normalisers, query, key, value, *shared = ctx.saved_tensors
        (grad,), plan = grads, ctx.plan
        groups = query.shape[1] // key.shape[1]
        found = torch.zeros_like(query)
        found_key, found_value = torch.zeros_like(key), torch.zeros_like(value)
        for part in plan.parts(query.shape[2]):
            queries, keys = part.queries, slice(0, part.queries.stop)
            of_query, of_key, of_value = _backward(
                grad[:, :, queries],
                query[:, :, queries],
                key[:, :, keys].repeat_interleave(groups, dim=1),  # the kernel takes no groups here
                value[:, :, keys].repeat_interleave(groups, dim=1),
                outputs[:, :, queries],
                normalisers[:, :, queries],
                0.0,
                part.mask is None,
                attn_mask=_bias(part.mask, query),
                scale=plan.scale,
            )
            found[:, :, queries] += of_query
            found_key[:, :, keys] += _of_groups(of_key, groups)
            found_value[:, :, keys] += _of_groups(of_value, groups)
        of_shared: list[torch.Tensor] = []
        for rows, keys, values in zip(plan.rows, shared[::2], shared[1::2], strict=True):
            asked, told, out = (_of_rows(one, rows) for one in (query, grad, outputs))
            num_rows, _, length, width = asked.shape
            behind = (num_rows, len(keys), groups * length)
            # Row by row, not as one long product: the kernel shares its work by rows and heads.
            of_query, of_keys, of_values = _backward(
                told.reshape(*behind, width),
                asked.reshape(*behind, width),
                keys.expand(num_rows, -1, -1, -1),
                values.expand(num_rows, -1, -1, -1),
                out.reshape(*behind, width),
                _of_rows(normalisers, rows).reshape(behind),
                0.0,
                is_causal=False,
                scale=plan.scale,
            )
            place = slice(None) if rows is None else rows
            found[place] += of_query.reshape(asked.shape)
            of_shared += [of_keys.sum(dim=0), of_values.sum(dim=0)]
        return None, found, found_key, found_value, *of_shared


def _after_prefix(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs (n, query heads, T, head width) and normalisers (n, query heads, T)."""
    rows, heads, length, width = query.shape
    folded = query.transpose(0, 1).reshape(1, heads, rows * length, width)
    found, normalisers = _forward(folded, keys[None], values[None], scale=scale)
    return (
        found.reshape(heads, rows, length, width).transpose(0, 1),
        normalisers.reshape(heads, rows, length).transpose(0, 1),
    )


def _joined(
    own: torch.Tensor,
    own_normalisers: torch.Tensor,
    shared: torch.Tensor,
    shared_normalisers: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs over both parts' keys, and their normalisers."""
    weights = torch.sigmoid(shared_normalisers - own_normalisers)[..., None]
    outputs = torch.lerp(own, shared, weights.to(own.dtype))
    return outputs, torch.logaddexp(own_normalisers, shared_normalisers)


def _in_order(states: torch.Tensor) -> torch.Tensor:
    return states if states.stride(-1) == 1 else states.contiguous()


def _of_rows(states: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
    return states if rows is None else states[rows]


def _of_groups(grads: torch.Tensor, groups: int) -> torch.Tensor:
    """Return (B, H, T, width): the sum over the query heads that share a key head."""
    batch, heads, length, width = grads.shape
    return grads.reshape(batch, heads // groups, groups, length, width).sum(dim=2)


def _bias(mask: torch.Tensor | None, query: torch.Tensor) -> torch.Tensor | None:
    """Return a mask as the kernel takes it, which is added to the scores."""
    if mask is None:
        return None
    return torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, -torch.inf)
