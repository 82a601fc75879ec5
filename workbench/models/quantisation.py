"""What a precision does to the weights of a base: memory and error of every matrix.

Source: Dettmers et al. 2023 (QLoRA), https://arxiv.org/abs/2305.14314, sections 2 and 3.
"""

from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workbench.models.layers import linear_layers
from workbench.models.quantised_layers import dequantised_weight, stored_bytes
from workbench.models.weight_error import WeightError


def weight_errors(model: PreTrainedModel, folder: Path) -> list[WeightError]:
    """Return memory and error of every matrix between embedding and output head.

    The originals are read one by one from the file, so memory does not hold the base twice.

    Args:
        model: Loaded from `folder` in some precision, without adapters.
        folder: Where the base's safetensors are.
    """
    found = []
    with ExitStack() as stack:
        files = [
            stack.enter_context(safe_open(path, framework="pt"))
            for path in sorted(folder.glob("*.safetensors"))
        ]
        originals = {name: file for file in files for name in file.keys()}  # noqa: SIM118
        for module, layer in linear_layers(model).items():
            restored = dequantised_weight(layer).cpu()
            name = name_in_file(f"{module}.weight", originals, model.base_model_prefix)
            original = None if name is None else originals[name].get_tensor(name).float()
            found.append(
                WeightError(
                    module,
                    restored.numel(),
                    *stored_bytes(layer),
                    error=_relative_error(layer, restored, original),
                )
            )
    return found


def relative_error(restored: torch.Tensor, original: torch.Tensor) -> float:
    """Return the Frobenius norm of the difference by that of the original; both (out, in)."""
    gap = (restored.double() - original.double()).norm()
    return float(gap / original.double().norm().clamp_min(1e-30))


def _relative_error(
    layer: torch.nn.Module, restored: torch.Tensor, original: torch.Tensor | None
) -> float | None:
    if original is None:
        return None
    if getattr(layer, "source_cls", None) is Conv1D:  # stored (in, out), quantised as (out, in)
        original = original.T
    return relative_error(restored, original) if original.shape == restored.shape else None


def name_in_file(name: str, known: dict[str, object], prefix: str) -> str | None:
    """Return what the file calls a weight: bases are saved with and without their head."""
    for candidate in (name, name.removeprefix(f"{prefix}."), f"{prefix}.{name}"):
        if candidate in known:
            return candidate
    return None
