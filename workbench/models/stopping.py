"""A pass of the base ends between two layers when it was asked to stop.

A batch of long texts takes many seconds on a processor, a step of training on it longer still; one
layer of it does not.
"""

import torch
from transformers import PreTrainedModel

from workbench.progress import raise_if_stopped


def ask_between_layers(decoder: PreTrainedModel, num_layers: int) -> None:
    """Let each layer of a decoder ask whether to stop before it is run, forward and backward."""
    for module in decoder.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == num_layers:
            for layer in module:
                layer.register_forward_pre_hook(_ask)
            return


def _ask(_layer: torch.nn.Module, inputs: tuple[object, ...]) -> None:
    if torch.compiler.is_compiling():
        return
    raise_if_stopped()
    states = inputs[0] if inputs else None
    if isinstance(states, torch.Tensor) and states.requires_grad and torch.is_grad_enabled():
        states.register_hook(_ask_backward)  # type: ignore[no-untyped-call]  # torch's own


def _ask_backward(_gradient: torch.Tensor) -> None:
    raise_if_stopped()
