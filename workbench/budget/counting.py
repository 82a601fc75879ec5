"""A model's size, counted on the model itself: made from its config, on a device without memory.

The one file of the budget that needs torch and transformers. No weights are read: torch's device
"meta" keeps shapes alone, so that a model of any size takes a fraction of a second.
"""

import re
from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module

from workbench.budget.shape import Attention, Linear, ModelShape
from workbench.errors import ConfigError, ModelError
from workbench.models.attention import use_grouped_attention
from workbench.models.base import Prefix
from workbench.models.configs import (
    TRANSFORMERS_ERRORS,
    cannot_run,
    check_can_run,
    context_length,
    first_line,
)
from workbench.models.forward import BaseForward
from workbench.models.layers import decoder_modules, features_of, linear_layers
from workbench.models.one_at_a_time import LOADING
from workbench.models.roles import layers_of_role
from workbench.models.rows import recording_cache

_MOST_BLOCKS = 1000  # the deepest models stay far below; each takes a millisecond to make
_SOME_TOKENS = (1, 2, 3)
_NUMBER = re.compile(r"\.\d+(?=\.|$)")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_EXPERTS_ASKED = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_k", "top_k")
_EXPERT_WIDTHS = (
    *("moe_intermediate_size", "expert_ffn_hidden_size", "ffn_hidden_size"),
    "intermediate_size",
)
_COMPOSED = ("NewGELUActivation", "FastGELUActivation", "AccurateGELUActivation")


def count_shape(config: PreTrainedConfig, *, name: str, source: str) -> ModelShape:
    """Return the size of the model that a config stands for.

    Args:
        config: transformers' own, of any architecture it can make a causal language model of.
        name: Shown.
        source: Where the config comes from.

    Raises:
        ModelError: no causal language model, or one the engine has no way to run.
    """
    check_can_run(config, f"model '{name}'")
    return shape_of(empty_model(config, name), name=name, source=source)


def shape_of(model: PreTrainedModel, *, name: str, source: str) -> ModelShape:
    """Return the size of a model that can be run, which may be empty; see `count_shape`."""
    text = model.config.get_text_config(decoder=True)
    try:
        forward, heads = BaseForward(model), int(text.num_attention_heads)
        states, attention = _states(model, forward)
    except TRANSFORMERS_ERRORS as error:
        why = f"it fails where rows share a prefix ({type(error).__name__}: {first_line(error)})"
        raise cannot_run(model.config, why, f"model '{name}'") from error
    linears = tuple(_linears(model))
    if not any(linear.is_adaptable for linear in linears):
        raise cannot_run(model.config, "its decoder has no linear layers", f"model '{name}'")
    layers, first = len(states), states[0]
    experts = _experts(model)
    norm_width, has_float_norms = _norms(model, text, first)
    asked, share, returned = _experts_asked(text, experts)
    inner = _inner_width(linears) + asked
    return ModelShape(
        name=name,
        source=source,
        model_type=str(model.config.model_type),
        parameters=model.num_parameters(),
        decoder_parameters=_decoder_parameters(model),
        linears=linears,
        layers=layers,
        width=int(text.hidden_size),
        embedding_width=forward.embedding_width,
        heads=heads,
        kv_heads=first.heads,
        head_width=first.key_width,
        state_width=sum(one.heads * (one.key_width + one.value_width) for one in states),
        inner_width=inner // layers or int(4 * text.hidden_size),
        activation_copies=_activation_copies(model, linears),
        norm_width=norm_width // layers,
        has_float_norms=has_float_norms,
        vocabulary=int(model.get_input_embeddings().weight.shape[0]),
        context_length=context_length(text),
        attention=attention,
        expert_parameters=sum(p.numel() for held in experts for p in held),
        expert_share=share,
        expert_outputs=returned // layers,
        buffer_bytes=sum(b.numel() * b.element_size() for b in model.buffers()),
    )


def empty_model(config: PreTrainedConfig, name: str) -> PreTrainedModel:
    """Return the model of a config with shapes and no values.

    Raises:
        ModelError: transformers makes no causal language model of it.
    """
    blocks = getattr(config.get_text_config(decoder=True), "num_hidden_layers", 1)
    if not isinstance(blocks, int) or isinstance(blocks, bool) or not 0 < blocks <= _MOST_BLOCKS:
        raise ModelError(
            f"model '{name}', config.json: num_hidden_layers is {str(blocks)[:40]}. A whole number "
            f"from 1 to {_MOST_BLOCKS:,} is needed; take the config that came with the weights."
        )
    try:
        with LOADING, torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, trust_remote_code=False, dtype=torch.float32
            )
    except TRANSFORMERS_ERRORS as error:
        raise ModelError(
            f"model '{name}': transformers makes no causal language model of its config "
            f"(model_type '{str(config.model_type)[:40]}'): {first_line(error)}. Take the config "
            "that came with the weights of a decoder like Llama, Gemma, Qwen, Mistral or GPT-2."
        ) from error
    return model.eval()


class _LayerStates(NamedTuple):
    """How a layer's keys and values look: key/value heads, and the width of either in a head."""

    heads: int
    key_width: int
    value_width: int


def _states(model: PreTrainedModel, forward: BaseForward) -> tuple[list[_LayerStates], Attention]:
    """Return how the keys and values of each layer look, and how it attends.

    The engine's own run of a prefix says it, and fails for models that cannot be run so. Where code
    looks at numbers, of which an empty model has none, the config has to do.
    """
    model.set_experts_implementation("batched_mm")  # one by one, numbers would say which
    can_be_replaced = model._can_set_attn_implementation()
    if can_be_replaced:
        use_grouped_attention(model)
    asked: list[int] = []
    try:
        try:  # what hands on this keyword of our attention hands on where rows end, too
            sizes = _run(forward, attention_watch=lambda layer, _weights: asked.append(layer))
        except (TypeError, ValueError):
            sizes = _run(forward)
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error):
            raise
        text = model.config.get_text_config(decoder=True)
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return [_LayerStates(int(heads), int(width), int(width))] * forward.num_layers, "apart"
    whole: Attention = "whole" if can_be_replaced else "own"
    return sizes, "apart" if len(asked) == len(sizes) else whole


def _run(forward: BaseForward, **options: object) -> list[_LayerStates]:
    """Run a prefix; return how the keys and values of each layer look."""
    cache = recording_cache(forward.num_layers)
    with torch.no_grad():
        forward.run_prefix(Prefix((_SOME_TOKENS,)), cache, **options)
    return [
        _LayerStates(layer.keys.shape[1], layer.keys.shape[-1], layer.values.shape[-1])
        for layer in cache.layers
    ]


def _linears(model: PreTrainedModel) -> Iterator[Linear]:
    """Yield the linear layers but the head; those of one name and size in all blocks as one."""
    adaptable, head = linear_layers(model), model.get_output_embeddings()
    kept = set(HfQuantizer.get_modules_to_not_convert(model, None, model._keep_in_fp32_modules))
    # It keeps the last module too. While a model is loaded that is the head, tied only afterwards.
    kept -= _last_module(model, remove_duplicate=True)
    kept |= _last_module(model, remove_duplicate=False)
    found: dict[Linear, int] = {}
    for name, layer in model.named_modules():
        sizes = features_of(layer)
        if sizes is None or layer is head:
            continue
        # bitsandbytes takes plain linear layers; Falcon's, which are of a class of their own, stay.
        is_plain = type(layer) is torch.nn.Linear or isinstance(layer, Conv1D)
        alike = Linear(
            name=_NUMBER.sub(".*", name),
            inputs=sizes[0],
            outputs=sizes[1],
            count=1,
            has_bias=getattr(layer, "bias", None) is not None,
            is_quantised=is_plain and should_convert_module(name, sorted(kept)),
            is_adaptable=name in adaptable,
        )
        found[alike] = found.get(alike, 0) + 1
    for alike, count in found.items():
        yield Linear(**{**vars(alike), "count": count})


def _last_module(model: PreTrainedModel, *, remove_duplicate: bool) -> set[str]:
    *_, (name, _) = model.named_parameters(remove_duplicate=remove_duplicate)
    return {name.removesuffix(".weight")}


def _decoder_parameters(model: PreTrainedModel) -> int:
    """Return the parameters outside of embeddings, learned positions and output head."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    inside = {
        parameter
        for module in decoder_modules(model).values()
        if not (isinstance(module, torch.nn.Embedding) or any(module is end for end in ends))
        for parameter in module.parameters(recurse=False)
    }
    return sum(parameter.numel() for parameter in inside)


def _experts(model: PreTrainedModel) -> list[list[torch.nn.Parameter]]:
    """Return the parameters of each module that holds the matrices of several experts."""
    modules = [
        module
        for module in model.modules()
        if "Expert" in type(module).__name__ and features_of(module) is None
    ]
    found = [list(module.parameters(recurse=False)) for module in modules]
    return [parameters for parameters in found if parameters]


def _experts_asked(
    text: PreTrainedConfig, experts: list[list[torch.nn.Parameter]]
) -> tuple[int, float, int]:
    """Return what the experts asked take: features they work on, their share, features they return.

    Features are those of all blocks for a position.
    """
    if not experts:
        return 0, 1.0, 0
    own = getattr(text, "ffn_config", text)  # DBRX keeps these figures apart
    number = _first(own, _EXPERTS) or int(experts[0][0].shape[0])
    asked = min(_first(own, _EXPERTS_ASKED) or number, number)
    calls = asked * len(experts)
    return calls * _first(own, _EXPERT_WIDTHS), asked / number, calls * int(text.hidden_size)


def _first(config: PreTrainedConfig, keys: tuple[str, ...]) -> int:
    """Return the first of these figures that a config has; 0 if it has none."""
    values = (getattr(config, key, None) for key in keys)
    return next((value for value in values if isinstance(value, int) and value > 0), 0)


def _inner_width(linears: tuple[Linear, ...]) -> int:
    """Return the features that the MLPs of all blocks work on, experts left out."""
    adaptable = [linear for linear in linears if linear.is_adaptable]
    try:
        ends = layers_of_role([linear.name for linear in adaptable], "mlp_output", where="")
    except ConfigError:
        return 0
    return sum(linear.inputs * linear.count for linear in adaptable if linear.name in ends)


def _activation_copies(model: PreTrainedModel, linears: tuple[Linear, ...]) -> int:
    """Return 3 with a gate (gate, its activation, up); else 1, or 4 for a GELU in single steps."""
    names = {linear.name.rpartition(".")[2] for linear in linears if linear.is_adaptable}
    has_gate = any("gate" in name or name in ("w1", "w3", "input_linear") for name in names)
    if has_gate or _experts(model):
        return 3
    return 4 if any(type(m).__name__ in _COMPOSED for m in model.modules()) else 1


def _norms(
    model: PreTrainedModel, text: PreTrainedConfig, states: _LayerStates
) -> tuple[int, bool]:
    """Return the features that norms in blocks read for a position, and whether in float32."""
    width, is_float = 0, False
    for name, module in model.get_decoder().named_modules():
        if "Norm" not in type(module).__name__ or not _NUMBER.search(f".{name}"):
            continue
        weight = getattr(module, "weight", None)
        own = getattr(module, "normalized_shape", (text.hidden_size,))
        features = int(prod(own) if weight is None else weight.numel())
        if features == states.key_width != text.hidden_size:  # a norm of each head
            is_key = name.rpartition(".")[2].startswith("k")
            features *= states.heads if is_key else int(text.num_attention_heads)
        width += features
        is_float = is_float or "RMS" in type(module).__name__
    return width, is_float
