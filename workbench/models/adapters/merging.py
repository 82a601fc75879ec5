"""Changes of weights made one: several into one, or one into a plain copy of the model.

Sources of the ways to combine: Ilharco et al. 2022 (task arithmetic),
https://arxiv.org/abs/2212.04089; Yadav et al. 2023 (TIES), https://arxiv.org/abs/2306.01708; Yu et
al. 2023 (DARE), https://arxiv.org/abs/2311.03099. TIES and DARE are PEFT's, applied to whole
changes of weights instead of to A and B apart.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path

import torch
from peft.utils import merge_utils
from transformers.pytorch_utils import Conv1D

from workbench.errors import ConfigError, ModelError
from workbench.models.adapters.bank import LayerChange, WeightAdapter
from workbench.models.adapters.layer_changes import LowRankChange, weight_of
from workbench.models.layers import linear_layers
from workbench.models.loading import LoadedBase, load_weights
from workbench.models.weights import find_weights

WAYS = ("linear", "svd", "ties", "dare_linear", "dare_ties")


def changed_weight(
    layer: torch.nn.Module, change: LayerChange | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return weight (out, in) and bias (out) that stand for a layer and its change, in float32.

    The bias is None where the layer has none; IA3 scales it with the outputs.

    Raises:
        ModelError: the change is no change of a weight.
    """
    weight, bias = weight_of(layer), getattr(layer, "bias", None)
    if change is None:
        return weight, None if bias is None else bias.detach().float()
    if not change.is_weight_change:
        raise ModelError(
            f"{type(change).__name__.strip('_')}: acts beside the weights and cannot be merged "
            "into them. Merge LoRA, DoRA, AdaLoRA or IA3."
        )
    offset = torch.zeros(len(weight)).to(weight) if bias is None else bias.float()
    change.eval()  # dropout is no part of the weights
    with torch.no_grad():
        # A changed layer is affine: whatever the change is, its answer to nothing is its bias, and
        # those to the unit vectors, less the bias, are the columns of its weight.
        nothing = torch.zeros(1, 1, weight.shape[1]).to(weight)
        inputs = torch.cat([nothing, torch.eye(weight.shape[1]).to(weight)[None]], dim=1)
        inputs = change.input(inputs) if change.changes_input else inputs
        outputs = change.output(layer, inputs, inputs @ weight.T + offset)[0]
    return (outputs[1:] - outputs[0]).T, None if bias is None else outputs[0]


def combine(
    adapters: Sequence[WeightAdapter],
    weights: Sequence[float],
    layers: Mapping[str, torch.nn.Module],
    *,
    way: str,
    rank: int,
    density: float,
    seed: int,
) -> WeightAdapter:
    """Return one adapter of low rank that stands for several.

    Args:
        adapters: Each a change of weights; a layer that only some change counts as unchanged there.
        weights: One factor per adapter.
        layers: Modules of the base by name.
        way: One of `WAYS`. "linear" adds the weighted changes and keeps all their directions, as
            many as a layer has where one of them is more than A and B; the others leave the `rank`
            leading directions of what they make.
        rank: How many directions those leave; at most what a layer has.
        density: Share of each change's entries that TIES and DARE keep.
        seed: Decides what DARE drops.

    Raises:
        ModelError: an adapter is no change of weights.
    """
    names = sorted({name for adapter in adapters for name in adapter.changes})
    changes: dict[str, LayerChange] = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for name in names:
            parts = [adapter.changes.get(name) for adapter in adapters]
            pairs = zip(parts, weights, strict=True)
            low_rank = [(part, factor) for part, factor in pairs if type(part) is LowRankChange]
            if way == "linear" and len(low_rank) == sum(part is not None for part in parts):
                changes[name] = _stacked(low_rank)
                continue
            layer = layers[name]
            base = weight_of(layer)
            deltas = [_changed_alone(name, layer, part) - base for part in parts]
            delta = _COMBINED[way](deltas, torch.tensor(weights).to(base), density)
            changes[name] = _whole(delta) if way == "linear" else _leading(delta, rank)
    return WeightAdapter(changes)


def _changed_alone(name: str, layer: torch.nn.Module, change: LayerChange | None) -> torch.Tensor:
    """Return the changed weight of a layer whose bias stays: a low-rank change has none."""
    weight, bias = changed_weight(layer, change)
    if bias is not None and not torch.allclose(bias, layer.get_parameter("bias").float()):
        raise ModelError(
            f"module '{name}' has a bias, and this adapter (IA3) changes it: a combination has no "
            "place for that. Combine LoRA, DoRA or AdaLoRA, or use 'workbench merge'."
        )
    return weight


def save_merged(base: LoadedBase, adapter: WeightAdapter, folder: Path, dtype: torch.dtype) -> None:
    """Write the base with an adapter merged in as a plain model that needs nothing else.

    A quantised base is restored from its precision first, because that is what the adapter was
    trained on; merging into quantised weights would round the change away.

    Args:
        base: What the adapter was trained on; it stays as it is.
        adapter: What is merged in.
        folder: Gets safetensors, config and tokenizer.
        dtype: What the weights are stored in.

    Raises:
        ModelError: the adapter acts beside the weights.
    """
    source = find_weights(base.info.name)
    plain = load_weights(source, name=base.info.name, precision="fp32", device="cpu").model
    with torch.no_grad():
        for name, layer in linear_layers(base.model).items():
            weight, bias = changed_weight(layer, adapter.changes.get(name))
            into = plain.get_submodule(name)
            target = into.get_parameter("weight")
            # A square weight has one shape either way; GPT-2 stores (in, out).
            target.copy_(weight.T if isinstance(into, Conv1D) else weight)
            if bias is not None:
                into.get_parameter("bias").copy_(bias)
    plain.to(dtype).save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)


def check_weights(text: str, count: int, *, where: str) -> list[float]:
    """Return the factors in a comma-separated text; ones where it is empty.

    Raises:
        ConfigError: no numbers, or another count.
    """
    try:
        found = [float(part) for part in text.split(",")] if text.strip() else [1.0] * count
    except ValueError:
        found = []
    if len(found) != count or not all(isfinite(factor) for factor in found):
        raise ConfigError(
            f"{where}: {text!r} is not {count} comma-separated numbers, one for each adapter. "
            "Example: 1,0.5"
        )
    return found


def _stacked(pairs: Sequence[tuple[LowRankChange, float]]) -> LowRankChange:
    """Return the weighted sum of low-rank changes exactly: their A and B side by side."""
    a = torch.cat([change.matrices[0] for change, _ in pairs])
    b = torch.cat([c.matrices[1] * c.scaling * factor for c, factor in pairs], dim=1)
    return LowRankChange(a.clone(), b.clone(), 1.0)


def _whole(delta: torch.Tensor) -> LowRankChange:
    """Return a change (out, in) exactly, with as many directions as it can have."""
    high, wide = delta.shape
    one = torch.eye(min(high, wide)).to(delta)
    return LowRankChange(*((one, delta) if wide < high else (delta, one)), 1.0)


def _leading(delta: torch.Tensor, rank: int) -> LowRankChange:
    """Return the best approximation of a change (out, in) by `rank` directions."""
    left, values, right = torch.linalg.svd(delta, full_matrices=False)
    # Shared evenly between A and B, as neither is the larger one after training.
    roots = values[:rank].sqrt()
    return LowRankChange(roots[:, None] * right[:rank], left[:, :rank] * roots, 1.0)


def _sum(deltas: list[torch.Tensor], weights: torch.Tensor, _density: float) -> torch.Tensor:
    total: torch.Tensor = merge_utils.task_arithmetic(deltas, weights)
    return total


_COMBINED: dict[str, Callable[[list[torch.Tensor], torch.Tensor, float], torch.Tensor]] = {
    "linear": _sum,
    "svd": _sum,
    "ties": merge_utils.ties,
    "dare_linear": merge_utils.dare_linear,
    "dare_ties": merge_utils.dare_ties,
}
