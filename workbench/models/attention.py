"""Attention for masked batches on a CPU that does not copy keys and values for each query head.

With grouped-query attention several query heads share one key/value head. transformers repeats keys
and values for them when a mask is given; here the queries of a group stand behind each other
instead, which is the same sum in another order and takes half the time with a long shared prefix.

Gemma-2 caps its scores and GPT-OSS lets heads look at nothing ("sinks"); torch's own attention can
do neither, so these are computed step by step.

A batch run as one tree (`Engine.run_as_tree`) is attended block by block: its rows see the prefix
and themselves, never each other, so most of the square of all tokens need not be computed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

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
        attention_mask: (B, 1, T, K), bool; None leaves the case to transformers.
        row_blocks: The tree's shape, where the batch is one.
        attention_watch: Given the weights, which are then computed as well.
        **kwargs: As transformers passes them; `scaling`, `softcap`, `s_aux` and `dropout` are used.
    """
    heads = key.shape[1]
    groups = query.shape[1] // heads
    softcap, sinks = kwargs.get("softcap"), kwargs.get("s_aux")
    is_special = softcap is not None or sinks is not None
    if is_special or attention_watch is not None:
        if attention_mask is None:
            attention_mask = _causal(query.shape[2], key.shape[2], query.device)
        weights = attention_weights(
            query, key, attention_mask, kwargs.get("scaling"), softcap=softcap, sinks=sinks
        )
        if attention_watch is not None:
            attention_watch(int(getattr(module, "layer_idx", -1)), weights)
        if is_special:
            values = value.repeat_interleave(groups, dim=1)
            mixed = weights.to(query.dtype) @ values
            return mixed.transpose(1, 2).contiguous(), None
    # With one query (decoding) nothing is saved, and a mask per head cannot be repeated.
    if attention_mask is None or attention_mask.shape[1] != 1 or query.shape[2] == 1:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **kwargs
        )
        return found
    scaling = kwargs.get("scaling")
    scale = scaling if isinstance(scaling, float) else None
    if row_blocks is None:
        outputs = _attend(query, key, value, attention_mask, groups=groups, scale=scale)
    else:
        outputs = _attend_blocks(query, key, value, attention_mask, row_blocks, scale=scale)
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


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    *,
    groups: int,
    scale: float | None,
) -> torch.Tensor:
    """Return (B, query heads, T, value width); the queries of a group stand behind each other."""
    batch, query_heads, length, width = query.shape
    outputs = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(batch, query_heads // groups, groups * length, width),
        key,
        value,
        # Every query head of the group sees the same keys.
        attn_mask=mask.repeat(1, 1, groups, 1),
        scale=scale,
    )
    return outputs.reshape(batch, query_heads, length, value.shape[-1])


def _attend_blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    blocks: RowBlocks,
    *,
    scale: float | None,
) -> torch.Tensor:
    """Return (1, query heads, P + rows x T, head width) of a tree, prefix and rows apart.

    All rows start at the same position, so the first row's mask is every row's.
    """
    start, length = blocks.prefix, blocks.length
    groups = query.shape[1] // key.shape[1]

    def rows_of(states: torch.Tensor) -> torch.Tensor:
        heads, width = states.shape[1], states.shape[-1]
        split = states[0, :, start:].reshape(heads, blocks.rows, length, width)
        return split.transpose(0, 1)  # (rows, heads, T, head width)

    def with_prefix(states: torch.Tensor) -> torch.Tensor:
        shared = states[:, :, :start].expand(blocks.rows, -1, -1, -1)
        return torch.cat([shared, rows_of(states)], dim=2)

    seen = mask[:, :, start : start + length, : start + length].expand(blocks.rows, -1, -1, -1)
    own = _attend(
        rows_of(query), with_prefix(key), with_prefix(value), seen, groups=groups, scale=scale
    )
    own = own.transpose(0, 1).reshape(1, query.shape[1], blocks.rows * length, value.shape[-1])
    if not start:
        return own
    first = slice(0, start)
    shared = _attend(
        query[:, :, first],
        key[:, :, first],
        value[:, :, first],
        mask[:, :, first, first],
        groups=groups,
        scale=scale,
    )
    return torch.cat([shared, own], dim=2)
