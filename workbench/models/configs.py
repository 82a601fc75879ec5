"""What a model's config says about how it can be run."""

from huggingface_hub.errors import StrictDataclassError
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig

from workbench.errors import ModelError

# Whatever a config, or inputs that it does not expect, may make an architecture's own code say.
TRANSFORMERS_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError),
    *(RuntimeError, StrictDataclassError, TypeError, ValueError),
)
_KNOWN_LAYERS = frozenset({"full_attention", "sliding_attention"})
_DEFAULT_CONTEXT = 2048  # where a config names no limit


def check_can_run(config: PreTrainedConfig, title: str) -> None:
    """Look whether a config alone shows that its model cannot be run exactly.

    Args:
        config: transformers' own, of any architecture.
        title: Names the base at the start of a message.

    Raises:
        ModelError: no causal language model, attention that cannot be replaced, or layers that
            need more than keys and values of what stands before.
    """
    model = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    text = config.get_text_config(decoder=True)
    others = sorted(set(getattr(text, "layer_types", None) or ()) - _KNOWN_LAYERS)
    if model is None:
        why = f"transformers has no causal language model of type '{config.model_type}'"
    elif not (model._supports_sdpa or model._can_set_attn_implementation()):
        why = (
            f"{model.__name__} ('{config.model_type}') computes attention its own way, which "
            "cannot be given masks of several rows"
        )
    elif others:
        why = f"it has layers of the kind {', '.join(others)}"
    elif getattr(text, "hidden_size_per_layer_input", 0):
        why = "its layers look up the ids of tokens, which vectors lack"
    else:
        return
    raise cannot_run(config, why, title)


def cannot_run(config: PreTrainedConfig, why: str, title: str) -> ModelError:
    """Return the one message for models that cannot be run exactly, with what to do."""
    return ModelError(
        f"{title}: its architecture ({config.model_type}) cannot be run here as its authors run "
        f"it: {why}. Use a Llama-, Gemma-, Qwen-, Mistral- or GPT-2-like model."
    )


def first_line(error: Exception) -> str:
    """Return the first line of what transformers says, for the middle of a sentence of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")


def attention_for(config: PreTrainedConfig) -> str:
    """Return the attention to load with: torch's own, or what ours then takes the place of."""
    return "sdpa" if MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]._supports_sdpa else "eager"


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
