"""What a model's config says about how it can be run."""

from pathlib import Path

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, PreTrainedConfig

_DEFAULT_CONTEXT = 2048  # where a config names no limit


def attention_for(folder: Path) -> str:
    """Return the attention to load a model with: torch's own, or what ours then takes the place of.

    Raises:
        ValueError: no causal language model, or one whose attention cannot be replaced.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    kind = type(config)
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"transformers has no causal language model of type '{config.model_type}'")
    model = MODEL_FOR_CAUSAL_LM_MAPPING[kind]
    if model._supports_sdpa:
        return "sdpa"
    if model._can_set_attn_implementation():
        return "eager"
    raise ValueError(
        f"{model.__name__} ('{config.model_type}') computes attention its own way, which cannot "
        "be given masks of several rows"
    )


def context_length(config: PreTrainedConfig) -> int:
    """Return the longest input in tokens for which every position is computed alike.

    Beyond their first length, models with long rotations ("longrope") turn all positions by other
    angles, those of stored keys too.
    """
    names = ("max_position_embeddings", "max_target_positions", "max_seq_len")
    lengths = [length for name in names if (length := getattr(config, name, None))]
    longest = lengths[0] if lengths else _DEFAULT_CONTEXT
    ropes = getattr(config, "rope_parameters", None) or {}
    for rope in (ropes, *ropes.values()):
        if isinstance(rope, dict) and rope.get("rope_type") == "longrope":
            longest = min(longest, rope.get("original_max_position_embeddings") or longest)
    return int(longest)
