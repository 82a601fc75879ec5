"""Between PEFT's files of a weight adapter and the changes of layers that the engine applies."""

from collections.abc import Mapping
from math import sqrt
from pathlib import Path

import torch
from peft import PeftConfig
from safetensors.torch import save_file

from workbench.errors import ModelError
from workbench.models.adapters.bank import LayerChange, WeightAdapter
from workbench.models.adapters.files import WEIGHTS_NAME
from workbench.models.adapters.layer_changes import (
    DirectionChange,
    LowRankChange,
    ScalingChange,
    SingularChange,
)
from workbench.models.adapters.reading import CheckedAdapter
from workbench.models.layers import features_of
from workbench.models.roles import is_targeted

_AS_MODULES = ("lora_A", "lora_B")  # PEFT's LoRA keeps these as layers, AdaLoRA as bare tensors


def adapter_of(adapter: CheckedAdapter, model: torch.nn.Module, *, base_name: str) -> WeightAdapter:
    """Return a checked adapter as changes of the base's layers.

    Args:
        adapter: In PEFT's format.
        model: The base.
        base_name: What messages call the base.

    Raises:
        ModelError: it is no change of weights, or does not fit the base.
    """
    if not adapter.parts:
        raise ModelError(
            f"{adapter.where}: holds a {adapter.config['peft_type']} adapter, which changes no "
            "weights. Load it with the method it was trained by."
        )
    check_fits(adapter, model, base_name)
    layers = dict(model.named_modules())
    return WeightAdapter(
        {
            name: _change(adapter, layers[name], {key: t.float() for key, t in parts.items()})
            for name, parts in adapter.parts.items()
        }
    )


def save_adapter(adapter: WeightAdapter, config: PeftConfig, folder: Path) -> None:
    """Write changes of layers in PEFT's format: safetensors and adapter_config.json.

    Args:
        adapter: What to write.
        config: PEFT's, with the base's public name.
        folder: Made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config.inference_mode = True
    config.save_pretrained(folder)
    tensors = {
        f"base_model.model.{layer}.{part}": tensor.detach().float().cpu().contiguous()
        for layer, change in sorted(adapter.changes.items())
        for part, tensor in _parts(change).items()
    }
    save_file(tensors, folder / WEIGHTS_NAME, metadata={"format": "pt"})


def check_fits(adapter: CheckedAdapter, model: torch.nn.Module, base_name: str) -> None:
    """Compare an adapter with the base; PEFT would pass over missing weights.

    Raises:
        ModelError: names the first module that is missing on either side, or of other features.
    """
    modules, changed = dict(model.named_modules()), adapter.features
    where, advice = adapter.where, f"base model '{base_name}'. Use the base it was trained on."
    for name, features in sorted(changed.items()):
        if name not in modules:
            raise ModelError(f"{where}: changes module '{name}', which is not in {advice}")
        found = features_of(modules[name])
        if found is None:
            raise ModelError(f"{where}: changes module '{name}', which is not linear in {advice}")
        known = tuple(
            theirs if ours is None else ours for ours, theirs in zip(features, found, strict=True)
        )
        if known != found:
            raise ModelError(
                f"{where}: has (in, out) features {known} for module '{name}', which has "
                f"{found} in {advice}"
            )
    for name in modules:
        if name not in changed and is_targeted(name, adapter.summary.targets):
            raise ModelError(
                f"{where}: has no weights for module '{name}', which target_modules names in "
                f"{advice}"
            )


def _change(
    adapter: CheckedAdapter, layer: torch.nn.Module, parts: Mapping[str, torch.Tensor]
) -> LayerChange:
    config = adapter.config
    if adapter.summary.kind == "ia3":
        return ScalingChange(parts["ia3_l"])
    a, b, alpha = parts["lora_A"], parts["lora_B"], float(config["lora_alpha"])
    dropout = float(config["lora_dropout"])
    if adapter.summary.kind == "adalora":
        return SingularChange(a, parts["lora_E"], b, alpha, dropout=dropout)
    scaling = alpha / (sqrt(len(a)) if config["use_rslora"] else len(a))
    if config.get("use_dora"):
        change = DirectionChange(layer, a, b, scaling, dropout=dropout)
        with torch.no_grad():
            change.lora_magnitude_vector.copy_(parts["lora_magnitude_vector"])
        return change
    return LowRankChange(a, b, scaling, dropout=dropout)


def _parts(change: LayerChange) -> dict[str, torch.Tensor]:
    """Return a change's tensors by PEFT's names."""
    tensors: dict[str, torch.Tensor] = dict(change.named_parameters())
    if isinstance(change, LowRankChange):
        tensors["lora_A"], tensors["lora_B"] = change.matrices
        return {
            f"{name}.weight" if name in _AS_MODULES else name: tensor
            for name, tensor in tensors.items()
        }
    return tensors
