"""Attention of batches that share prefixes, without masks where the shape of the rows says enough.

On a CPU each prefix and the rows' own tokens are attended apart (`split_attention`). Where that is
not possible (a window that hides something, keys and values of different widths, another device)
the queries of a group stand behind each other, so that keys and values need not be copied for each
query head, and longer texts are taken a block of queries at a time.

Gemma-2 caps its scores and GPT-OSS lets heads look at nothing ("sinks"); torch's own attention can
do neither, so these are computed step by step.

A batch run as one tree (`Engine.run_as_tree`) is attended as what it stands for: a prefix, and rows
that see the prefix and themselves, never each other.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from workbench.models.prefixed_states import PrefixedStates
from workbench.models.row_layout import LazyMask
from workbench.models.split_attention import (
    QUERY_BLOCK,
    SharedStates,
    can_split,
    split_attention,
)

GROUPED_ATTENTION = "grouped"  # no name with "sdpa", which transformers takes for torch's

AttentionWatch = Callable[[int, torch.Tensor], None]
"""Told a layer's number and its attention weights (B, query heads, T, K), layer by layer."""


@dataclass(frozen=True)
class RowBlocks:
    """The shape of a tree: a prefix, then rows of equal length that each follow the prefix."""

    prefix: int
    rows: int
    length: int


def use_grouped_attention(model: PreTrainedModel) -> None:
    """Let a model loaded with "sdpa" attention use `grouped_attention`."""
    AttentionInterface.register(GROUPED_ATTENTION, grouped_attention)
    AttentionMaskInterface.register(GROUPED_ATTENTION, sdpa_mask)
    model.set_attn_implementation(GROUPED_ATTENTION)


@contextmanager
def attention_can_be_watched(model: PreTrainedModel) -> Iterator[None]:
    """Let a model use `grouped_attention` inside the block, also where it is not the faster one."""
    usual = model.config._attn_implementation
    if usual == GROUPED_ATTENTION:
        yield
        return
    use_grouped_attention(model)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def grouped_attention(  # noqa: PLR0917  transformers calls it so
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    row_blocks: RowBlocks | None = None,
    attention_watch: AttentionWatch | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Return attention outputs (B, T, query heads, value width).

    Args:
        module: The attention layer.
        query: (B, query heads, T, head width).
        key: (B, H, K, head width).
        value: (B, H, K, value width).
        attention_mask: (B, 1, T, K), bool; `LazyMask` of rows after prefixes; None leaves the case
            to transformers.
        row_blocks: The tree's shape, where the batch is one.
        attention_watch: Given the weights, which are then computed as well.
        **kwargs: As transformers passes them; `scaling`, `softcap`, `s_aux` and `dropout` are used.
    """
    softcap, sinks = kwargs.get("softcap"), kwargs.get("s_aux")
    is_special = softcap is not None or sinks is not None
    if is_special or attention_watch is not None:
        if attention_mask is None:
            attention_mask = _causal(query.shape[2], key.shape[2], query.device)
        options = {"scaling": kwargs.get("scaling"), "softcap": softcap, "sinks": sinks}
        if attention_watch is not None:
            weights = attention_weights(query, key, attention_mask, **options)
            attention_watch(int(getattr(module, "layer_idx", -1)), weights)
        if is_special:
            return _weighted(query, key, value, attention_mask, **options), None
    scaling = kwargs.get("scaling")
    scale = scaling if isinstance(scaling, float) else None
    if isinstance(attention_mask, LazyMask):
        attend = _attend_rows if row_blocks is None else partial(_attend_tree, blocks=row_blocks)
        outputs = attend(query, key, value, attention_mask, scale=scale)
        return outputs.transpose(1, 2).contiguous(), None
    # With one query (decoding) nothing is saved, and a mask per head cannot be repeated.
    if attention_mask is None or attention_mask.shape[1] != 1 or query.shape[2] == 1:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **kwargs
        )
        return found
    outputs = _attend(query, key, value, attention_mask, scale=scale)
    return outputs.transpose(1, 2).contiguous(), None


def attention_weights(
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor,
    scaling: object = None,
    *,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return softmax weights (B, query heads, T, K) in float32.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1; `softcap` bounds the
    scores smoothly (Gemma Team 2024, https://arxiv.org/abs/2408.00118, section 2), and `sinks`
    (query heads,) are scores of nothing, which take weight and give no value (OpenAI 2025,
    https://arxiv.org/abs/2508.10925, section 2).
    """
    scale = scaling if isinstance(scaling, float) else query.shape[-1] ** -0.5
    keys = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = query.float() @ keys.float().transpose(-1, -2) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~mask, -torch.inf)
    if sinks is None:
        return scores.softmax(dim=-1)
    nothing = sinks.float().reshape(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
    return torch.cat([scores, nothing], dim=-1).softmax(dim=-1)[..., :-1]


def _causal(queries: int, keys: int, device: torch.device) -> torch.Tensor:
    """Return the mask (1, 1, T, K) that transformers leaves out where nothing else is hidden."""
    square = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return square.tril(keys - queries)[None, None]


def _weighted(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    **options: Any,
) -> torch.Tensor:
    """Return outputs (B, T, query heads, value width) by `attention_weights`, block by block."""
    values = value.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    mixed = []
    for queries, keys, seen in _query_blocks(mask):
        weights = attention_weights(query[:, :, queries], key[:, :, keys], seen, **options)
        mixed.append(weights.to(query.dtype) @ values[:, :, keys])
    return torch.cat(mixed, dim=2).transpose(1, 2).contiguous()


def _query_blocks(mask: torch.Tensor) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Yield blocks of queries, the keys that some of them see, and the mask between both."""
    length = mask.shape[2]
    for begin in range(0, length, QUERY_BLOCK):
        queries = slice(begin, min(begin + QUERY_BLOCK, length))
        if isinstance(mask, LazyMask):
            keys = mask.row_layout.keys_of(queries, mask.window)
            yield queries, keys, mask.row_layout.block(queries, keys, mask.window)
        else:
            yield queries, slice(0, mask.shape[3]), mask[:, :, queries]


def _attend_rows(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: LazyMask,
    *,
    scale: float | None,
) -> torch.Tensor:
    """Return (B, query heads, T, value width) of rows after their prefixes."""
    if mask.window is None and can_split(query, key, value):
        if isinstance(key, PrefixedStates) and isinstance(value, PrefixedStates):
            shared = [
                SharedStates(rows, keys, values)
                for (rows, keys), (_, values) in zip(key.shared, value.shared, strict=True)
            ]
            return split_attention(query, key.own, value.own, shared, mask.row_layout, scale)
        if not mask.row_layout.num_prefix:
            return split_attention(query, key, value, (), mask.row_layout, scale)
    outputs = [
        _attend(query[:, :, queries], key[:, :, keys], value[:, :, keys], seen, scale=scale)
        for queries, keys, seen in _query_blocks(mask)
    ]
    return torch.cat(outputs, dim=2)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    *,
    scale: float | None,
) -> torch.Tensor:
    """Return (B, query heads, T, value width); the queries of a group stand behind each other."""
    batch, query_heads, length, width = query.shape
    heads = key.shape[1]
    groups = query_heads // heads
    outputs = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(batch, heads, groups * length, width),
        key,
        value,
        # Every query head of the group sees the same keys.
        attn_mask=mask.repeat(1, 1, groups, 1),
        scale=scale,
    )
    return outputs.reshape(batch, query_heads, length, value.shape[-1])


def _attend_tree(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: LazyMask,
    *,
    blocks: RowBlocks,
    scale: float | None,
) -> torch.Tensor:
    """Return (1, query heads, P + rows x T, value width) of a tree, prefix and rows apart."""
    start, length, rows = blocks.prefix, blocks.length, blocks.rows

    def rows_of(states: torch.Tensor) -> torch.Tensor:
        heads, width = states.shape[1], states.shape[-1]
        split = states[0, :, start:].reshape(heads, rows, length, width)
        return split.transpose(0, 1)  # (rows, heads, T, head width)

    first_query, first_key, first_value = (one[:, :, :start] for one in (query, key, value))
    own_query, own_key, own_value = (rows_of(one) for one in (query, key, value))
    before = first_value.new_zeros((1, query.shape[1], 0, value.shape[-1]))
    if mask.window is None and can_split(query, key, value):
        shared = []
        if start:
            shared = [SharedStates(None, first_key[0], first_value[0])]
            before = split_attention(first_query, first_key, first_value, (), None, scale)
        after = split_attention(own_query, own_key, own_value, shared, None, scale)
    else:
        # All rows start at the same position, so the first row's mask is every row's.
        one = LazyMask(mask.row_layout.columns(start + length), mask.window)
        query, key, value = (
            torch.cat([first.expand(rows, -1, -1, -1), own], dim=2)
            for first, own in (
                (first_query, own_query),
                (first_key, own_key),
                (first_value, own_value),
            )
        )
        both = _attend_rows(query, key, value, one, scale=scale)
        before, after = both[:1, :, :start], both[:, :, start:]
    after = after.transpose(0, 1).reshape(1, query.shape[1], rows * length, value.shape[-1])
    return torch.cat([before, after], dim=2)
