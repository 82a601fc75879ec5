"""A pass of the base ends between two layers when it was asked to stop.

A batch of long texts takes many seconds on a processor, a step of training on it longer still; one
layer of it does not.
"""

import torch
from transformers import PreTrainedModel

from workbench.progress import raise_if_stopped


def ask_between_layers(decoder: PreTrainedModel, num_layers: int) -> None:
    """Let each layer of a decoder ask whether to stop before it is run.

    Backward too on a CPU; torch runs a GPU's backward pass in threads that know of no request.
    """
    for module in decoder.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == num_layers:
            for layer in module:
                layer.register_forward_pre_hook(ask_to_go_on)
            return


def ask_to_go_on(_layer: torch.nn.Module, inputs: tuple[object, ...]) -> None:
    """End the pass before a layer is run if it was asked to stop; the hook of each layer."""
    if torch.compiler.is_compiling():
        return
    raise_if_stopped()
    states = inputs[0] if inputs else None
    if isinstance(states, torch.Tensor) and states.requires_grad and torch.is_grad_enabled():
        states.register_hook(_ask_backward)  # type: ignore[no-untyped-call]  # torch's own


def _ask_backward(_gradient: torch.Tensor) -> None:
    raise_if_stopped()
