"""Attention for masked batches on a CPU that does not copy keys and values for each query head.

With grouped-query attention several query heads share one key/value head. transformers repeats keys
and values for them when a mask is given; here the queries of a group stand behind each other
instead, which is the same sum in another order and halves the time with a long shared prefix.
"""

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "grouped_sdpa"


def use_grouped_attention(model: PreTrainedModel) -> None:
    """Let a model loaded with "sdpa" attention use `grouped_attention`."""
    AttentionInterface.register(_NAME, grouped_attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    model.set_attn_implementation(_NAME)


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Return attention outputs (B, T, query heads, head width).

    Args:
        module: The attention layer.
        query: (B, query heads, T, head width).
        key: (B, H, K, head width).
        value: (B, H, K, head width).
        attention_mask: (B, 1, T, K), bool; None leaves the case to transformers.
        **kwargs: As transformers passes them; `scaling` and `dropout` are used.
    """
    batch, query_heads, length, width = query.shape
    heads = key.shape[1]
    groups = query_heads // heads
    if attention_mask is None or attention_mask.shape[1] != 1 or groups == 1 or length == 1:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **kwargs
        )
        return found
    scaling, dropout = kwargs.get("scaling"), kwargs.get("dropout", 0.0)
    outputs = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(batch, heads, groups * length, width),
        key,
        value,
        attn_mask=attention_mask.repeat(1, 1, groups, 1),
        scale=scaling if isinstance(scaling, float) else None,
        dropout_p=dropout if isinstance(dropout, float) else 0.0,
    )
    outputs = outputs.reshape(batch, query_heads, length, width)
    return outputs.transpose(1, 2).contiguous(), None
