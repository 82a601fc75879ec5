"""What methods that train changes of weights share: fitting, counting, and files of our own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from workbench.atomic import write_json
from workbench.errors import DamagedFile, ModelError
from workbench.fitting.base import Family, FitContext, FittedMethod
from workbench.fitting.learning import fit_by_training
from workbench.models.adapters.bank import WeightAdapter
from workbench.models.adapters.files import CONFIG_NAME, WEIGHTS_NAME
from workbench.models.adapters.peft_changes import adapter_of
from workbench.models.adapters.reading import read_adapter
from workbench.models.base import Prefix
from workbench.models.catalog import published_name
from workbench.models.layers import features_of, is_turned, linear_layers
from workbench.models.roles import shortest_targets
from workbench.options import FREE, option
from workbench.shared_options import RANK, TARGETS
from workbench.tensor_files import read_tensors, write_tensors
from workbench.training.loop import Trainable
from workbench.training.options import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class WeightTraining(TrainingOptions):
    """Train an adapter made by `new_adapter`; the prompt stays that of zero-shot."""

    family: ClassVar[Family] = "weights"
    default_rate: ClassVar[float]

    def new_adapter(self, context: FitContext) -> WeightAdapter:
        """Return the adapter that training starts from."""
        raise NotImplementedError

    def trainable(self, context: FitContext, adapter: WeightAdapter, prefix: Prefix) -> Trainable:
        """Return what the loop trains."""
        return Trainable(adapter.parameters(), lambda: prefix, context.adapter_name)

    def is_admissible(self, adapter: WeightAdapter) -> bool:
        """Return whether the adapter may be kept as it is."""
        return True

    def finish(self, adapter: WeightAdapter) -> None:
        """Change the adapter once after training; nothing by default."""

    def fit(self, context: FitContext) -> FittedMethod:
        """Train on the training split; return the best step on dev."""
        adapter = self.new_adapter(context)
        context.engine.adapters.add(context.adapter_name, adapter)
        start = context.encoder.start()
        fitted = fit_by_training(
            context,
            replace(self, learning_rate=self.learning_rate or self.default_rate),
            self.trainable(context, adapter, start.prefix),
            start,
            lambda: _fitted(context),
            is_admissible=lambda: self.is_admissible(adapter),
        )
        self.finish(adapter)
        context.engine.adapters.touch(context.adapter_name)
        return fitted

    def num_trainable(self, context: FitContext) -> int:
        """Return the number of trained parameters."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class PeftWeightTraining(WeightTraining):
    """Weight training whose result PEFT knows."""

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return the method with an adapter saved by `save` or by plain PEFT.

        Raises:
            ModelError: the adapter cannot be read, or does not fit the base.
        """
        engine = context.engine
        adapter = adapter_of(read_adapter(folder), engine.forward.model, base_name=engine.info.name)
        engine.adapters.add(context.adapter_name, adapter)
        return _fitted(context)


@dataclass(frozen=True, kw_only=True)
class LowRankTraining(PeftWeightTraining):
    """Options of changes B A of rank `rank` beside linear layers."""

    rank: int = RANK.option()
    alpha: float = option(
        16.0,
        minimum=1e-3,
        public=FREE,
        help="How strongly the change counts: it is scaled by alpha / rank.",
    )
    dropout: float = option(
        0.0,
        minimum=0.0,
        maximum=0.9,
        public=FREE,
        help="Share of what a change reads that is left out at random while training.",
    )
    targets: str = option(
        "attention_qv",
        choices=TARGETS,
        help="Which layers get a change: queries and values of the attention, all of it, the "
        "MLP, or all linear ones.",
    )

    def layers(self, context: FitContext) -> dict[str, torch.nn.Module]:
        """Return the targeted layers by name."""
        return linear_layers(context.engine.forward.model, self.targets)

    def num_low_rank(self, context: FitContext, rank: int) -> int:
        """Return the sum of r (in + out) over the targeted layers."""
        return sum(rank * sum(sizes_of(layer)) for layer in self.layers(context).values())


@dataclass(frozen=True, kw_only=True)
class OwnWeightTraining(WeightTraining):
    """Weight training whose result only the workbench knows."""

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write the parameters by name, and what method they belong to."""
        tensors = {
            name: parameter.detach().to("cpu", self.stored_dtype())
            for name, parameter in context.engine.adapters.parameters(context.adapter_name).items()
        }
        write_tensors(folder / WEIGHTS_NAME, tensors)
        write_json(
            folder / CONFIG_NAME,
            {
                "format": "prompt-workbench",
                "method": type(self).__name__,
                "base_model_name_or_path": published_name(context.engine.info.name),
            },
        )

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return the method with parameters saved by `save`.

        Raises:
            ModelError: the file cannot be read, or does not fit the base or the options.
        """
        adapter = self.new_adapter(context)
        _fill(adapter.parameters(), folder)
        context.engine.adapters.add(context.adapter_name, adapter)
        return _fitted(context)

    def stored_dtype(self) -> torch.dtype:
        """Return the type parameters are stored in."""
        return torch.float32


def sizes_of(layer: torch.nn.Module) -> tuple[int, int]:
    """Return the features (in, out) of a linear layer."""
    sizes = features_of(layer)
    assert sizes is not None, layer
    return sizes


def peft_targets(context: FitContext, layers: Mapping[str, torch.nn.Module]) -> dict[str, Any]:
    """Return the fields of PEFT's configs that say which layers are changed, and how they store."""
    modules = dict(context.engine.forward.model.named_modules())
    return {
        "target_modules": shortest_targets(layers, modules),
        "fan_in_fan_out": any(is_turned(layer) for layer in layers.values()),
    }


def _fitted(context: FitContext) -> FittedMethod:
    start = context.encoder.start()
    return FittedMethod(context.encoder, start, start.prefix, adapter=context.adapter_name)


def _fill(parameters: Mapping[str, torch.nn.Parameter], folder: Path) -> None:
    """Copy stored values into parameters of the same names and shapes."""
    try:
        stored = read_tensors(folder / WEIGHTS_NAME)
    except DamagedFile as error:
        raise ModelError(f"adapter folder {folder}: {error}. Train the run again.") from error
    found = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    wanted = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    if found != wanted:
        odd = sorted(set(found.items()) ^ set(wanted.items()))[0]
        raise ModelError(
            f"adapter folder {folder}: does not fit the base model or the run's options, first at "
            f"{odd[0]} of shape {odd[1]}. Use the base it was trained on."
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(stored[name])
