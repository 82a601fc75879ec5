"""The linear layers of a base, by name and by role; adapters are put on these."""

from collections.abc import Iterable

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workbench.errors import ConfigError

_MOST_SHOWN = 8  # names in a message

_ROLES: dict[str, tuple[str, ...]] = {
    "attention_qv": ("q_proj", "v_proj"),
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
    "keys_values": ("k_proj", "v_proj"),
    "mlp_output": ("down_proj",),
    "attention_output": ("o_proj",),
}


def linear_layers(model: PreTrainedModel, role: str = "all_linear") -> dict[str, torch.nn.Module]:
    """Return the linear layers of the decoder that have a role, by name; the head is left out.

    Args:
        model: The base.
        role: One of `workbench.shared_options.TARGETS`, or "keys_values", "attention_output",
            "mlp_output".

    Raises:
        ConfigError: the base has no layer of that role by a name that is known.
    """
    head = model.get_output_embeddings()
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if layer is not head and features_of(layer) is not None
    }
    if role == "all_linear":
        return layers
    found = {name: layer for name, layer in layers.items() if is_targeted(name, _ROLES[role])}
    if not found:
        names = sorted({name.rpartition(".")[2] for name in layers})[:_MOST_SHOWN]
        raise ConfigError(
            f"targets: base model '{model.config._name_or_path}' has no layers called "
            f"{' or '.join(_ROLES[role])}; its linear layers are called {', '.join(names)}. "
            "Use lora with targets 'all_linear'."
        )
    return found


def features_of(layer: torch.nn.Module) -> tuple[int, int] | None:
    """Return the features (in, out) of a linear layer; None for what is no linear layer."""
    if isinstance(layer, Conv1D):  # the linear layer of GPT-2
        return int(layer.weight.shape[0]), int(layer.weight.shape[1])
    if isinstance(layer, torch.nn.Linear):
        return int(layer.in_features), int(layer.out_features)
    return None


def is_targeted(module: str, targets: Iterable[str]) -> bool:
    """Return whether PEFT changes the module of that dotted name, given `target_modules`."""
    return any(module == target or module.endswith(f".{target}") for target in targets)
