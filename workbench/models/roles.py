"""Which linear layers a change of weights is put on, decided by the names they have in a base.

Names differ between families, what the layers do does not. Where queries, keys and values are one
fused layer, that layer stands for each of them, as in PEFT's own defaults
(`peft.utils.constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING`). Needs no torch, so
that the planner counts the layers that the methods change.
"""

from collections.abc import Collection, Iterable, Sequence

from workbench.errors import ConfigError

_MOST_SHOWN = 12  # names in a message

_FUSED = ("c_attn", "qkv_proj", "query_key_value", "Wqkv")
# Latent attention (DeepSeek, MiniCPM3) widens queries, and keys with values, from a small vector.
_QUERIES = ("q_proj", "q_b_proj", *_FUSED)
_KEYS = ("k_proj", "kv_b_proj", *_FUSED)
_VALUES = ("v_proj", "kv_b_proj", *_FUSED)
_LATENT = ("q_a_proj", "kv_a_proj_with_mqa")
_ATTENTION_OUTPUT = (
    *("o_proj", "self_attn.out_proj", "attn.out_proj", "attn.c_proj"),
    *("self_attn.dense", "self_attention.dense", "attention.dense"),
)
_MLP_INPUT = (
    *("gate_proj", "up_proj", "gate_up_proj", "fc1", "c_fc", "dense_h_to_4h"),
    "shared_mlp.input_linear",
)
_MLP_OUTPUT = (*("down_proj", "fc2", "mlp.c_proj", "dense_4h_to_h", "shared_mlp.output_linear"),)
# Of each role the parts it is made of, and how the layers of a part may be called.
_ROLES: dict[str, dict[str, Sequence[str]]] = {
    "attention_qv": {"queries": _QUERIES, "values": _VALUES},
    "attention": {
        "queries": (*_QUERIES, *_LATENT),
        "keys": _KEYS,
        "values": _VALUES,
        "attention output": _ATTENTION_OUTPUT,
    },
    "mlp": {"MLP input": _MLP_INPUT, "MLP output": _MLP_OUTPUT},
    "keys_values": {"keys": _KEYS, "values": _VALUES},
    "mlp_output": {"MLP output": _MLP_OUTPUT},
    "attention_output": {"attention output": _ATTENTION_OUTPUT},
}


def layers_of_role(names: Collection[str], role: str, *, where: str) -> list[str]:
    """Return those of a base's linear layers that have a role, in the order given.

    Args:
        names: Dotted names of the linear layers of all blocks, the output head left out.
        role: One of `workbench.shared_options.TARGETS`, or "keys_values", "attention_output",
            "mlp_output".
        where: What messages call the base.

    Raises:
        ConfigError: the base has no layer, by a name that is known, for a part of that role.
    """
    if role == "all_linear":
        return list(names)
    for part, called in _ROLES[role].items():
        if not any(is_targeted(name, called) for name in names):
            found = sorted({name.rpartition(".")[2] for name in names})
            shown = ", ".join(found[:_MOST_SHOWN]) + (" …" if len(found) > _MOST_SHOWN else "")
            raise ConfigError(
                f"targets: {where} has no layer for its {part} ({', '.join(called)}); its linear "
                f"layers are called {shown or 'nothing: it has none'}. Use lora with targets "
                "'all_linear', or a prompt method."
            )
    called = [name for part in _ROLES[role].values() for name in part]
    return [name for name in names if is_targeted(name, called)]


def is_targeted(module: str, targets: Iterable[str]) -> bool:
    """Return whether PEFT changes the module of that dotted name, given `target_modules`."""
    return any(module == target or module.endswith(f".{target}") for target in targets)


def shortest_targets(chosen: Collection[str], modules: Iterable[str]) -> list[str]:
    """Return `target_modules` that name the chosen modules and, in that base, no others.

    Last parts of the names where these suffice; "attn.c_proj" where "mlp.c_proj" is not meant.

    Args:
        chosen: Dotted names of the layers that are changed.
        modules: Dotted names of all modules of the base.
    """
    others = [name for name in modules if name not in chosen]
    targets = set[str]()
    for name in sorted(chosen):
        parts = name.split(".")
        endings = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
        targets.add(
            next(e for e in endings if not any(is_targeted(o, [e]) for o in others) or e == name)
        )
    return sorted(targets)
