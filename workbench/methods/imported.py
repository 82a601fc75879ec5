"""Imported: an adapter that was trained elsewhere with PEFT, LoRA or prompt tuning.

Nothing is trained and nothing is known about the training: neither its cost nor its data. A soft
prompt takes the place of special tokens and chat header too, because PEFT puts its vectors first.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import torch
from transformers.pytorch_utils import Conv1D

from workbench.errors import ConfigError, ModelError
from workbench.methods.base import Family, FitContext, FittedMethod, TrainedCost
from workbench.models.adapter_import import (
    CheckedAdapter,
    is_targeted,
    read_adapter,
    write_adapter,
)
from workbench.models.base import Prefix
from workbench.options import option
from workbench.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Answer with the matrices or vectors in the folder `adapter`."""

    family: ClassVar[Family] = "weights"
    summary: ClassVar[str] = "an adapter trained elsewhere with PEFT"

    adapter: str | None = option(
        None, help="Folder with adapter_config.json and adapter_model.safetensors."
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Return the method with the adapter's vectors, or with its matrices in the engine.

        Raises:
            ConfigError: no adapter is given.
            ModelError: the adapter does not pass the checks, or does not fit the base.
        """
        if not self.adapter:
            raise ConfigError(
                "methods.imported.adapter: no adapter is given. A folder with adapter_config.json "
                "and adapter_model.safetensors is needed. Example: "
                "--set methods.imported.adapter=my_adapter"
            )
        adapter = read_adapter(Path(self.adapter))
        start = context.encoder.start()
        size = sum(t.numel() * t.element_size() for t in adapter.tensors.values())
        cost = TrainedCost(adapter.summary.num_parameters, size)
        if adapter.summary.kind == "prompt_tuning":
            vectors = adapter.prompt_vectors(context.engine.forward.embedding_width)
            return FittedMethod(context.encoder, start, Prefix((vectors,)), cost=cost)
        _check_fits(adapter, context.engine.forward.model, context.engine.info.name)
        with TemporaryDirectory() as scratch:  # PEFT reads what was checked, and only that
            rebuilt = write_adapter(adapter, Path(scratch))
            context.engine.adapters.load(context.adapter_name, rebuilt)
        return FittedMethod(
            context.encoder, start, start.prefix, adapter=context.adapter_name, cost=cost
        )

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return what `fit` returns; a run stores no copy of the adapter in `folder`."""
        return self.fit(context)

    def labelled_examples(self, task: Task) -> int:
        """Return 0: none of this task's examples are used."""
        return 0


def _check_fits(adapter: CheckedAdapter, model: torch.nn.Module, base_name: str) -> None:
    """Compare with the base before PEFT changes it; PEFT would pass over missing weights.

    Raises:
        ModelError: names the first module that is missing on either side, or of other features.
    """
    modules, changed = dict(model.named_modules()), adapter.features
    where, advice = adapter.where, f"base model '{base_name}'. Use the base it was trained on."
    for name, features in sorted(changed.items()):
        if name not in modules:
            raise ModelError(f"{where}: changes module '{name}', which is not in {advice}")
        found = _features(modules[name])
        if found is None:
            raise ModelError(f"{where}: changes module '{name}', which is not linear in {advice}")
        if found != features:
            raise ModelError(
                f"{where}: has (in, out) features {features} for module '{name}', which has "
                f"{found} in {advice}"
            )
    for name in modules:
        if name not in changed and is_targeted(name, adapter.summary.targets):
            raise ModelError(
                f"{where}: has no weights for module '{name}', which target_modules names in "
                f"{advice}"
            )


def _features(layer: torch.nn.Module) -> tuple[int, int] | None:
    """Return the features (in, out) of a linear layer, with or without adapters on it."""
    if isinstance(layer, Conv1D):  # the linear layer of GPT-2
        return int(layer.weight.shape[0]), int(layer.weight.shape[1])
    wide, high = getattr(layer, "in_features", None), getattr(layer, "out_features", None)
    return None if wide is None or high is None else (int(wide), int(high))
