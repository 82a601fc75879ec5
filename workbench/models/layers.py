"""The linear layers of a base, by name and by role; adapters are put on these."""

from collections.abc import Iterable

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workbench.errors import ModelError, some_of
from workbench.models.roles import layers_of_role


def linear_layers(model: PreTrainedModel, role: str = "all_linear") -> dict[str, torch.nn.Module]:
    """Return the linear layers of the decoder that have a role, by name; the head is left out.

    Args:
        model: The base.
        role: As in `workbench.models.roles.layers_of_role`.

    Raises:
        ConfigError: the base has no layer of that role by a name that is known.
    """
    layers = {
        name: layer
        for name, layer in decoder_modules(model).items()
        if features_of(layer) is not None
    }
    where = f"base model '{model.config._name_or_path}'"
    return {name: layers[name] for name in layers_of_role(layers, role, where=where)}


def decoder_modules(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """Return the modules of the part that reads texts, by their names in the whole model.

    A model that sees or hears has others too, which no text runs through; in some they lie within
    the decoder, as models of their own beside what fits them to it.
    """
    decoder = model.get_decoder()
    own = {id(module) for module in decoder.modules()}
    for name, module in decoder.named_modules():
        if name and isinstance(module, PreTrainedModel) and "text" not in module.input_modalities:
            holder = decoder.get_submodule(name.rpartition(".")[0])
            other = module if holder is decoder else holder
            own -= {id(part) for part in other.modules()}
    return {name: module for name, module in model.named_modules() if id(module) in own}


def features_of(layer: torch.nn.Module) -> tuple[int, int] | None:
    """Return the features (in, out) of a linear layer; None for what is no linear layer."""
    if isinstance(layer, Conv1D):  # the linear layer of GPT-2
        return int(layer.weight.shape[0]), int(layer.weight.shape[1])
    if isinstance(layer, torch.nn.Linear):
        return int(layer.in_features), int(layer.out_features)
    return None


def unread_layers(model: PreTrainedModel, names: Iterable[str]) -> list[str]:
    """Return those of a base's modules that no text runs through, sorted.

    They see pictures or hear sounds: they belong neither to the decoder nor to head or embedding.
    """
    read = {*decoder_modules(model).values(), *_head_and_embedding(model)}
    return sorted(name for name in names if model.get_submodule(name) not in read)


def check_is_run(model: PreTrainedModel, names: Iterable[str], *, where: str) -> None:
    """Check that modules belong to the decoder, whose layers are run one by one.

    Logits are computed from the output head's weight, so a change hooked on the head would be
    passed over without a word.

    Args:
        model: The base.
        names: Dotted names of modules it has.
        where: Begins the message: what changes them.

    Raises:
        ModelError: names those outside the decoder.
    """
    inside, ends = set(decoder_modules(model).values()), set(_head_and_embedding(model))
    outside = {n: m for n in names if (m := model.get_submodule(n)) not in inside}
    if refused := sorted(name for name, module in outside.items() if module in ends):
        head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
        advice = (
            "Merge it with PEFT (merge_and_unload, save_pretrained) and use that folder as the "
            "base."
        )
        if head is not None and head.weight is embedding.weight:  # merging would change both
            advice = "Train it without these modules among target_modules."
        raise ModelError(
            f"{where}: changes module {some_of([repr(name) for name in refused])} outside the "
            f"decoder, and logits are computed from the output head's own weight. {advice}"
        )
    if outside:
        raise ModelError(
            f"{where}: changes {some_of(sorted(outside))}, which no text runs through. Leave these "
            "layers out."
        )


def _head_and_embedding(model: PreTrainedModel) -> list[torch.nn.Module]:
    ends = (model.get_output_embeddings(), model.get_input_embeddings())
    return [module for end in ends if end is not None for module in end.modules()]


def is_turned(layer: torch.nn.Module) -> bool:
    """Return whether the base's files have the layer's weight as (in, out), as GPT-2's do."""
    # bitsandbytes puts a layer of its own in the place of GPT-2's and remembers what it was.
    return isinstance(layer, Conv1D) or getattr(layer, "source_cls", None) is Conv1D
