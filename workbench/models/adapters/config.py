"""The config of an adapter made elsewhere: read strictly, and rebuilt from checked values alone.

PEFT trusts what it finds in adapter_config.json: some fields name code to import, some are run as
regular expressions, some change the base or load further files. Only the fields listed in here are
kept. What genuine exports hold beside them is dropped; whatever would have an effect is refused.
Expressions are never run: which modules an adapter changes stands in the names of its tensors
(`workbench.models.adapters.settling`).
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.errors import ModelError
from workbench.models.adapters.files import shown

_MODULE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}")
_REQUIRED = object()
BY_THE_WEIGHTS = "by the weights"
"""In the place of names of modules, those that have tensors; of ranks, those of the tensors."""
_PATTERN_KEY = re.compile(r"\^?(?:\w|\\?\.){1,200}\$?", flags=re.ASCII)
_MAX_NAMES = 2000  # of modules; the largest decoders have about a thousand linear layers
_MAX_KEY = 2000  # characters of an expression
MAX_RANK = 4096


@dataclass(frozen=True)
class _Field:
    """A field that is kept: what is accepted, how a message says that, and PEFT's default."""

    accepts: Callable[[Any], bool]
    allowed: str
    default: object = _REQUIRED


def _whole(low: int, high: int) -> _Field:
    return _Field(lambda v: type(v) is int and low <= v <= high, f"a whole number, {low} to {high}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def are_targets(value: object) -> bool:
    """Return whether PEFT may be given this as `target_modules`."""
    return value == "all-linear" or (
        isinstance(value, list) and len(value) > 0 and _are_names(value)
    )


def _are_names(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) <= _MAX_NAMES
        and all(isinstance(name, str) and _MODULE_NAME.fullmatch(name) for name in value)
    )


def _is_pattern(value: object, number: Callable[[Any], bool]) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= _MAX_NAMES
        and all(len(key) <= _MAX_KEY and number(v) for key, v in value.items())
    )


def _names_modules(pattern: object) -> bool:
    """Return whether the keys of a pattern can be compared with names without being run."""
    return isinstance(pattern, dict) and all(map(_PATTERN_KEY.fullmatch, pattern))


_FLAG = _Field(lambda v: isinstance(v, bool), "true or false", default=False)
_TASK = _Field(lambda v: v in (None, "CAUSAL_LM"), '"CAUSAL_LM" or null', default=None)
_ALPHA = _Field(lambda v: _is_number(v) and 0 < v <= 1_000_000, "above 0, up to 1000000")
_RANK = _whole(1, MAX_RANK)
_DROPOUT = _Field(lambda v: _is_number(v) and 0 <= v <= 0.9, "0 to 0.9", default=0.0)
_TARGETS = _Field(
    lambda v: are_targets(v) or (isinstance(v, str) and v != ""),
    f'a list of 1 to {_MAX_NAMES} module names such as "q_proj", "all-linear", or an expression',
)
_NAMES = _Field(
    lambda v: isinstance(v, str) or _are_names(v),
    f'a list of up to {_MAX_NAMES} module names such as "down_proj", or an expression',
)
_PROMPT_FIELDS = {
    "task_type": _TASK,
    # Our own exports hold up to 1000 trained vectors and what stands before them.
    "num_virtual_tokens": _whole(1, 2000),
    "token_dim": _whole(1, 65_536),
    "num_transformer_submodules": _Field(lambda v: v in (None, 1), "1 or null", default=1),
}
_FIELDS = {
    "LORA": {
        "task_type": _TASK,
        "r": _RANK,
        "lora_alpha": _ALPHA,
        "rank_pattern": _Field(
            lambda v: v is None or _is_pattern(v, _RANK.accepts),
            f"names of modules or expressions, each with {_RANK.allowed}",
            default=None,
        ),
        "alpha_pattern": _Field(
            lambda v: v is None or (_is_pattern(v, _ALPHA.accepts) and _names_modules(v)),
            f"names of modules, each with a number {_ALPHA.allowed}",
            default=None,
        ),
        "lora_dropout": _DROPOUT,
        "target_modules": _TARGETS,
        "use_rslora": _FLAG,
        "use_dora": _Field(lambda v: v is None or isinstance(v, bool), "true or false", False),
        "fan_in_fan_out": _FLAG,
        "bias": _Field(lambda v: v == "none", '"none"', default="none"),
    },
    "ADALORA": {
        "task_type": _TASK,
        "init_r": _RANK,
        "lora_alpha": _ALPHA,
        "lora_dropout": _DROPOUT,
        "target_modules": _TARGETS,
        "fan_in_fan_out": _FLAG,
        "bias": _Field(lambda v: v == "none", '"none"', default="none"),
    },
    "IA3": {
        "task_type": _TASK,
        "target_modules": _TARGETS,
        "feedforward_modules": _NAMES,
        "fan_in_fan_out": _FLAG,
    },
    "PREFIX_TUNING": {
        **_PROMPT_FIELDS,
        "num_layers": _whole(1, 1000),
        "num_attention_heads": _whole(1, 1024),
    },
    "PROMPT_TUNING": _PROMPT_FIELDS,
    "P_TUNING": _PROMPT_FIELDS,
}
# P-tuning's file has the vectors that its encoder made, which is all that PEFT loads.
_STORED_AS = {"P_TUNING": "PROMPT_TUNING"}


def _names_a_transformers_model(value: object) -> bool:
    """Return whether PEFT wrote this itself, as it does where no task type was given."""
    return (
        isinstance(value, dict)
        and set(value) - {"unsloth_fixed"} == {"base_model_class", "parent_library"}
        and isinstance(value.get("unsloth_fixed", True), bool)
        and re.fullmatch(r"\w{1,100}", str(value["base_model_class"])) is not None
        and re.fullmatch(
            r"transformers\.models\.\w{1,100}\.modeling_\w{1,100}", str(value["parent_library"])
        )
        is not None
    )


# Genuine exports have these; loading weights does not need them, so the rebuilt config lacks them.
_DROPPED: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        (
            *("base_model_name_or_path", "inference_mode", "peft_version", "revision"),
            *("num_attention_heads", "num_layers", "qalora_group_size", "tokenizer_name_or_path"),
            *("prompt_tuning_init", "prompt_tuning_init_text"),
            # How a prefix was trained; what is stored are its keys and values in any case.
            *("encoder_hidden_size", "init_weights", "prefix_projection"),
            *("encoder_dropout", "encoder_num_layers", "encoder_reparameterization_type"),
        ),
        lambda _: True,
    ),
    "auto_mapping": _names_a_transformers_model,
    # EVA decides where A starts, and ranks and alphas, which have fields of their own.
    "eva_config": lambda v: isinstance(v, dict),
    "init_lora_weights": lambda v: v in (True, "gaussian", "orthogonal", "eva"),
    "megatron_core": lambda v: v == "megatron.core",
}
_NARROWING = ("exclude_modules", "layers_to_transform", "layers_pattern")
"""Fields that leave out modules which `target_modules` names."""
# How it was trained; `r` is not used by AdaLoRA.
_DROPPED_FROM = {
    "ADALORA": (
        *("beta1", "beta2", "deltaT", "orth_reg_weight", "r", "target_r", "tfinal", "tinit"),
        # Which triplets are left; pruned ones are not in the file.
        *("total_step", "rank_pattern"),
    ),
    "IA3": ("init_ia3_weights",),
}
_EFFECTS = {
    "alora_invocation_tokens": "lets the adapter act on a part of the text alone",
    "auto_mapping": "names code to import",
    "bias": "trains biases of the base",
    "init_lora_weights": "starts from changed weights of the base",
    "layer_replication": "rebuilds the base",
    "lora_bias": "adds a bias to B",
    "megatron_config": "imports Megatron",
    "megatron_core": "names code to import",
    "modules_to_save": "replaces whole modules of the base",
    "target_parameters": "changes parameters that are no layers of their own",
    "tokenizer_kwargs": "changes how a tokenizer is loaded",
    "trainable_token_indices": "changes embeddings of the base",
    "use_qalora": "averages what goes into A",
}
_MERGE = (
    "Merge the adapter into its base with PEFT (merge_and_unload, then save_pretrained) and use "
    "the merged folder as the base model; not where the base's output head is its embedding."
)
_DELETE = (
    "A key that only says how the adapter was trained or loaded can be deleted from "
    "adapter_config.json."
)
_CONVERT = (
    "Where it changes the base (PiSSA, CorDA, OLoRA), PEFT's save_pretrained makes a plain LoRA of "
    "it when path_initial_model_for_weight_conversion is given."
)
_RETRAIN = "Train the adapter without what changes how it computes."
_ADVICE = {
    **dict.fromkeys(
        (
            *("alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication"),
            *("monteclora_config", "use_bdlora", "use_qalora"),
        ),
        _RETRAIN,
    ),
    **dict.fromkeys(("bias", "lora_bias", "modules_to_save", "target_parameters"), _MERGE),
    "alpha_pattern": (
        'Write out the names of modules in alpha_pattern, as in {"layers.0.self_attn.q_proj": 8}; '
        "expressions of a file are not run."
    ),
    "init_lora_weights": _CONVERT,
    "trainable_token_indices": _MERGE,
}


def checked_config(where: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config in PEFT's format, made of checked values alone.

    Args:
        where: What messages call the config.
        raw: The content of adapter_config.json.

    Raises:
        ModelError: another kind of adapter, a value out of bounds, or a field with an effect that
            is not supported.
    """
    kind = raw.get("peft_type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise ModelError(
            f"{where}: peft_type is {shown(kind)}. Allowed: {', '.join(sorted(_FIELDS))}. Train "
            "the adapter with one of them."
        )
    fields = _FIELDS[kind]
    problems, advice = list[str](), list[str]()
    for key, value in raw.items():
        is_empty = value in (None, False, "", [], {})
        harmless = _DROPPED.get(key, lambda _: False)
        is_kept = key in ("peft_type", *fields, *_DROPPED_FROM.get(kind, ()))
        is_settled = key in _NARROWING and "target_modules" in fields
        if not (is_kept or is_settled or is_empty or harmless(value)):
            problems.append(
                f"{_key(key)} is {shown(value)}, which {_EFFECTS.get(key, 'is not supported here')}"
                ". Allowed: null, false, empty or no such key."
            )
            advice.append(_ADVICE.get(key, _DELETE))
    config = {"peft_type": _STORED_AS.get(kind, kind)}
    for key, field in fields.items():
        value = raw.get(key, field.default)
        config[key] = value
        if value is _REQUIRED:
            problems.append(f"{key} is missing. Allowed: {field.allowed}.")
            advice.append("Export the adapter again with PEFT's save_pretrained.")
        elif not field.accepts(value):
            problems.append(f"{key} is {shown(value)}. Allowed: {field.allowed}.")
            advice.append(_ADVICE.get(key, "Train the adapter within that."))
    if problems:
        raise ModelError(f"{where}: {' '.join([*problems, *dict.fromkeys(advice)])}")
    if any(raw.get(key) not in (None, "", []) for key in _NARROWING):
        config["target_modules"] = BY_THE_WEIGHTS
    return _with_one_spelling(config)


def _with_one_spelling(config: dict[str, Any]) -> dict[str, Any]:
    """Write equal values in the same way, so that equal adapters have one digest."""
    spelling: dict[str, Callable[[Any], Any]] = {
        "task_type": lambda _: "CAUSAL_LM",
        "lora_alpha": float,
        "lora_dropout": float,
        "num_transformer_submodules": lambda _: 1,
    }
    for key in ("use_dora", "rank_pattern", "alpha_pattern"):
        if not config.get(key, True):
            del config[key]
    for key in ("target_modules", "feedforward_modules"):
        if isinstance(config.get(key), str) and config[key] != "all-linear":
            config[key] = BY_THE_WEIGHTS
    if "rank_pattern" in config and not _names_modules(config["rank_pattern"]):
        config["rank_pattern"] = BY_THE_WEIGHTS
    return {key: spelling.get(key, lambda v: v)(value) for key, value in config.items()}


def _key(name: str) -> str:
    return name if _MODULE_NAME.fullmatch(name) else shown(name)


def strict_json(where: str, content: bytes) -> dict[str, Any]:
    """Return a JSON object; what two readers could take in different ways is refused.

    Raises:
        ModelError: no JSON object in UTF-8, a key twice, or a number that is not finite.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        name, number = Counter(key for key, _ in pairs).most_common(1)[0] if pairs else ("", 1)
        if number > 1:
            raise ValueError(f"key {shown(name)} was given twice")
        return dict(pairs)

    def finite(text: str) -> float:
        if not math.isfinite(float(text)):
            raise ValueError(f"{shown(text)} is no finite number")
        return float(text)

    try:
        found = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=unique,
            parse_float=finite,
            parse_constant=finite,
        )
        if not isinstance(found, dict):
            raise ValueError("it is no object with keys")
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{where}: is no strict JSON: {str(error)[:200]}. Export the adapter again with "
            "PEFT's save_pretrained."
        ) from error
    return found
