"""Full fine-tuning: train a 16-bit copy of the weights, the reference that adapters are held to.

The frozen base stays beside its copy, so that its rows and the others' go on sharing batches.
Weights start from the unquantised files; they are trained in float32 with the products of the
base's compute dtype, and rounded to bfloat16 at the end, as they are stored.
Differs from common practice: embeddings and output head stay frozen, because all rows share them.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import psutil
import torch
from transformers.pytorch_utils import Conv1D

from workbench.errors import ConfigError
from workbench.fitting.base import FitContext
from workbench.fitting.weight_training import OwnWeightTraining
from workbench.models.adapters.bank import LayerChange, WeightAdapter
from workbench.models.adapters.original_weights import original_weights
from workbench.models.layers import decoder_modules, features_of

_BYTES_PER_PARAMETER = 20  # weight, gradient, two moments of AdamW, and the best weights so far
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class FullFineTuning(OwnWeightTraining):
    """Train every weight and norm of the decoder's layers."""

    summary: ClassVar[str] = "all weights, in 16 bit: the reference"
    gloss: ClassVar[str] = (
        "Every number of the base is trained: the dearest way, and what the cheap ones are "
        "measured by."
    )
    default_rate: ClassVar[float] = 3e-5
    tiny_rate: ClassVar[float] = 0.003

    def new_adapter(self, context: FitContext) -> WeightAdapter:
        """Return a copy of the weights before quantisation.

        Raises:
            ConfigError: training it does not fit into memory.
            ModelError: the unquantised weights are not found.
        """
        needed, free = self.num_trainable(context) * _BYTES_PER_PARAMETER, _free_bytes(context)
        if needed > free:
            raise ConfigError(
                f"full_fine_tuning: training all weights of '{context.engine.info.name}' needs "
                f"{needed / _GIB:.1f} GiB and {free / _GIB:.1f} GiB are free on "
                f"{context.engine.info.device}. Use lora, or a smaller base model."
            )
        modules = _modules(context)
        stored = original_weights(
            context.engine.info,
            context.engine.forward.model,
            [f"{name}.{key}" for name, module in modules.items() for key in _keys(module)],
        )
        return WeightAdapter(
            {
                name: _Replacement({key: stored[f"{name}.{key}"] for key in _keys(module)})
                for name, module in modules.items()
            }
        )

    def finish(self, adapter: WeightAdapter) -> None:
        """Round the weights to what is stored."""
        with torch.no_grad():
            for parameter in adapter.parameters().values():
                parameter.copy_(parameter.bfloat16())

    def stored_dtype(self) -> torch.dtype:
        """Return bfloat16."""
        return torch.bfloat16

    def num_trainable(self, context: FitContext) -> int:
        """Return all parameters of the base but those of embeddings and output head."""
        return sum(
            _num_weights(module) if key == "weight" else module.get_parameter(key).numel()
            for module in _modules(context).values()
            for key in _keys(module)
        )


class _Replacement(LayerChange):
    """Runs a module with weights of its own instead of the base's.

    Args:
        tensors: By parameter name, shaped as the module computes with them.
    """

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for key, tensor in tensors.items():
            self.register_parameter(key, torch.nn.Parameter(tensor))

    def output(
        self, layer: torch.nn.Module, inputs: torch.Tensor, outputs: torch.Tensor
    ) -> torch.Tensor:
        """Return what the module makes of the inputs with these weights."""
        own: dict[str, Any] = {k: p.to(inputs.dtype) for k, p in self.named_parameters()}
        if isinstance(layer, torch.nn.Linear):  # its own weight may be quantised
            return torch.nn.functional.linear(inputs, own["weight"], own.get("bias"))
        values: dict[str, Any] = dict(layer._parameters)
        layer._parameters.update({**values, **own})  # forward reads them from here
        try:
            changed: torch.Tensor = layer.forward(inputs)
        finally:
            layer._parameters.update(values)
        return changed


def _modules(context: FitContext) -> dict[str, torch.nn.Module]:
    """Return the decoder's modules with parameters of their own, but embeddings and head."""
    model = context.engine.forward.model
    shared = (model.get_input_embeddings(), model.get_output_embeddings())
    return {
        name: module
        for name, module in decoder_modules(model).items()
        if _keys(module)
        and not any(module is one for one in shared)
        and not isinstance(module, torch.nn.Embedding)
    }


def _keys(module: torch.nn.Module) -> list[str]:
    return [key for key, _ in module.named_parameters(recurse=False)]


def _num_weights(module: torch.nn.Module) -> int:
    """Return the numbers of a weight; a quantised one packs two in a byte."""
    sizes = features_of(module)
    if sizes is not None and not isinstance(module, Conv1D):
        return sizes[0] * sizes[1]
    return module.get_parameter("weight").numel()


def _free_bytes(context: FitContext) -> int:
    if context.engine.info.device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)
