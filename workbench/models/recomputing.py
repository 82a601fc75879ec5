"""Layers that keep only their inputs for the backward pass and compute the rest again.

Source: Chen et al. 2016, https://arxiv.org/abs/1604.06174, section 4. transformers' own switch acts
only in training mode and takes the stored keys and values of a prefix away, so it is not used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from workbench.errors import ModelError


@contextmanager
def recomputed_layers(model: PreTrainedModel) -> Iterator[None]:
    """Let what a decoder's layers compute inside the block be computed again in backward.

    Dropout draws the same numbers again, so gradients are the same to the last bit. A layer must
    not write keys and values into a cache inside the block: it would write them twice. What acts on
    its parts, such as an adapter's hooks, has to be there in the backward pass too.

    Raises:
        ModelError: this base's layers are not marked as what can be run again.
    """
    decoder = model.get_decoder()
    layers = [m for m in decoder.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise ModelError(
            f"model '{model.config._name_or_path}': gradient_checkpointing needs layers that can "
            "be run again, and its are of its own kind. Leave the option out, and use a smaller "
            "micro_batch_size instead."
        )
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class has its own
