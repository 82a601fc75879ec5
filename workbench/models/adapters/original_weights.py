"""The weights of a base as they were before quantisation, read again from its files."""

from collections.abc import Iterable

import torch
from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workbench.errors import ModelError
from workbench.models.loading import BaseInfo
from workbench.models.quantisation import name_in_file
from workbench.models.weights import find_weights


def original_weights(
    info: BaseInfo, model: PreTrainedModel, names: Iterable[str]
) -> dict[str, torch.Tensor]:
    """Return tensors of the base's own files in float32, by their parameters' names.

    Each is shaped as its layer computes with it: a quantised layer of GPT-2 is (out, in), while its
    file has (in, out).

    Raises:
        ModelError: the files are gone, are other weights by now, or lack one of the names.
    """
    source = find_weights(info.name)
    where = f"model '{info.name}' ({source.source})"
    if source.identity != info.identity:
        raise ModelError(
            f"{where}: the files are not those that were loaded. Load the base again; a revision "
            "other than the default cannot be read twice."
        )
    wanted, found = set(names), dict[str, torch.Tensor]()
    for file in sorted(source.folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            known = dict.fromkeys(stored.keys())
            for name in wanted:
                if key := name_in_file(name, known, model.base_model_prefix):
                    found[name] = _as_computed(model, name, stored.get_tensor(key).float())
    if missing := sorted(wanted - found.keys()):
        raise ModelError(
            f"{where}: its files have no tensor '{missing[0]}' ({len(missing)} missing). "
            "This architecture stores its weights under other names; use another method or init."
        )
    return found


def _as_computed(model: PreTrainedModel, name: str, tensor: torch.Tensor) -> torch.Tensor:
    module, _, key = name.rpartition(".")
    is_turned = getattr(model.get_submodule(module), "source_cls", None) is Conv1D
    return tensor.T.contiguous() if is_turned and key == "weight" else tensor
