"""The weights of a base as they were before quantisation, read again from its files."""

from collections.abc import Iterable

import torch
from safetensors import safe_open

from workbench.errors import ModelError
from workbench.models.loading import BaseInfo
from workbench.models.weights import find_weights


def original_weights(info: BaseInfo, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Return tensors of the base's own files in float32, by their parameters' names.

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
            for name in wanted & set(stored.keys()):
                found[name] = stored.get_tensor(name).float()
    if missing := sorted(wanted - found.keys()):
        raise ModelError(
            f"{where}: its files have no tensor '{missing[0]}' ({len(missing)} missing). "
            "This architecture stores its weights under other names; use another method or init."
        )
    return found
