"""The config of an adapter made elsewhere: read strictly, and rebuilt from checked values alone.

PEFT trusts what it finds in adapter_config.json: some fields name code to import, some are run as
regular expressions, some change the base or load further files. Only the fields listed in here are
kept. What genuine exports hold beside them is dropped; whatever would have an effect is refused.
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
    if value == "all-linear":
        return True
    return (
        isinstance(value, list)
        and 1 <= len(value) <= 64
        and all(isinstance(name, str) and _MODULE_NAME.fullmatch(name) for name in value)
    )


_FLAG = _Field(lambda v: isinstance(v, bool), "true or false", default=False)
_TASK = _Field(lambda v: v in (None, "CAUSAL_LM"), '"CAUSAL_LM" or null', default=None)
_ALPHA = _Field(lambda v: _is_number(v) and 0 < v <= 10_000, "above 0, up to 10000")
_DROPOUT = _Field(lambda v: _is_number(v) and 0 <= v <= 0.9, "0 to 0.9", default=0.0)
_TARGETS = _Field(
    are_targets,
    'a list of 1 to 64 module names such as "q_proj", or "all-linear"; any other text would be run '
    "as a regular expression",
)
_NAMES = _Field(
    lambda v: isinstance(v, list) and are_targets(v),
    'a list of 1 to 64 module names such as "k_proj"',
)
_FIELDS = {
    "LORA": {
        "task_type": _TASK,
        "r": _whole(1, 256),
        "lora_alpha": _ALPHA,
        "lora_dropout": _DROPOUT,
        "target_modules": _TARGETS,
        "use_rslora": _FLAG,
        "use_dora": _Field(lambda v: v is None or isinstance(v, bool), "true or false", False),
        "fan_in_fan_out": _FLAG,
        "bias": _Field(lambda v: v == "none", '"none"', default="none"),
    },
    "ADALORA": {
        "task_type": _TASK,
        "init_r": _whole(1, 256),
        "lora_alpha": _ALPHA,
        "lora_dropout": _DROPOUT,
        "target_modules": _TARGETS,
        "fan_in_fan_out": _FLAG,
        "bias": _Field(lambda v: v == "none", '"none"', default="none"),
    },
    "IA3": {
        "task_type": _TASK,
        "target_modules": _NAMES,
        "feedforward_modules": _NAMES,
        "fan_in_fan_out": _FLAG,
    },
    "PREFIX_TUNING": {
        "task_type": _TASK,
        "num_virtual_tokens": _whole(1, 2000),
        "token_dim": _whole(1, 65_536),
        "num_layers": _whole(1, 1000),
        "num_attention_heads": _whole(1, 1024),
        "num_transformer_submodules": _Field(lambda v: v in (None, 1), "1 or null", default=1),
    },
    "PROMPT_TUNING": {
        "task_type": _TASK,
        # Our own exports hold up to 1000 trained vectors and what stands before them.
        "num_virtual_tokens": _whole(1, 2000),
        "token_dim": _whole(1, 65_536),
        "num_transformer_submodules": _Field(lambda v: v in (None, 1), "1 or null", default=1),
    },
}


def _names_a_transformers_model(value: object) -> bool:
    """Return whether PEFT wrote this itself, as it does where no task type was given."""
    return (
        isinstance(value, dict)
        and set(value) == {"base_model_class", "parent_library"}
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
        ),
        lambda _: True,
    ),
    "auto_mapping": _names_a_transformers_model,
    "init_lora_weights": lambda v: v in (True, "gaussian", "orthogonal"),
    "megatron_core": lambda v: v == "megatron.core",
}
# How it was trained; `r` is not used by AdaLoRA.
_DROPPED_FROM = {
    "ADALORA": (
        *("beta1", "beta2", "deltaT", "orth_reg_weight", "r", "target_r", "tfinal", "tinit"),
        "total_step",
    ),
    "IA3": ("init_ia3_weights",),
}
_EFFECTS = {
    "alpha_pattern": "is run as regular expressions",
    "auto_mapping": "names code to import",
    "exclude_modules": "can be run as a regular expression",
    "init_lora_weights": "starts from changed weights of the base",
    "layer_replication": "rebuilds the base",
    "megatron_config": "imports Megatron",
    "megatron_core": "names code to import",
    "modules_to_save": "replaces whole modules of the base",
    "rank_pattern": "is run as regular expressions",
    "tokenizer_kwargs": "changes how a tokenizer is loaded",
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
    for key, value in raw.items():
        is_empty = value in (None, False, "", [], {})
        harmless = _DROPPED.get(key, lambda _: False)
        is_kept = key == "peft_type" or key in fields
        if is_kept or is_empty or harmless(value) or key in _DROPPED_FROM.get(kind, ()):
            continue
        raise ModelError(
            f"{where}: {_key(key)} is {shown(value)}, which "
            f"{_EFFECTS.get(key, 'is not supported here')}. Allowed: null, false, empty or no such "
            "key. Train the adapter without it."
        )
    config = {"peft_type": kind}
    for key, field in fields.items():
        value = raw.get(key, field.default)
        if value is _REQUIRED:
            raise ModelError(
                f"{where}: {key} is missing. Allowed: {field.allowed}. Export the adapter again "
                "with PEFT's save_pretrained."
            )
        if not field.accepts(value):
            raise ModelError(
                f"{where}: {key} is {shown(value)}. Allowed: {field.allowed}. Train the "
                "adapter within that."
            )
        config[key] = value
    return _with_one_spelling(config)


def _with_one_spelling(config: dict[str, Any]) -> dict[str, Any]:
    """Write equal values in the same way, so that equal adapters have one digest."""
    spelling: dict[str, Callable[[Any], Any]] = {
        "task_type": lambda _: "CAUSAL_LM",
        "lora_alpha": float,
        "lora_dropout": float,
        "num_transformer_submodules": lambda _: 1,
    }
    if not config.get("use_dora", True):
        del config["use_dora"]
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
