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
    for key, default in (("rank_pattern", "r"), ("alpha_pattern", "lora_alpha")):
        pattern = config.pop(key, {})
        # By whole names, so that the order in which PEFT looks through them decides nothing.
        values = {name: pattern_value(pattern, name, config.get(default)) for name in shapes}
        found = {name: value for name, value in values.items() if value != config.get(default)}
        if found:
            config[key] = dict(sorted(found.items()))


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
