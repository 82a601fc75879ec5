"""Between PEFT's files of a weight adapter and the changes of layers that the engine applies."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftConfig
from transformers import PreTrainedModel

from workbench.atomic import write_text
from workbench.errors import ModelError, some_of
from workbench.models.adapters.bank import LayerChange, WeightAdapter
from workbench.models.adapters.files import CONFIG_NAME, WEIGHTS_NAME
from workbench.models.adapters.layer_changes import (
    DirectionChange,
    LowRankChange,
    ScalingChange,
    SingularChange,
)
from workbench.models.adapters.reading import CheckedAdapter
from workbench.models.layers import check_is_run, features_of, unread_layers
from workbench.models.roles import is_targeted
from workbench.tensor_files import write_tensors

_AS_MODULES = ("lora_A", "lora_B")  # PEFT's LoRA keeps these as layers, AdaLoRA as bare tensors


def adapter_of(adapter: CheckedAdapter, model: PreTrainedModel, *, base_name: str) -> WeightAdapter:
    """Return a checked adapter as changes of the base's layers that texts run through.

    The others cannot change a number; `caution_of_layers` says which they are.

    Args:
        adapter: In PEFT's format.
        model: The base.
        base_name: What messages call the base.

    Raises:
        ModelError: it is no change of weights, does not fit the base, or changes nothing that a
            text runs through.
    """
    if not adapter.parts:
        raise ModelError(
            f"{adapter.where}: holds a {adapter.config['peft_type']} adapter, which changes no "
            "weights. Load it with the method it was trained by."
        )
    check_fits(adapter, model, base_name)
    unread = unread_layers(model, adapter.parts)
    if len(unread) == len(adapter.parts):
        raise ModelError(
            f"{adapter.where}: changes only layers that no text runs through ({some_of(unread)}), "
            "so every answer would be the base's own. Use the base without it."
        )
    layers = dict(model.named_modules())
    return WeightAdapter(
        {
            name: _change(adapter, name, layers[name], {key: t.float() for key, t in parts.items()})
            for name, parts in adapter.parts.items()
            if name not in unread
        }
    )


def caution_of_layers(adapter: CheckedAdapter, model: PreTrainedModel) -> tuple[str, ...]:
    """Return a caution, to follow a name, if layers of an adapter are left out; else nothing.

    Args:
        adapter: One that `adapter_of` took.
        model: The base.
    """
    unread = unread_layers(model, adapter.parts)
    if not unread:
        return ()
    return (
        f"{len(unread)} of the adapter's {len(adapter.parts)} layers are left out, because no text "
        f"runs through them: {some_of(unread)}. Answers to texts are the same with and without "
        "them.",
    )


def save_adapter(adapter: WeightAdapter, config: PeftConfig, folder: Path) -> None:
    """Write changes of layers in PEFT's format: safetensors and adapter_config.json.

    Args:
        adapter: What to write.
        config: PEFT's, with the base's public name.
        folder: Made if it is not there.
    """
    config.inference_mode = True
    write_config(config, folder)
    tensors = {
        f"base_model.model.{layer}.{part}": tensor.detach().float().cpu()
        for layer, change in sorted(adapter.changes.items())
        for part, tensor in _parts(change).items()
    }
    write_tensors(folder / WEIGHTS_NAME, tensors)


def write_config(config: PeftConfig, folder: Path) -> None:
    """Write adapter_config.json as PEFT's `save_pretrained` does, in one step and in one order.

    PEFT keeps names of modules as a set and writes them in whatever order it has in the process.

    Args:
        config: PEFT's.
        folder: Made if it is not there.
    """
    fields = {
        name: sorted(value) if isinstance(value, set) else value
        for name, value in config.to_dict().items()
    }
    write_text(folder / CONFIG_NAME, json.dumps(fields, indent=2, sort_keys=True))


def check_fits(adapter: CheckedAdapter, model: PreTrainedModel, base_name: str) -> None:
    """Compare an adapter with the base; PEFT would pass over missing weights.

    Raises:
        ModelError: names the first module that is missing on either side, or of other features; or
            those that are not run one by one.
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
    check_is_run(model, changed.keys() - set(unread_layers(model, changed)), where=where)
    read = modules.keys() - set(unread_layers(model, modules))
    for name in modules:
        if (
            name in read
            and name not in changed
            and is_targeted(name, adapter.config["target_modules"])
        ):
            raise ModelError(
                f"{where}: has no weights for module '{name}', which target_modules names in "
                f"{advice}"
            )


def _change(
    adapter: CheckedAdapter,
    name: str,
    layer: torch.nn.Module,
    parts: Mapping[str, torch.Tensor],
) -> LayerChange:
    config = adapter.config
    if adapter.summary.kind == "ia3":
        return ScalingChange(parts["ia3_l"])
    a, b, scaling = parts["lora_A"], parts["lora_B"], adapter.scaling_of(name)
    dropout = float(config["lora_dropout"])
    if adapter.summary.kind == "adalora":
        alpha, rank = float(config["lora_alpha"]), config["init_r"]
        return SingularChange(a, parts["lora_E"], b, alpha, rank=rank, dropout=dropout)
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
