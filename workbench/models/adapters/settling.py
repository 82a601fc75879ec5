"""Which modules an adapter changes and by how much, settled by its tensors.

PEFT finds modules by suffixes, regular expressions, exclusions and layer numbers. Once an adapter
is trained, the names of its tensors say the same, so nothing of a stranger's making has to be run.
"""

from collections.abc import Mapping
from typing import Any

import torch

from workbench.errors import ModelError
from workbench.models.adapters.config import BY_THE_WEIGHTS, are_targets
from workbench.models.adapters.files import CONFIG_NAME, shown
from workbench.models.adapters.tensors import PEFT_TENSOR, pattern_value


def settle(where: str, config: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Replace whatever leaves open which modules are meant by the names of those that have tensors.

    Args:
        where: What messages call the adapter.
        config: What `checked_config` returned, of a change of weights; changed in place.
        tensors: What `checked_tensors` returned.

    Raises:
        ModelError: the weights' modules have names that no config could list.
    """
    shapes = {
        match[1]: tensor.shape
        for name, tensor in tensors.items()
        if (match := PEFT_TENSOR.fullmatch(name))
    }
    config["target_modules"] = _targets(where, config["target_modules"], [*shapes])
    if config.get("feedforward_modules") == BY_THE_WEIGHTS:
        # IA3 scales what goes into a feed-forward module; its file shows that by the shape alone.
        config["feedforward_modules"] = [name for name, shape in shapes.items() if shape[0] == 1]
    # By whole names, so that the order in which PEFT looks through them decides nothing.
    if config["peft_type"] == "LORA":
        ranks = {
            match[1]: len(tensor)
            for name, tensor in tensors.items()
            if (match := PEFT_TENSOR.fullmatch(name)) and match[2] == "lora_A.weight"
        }
        _keep_others(config, "rank_pattern", ranks, config["r"])
        pattern, alpha = config.get("alpha_pattern", {}), config["lora_alpha"]
        alphas = {name: pattern_value(pattern, name, alpha) for name in ranks}
        _keep_others(config, "alpha_pattern", alphas, alpha)


def _keep_others(
    config: dict[str, Any], key: str, values: Mapping[str, float], default: float
) -> None:
    """Replace a pattern by the values of modules that are not the default."""
    config.pop(key, None)
    if others := {name: value for name, value in sorted(values.items()) if value != default}:
        config[key] = others


def _targets(where: str, targets: list[str] | str, modules: list[str]) -> list[str]:
    if isinstance(targets, list):
        return sorted(set(targets))
    last = {module.rpartition(".")[2] for module in modules}
    names = sorted(modules if targets == BY_THE_WEIGHTS else last)
    if not are_targets(names):
        raise ModelError(
            f"{where}, {CONFIG_NAME}: target_modules is {shown(targets)}, and the weights' modules "
            f"are called {shown(names)}. List target_modules by name."
        )
    return names
