"""LoRA: learn a low-rank change of some weights; over a 4-bit base this is QLoRA.

Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685, section 4; Dettmers et al. 2023,
https://arxiv.org/abs/2305.14314, section 3.
Differs from the source: all linear layers by default (QLoRA's own advice), the loss is taken on
answer tokens only.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from peft import LoraConfig, TaskType

from workbench.methods.base import Family, FitContext, FittedMethod
from workbench.methods.learning import fit_by_training
from workbench.models.catalog import hub_id_of
from workbench.options import option
from workbench.tasks.base import Task
from workbench.training import Trainable, TrainingOptions

_QUERY_VALUE = ("q_proj", "v_proj")
_LEARNING_RATE = 1e-3  # small models take larger steps than the 2e-4 usual for billions


@dataclass(frozen=True, kw_only=True)
class Lora(TrainingOptions):
    """Learn matrices A and B of rank `rank` beside the chosen linear layers."""

    family: ClassVar[Family] = "weights"
    summary: ClassVar[str] = "a low-rank change of the weights"

    rank: int = option(8, minimum=1, maximum=512, help="Rank r of the change.")
    alpha: float = option(16.0, minimum=0.0, help="The change is scaled by alpha / rank.")
    dropout: float = option(0.0, minimum=0.0, maximum=0.9, help="Dropout before A while training.")
    targets: str = option(
        "attention_qv",
        choices=("all_linear", "attention_qv"),
        help="Layers that get a change: all linear ones, or the queries and values.",
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Train A and B on the training split; return the best step on dev."""
        adapters, name = context.engine.adapters, context.adapter_name
        if name in adapters.names:
            adapters.remove(name)
        # PEFT draws A from the global generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            adapters.add(name, self._config())
        start = context.encoder.start()

        def fitted() -> FittedMethod:
            return FittedMethod(context.encoder, start, start.prefix, adapter=name)

        trainable = Trainable(adapters.parameters(name), lambda: start.prefix, name)
        options = replace(self, learning_rate=self.learning_rate or _LEARNING_RATE)
        return fit_by_training(context, options, trainable, start, fitted)

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return the method with matrices saved by `save` or by plain PEFT.

        Raises:
            ModelError: the adapter does not fit the base.
        """
        context.engine.adapters.load(context.adapter_name, folder)
        start = context.encoder.start()
        return FittedMethod(context.encoder, start, start.prefix, adapter=context.adapter_name)

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write the matrices in PEFT's format."""
        base_name = hub_id_of(context.engine.info.name)
        context.engine.adapters.save(context.adapter_name, folder, base_name=base_name)

    def num_trainable(self, context: FitContext) -> int:
        """Return the sum of r (in + out) over the targeted layers (Hu et al. 2021, section 4.2)."""
        model = context.engine.forward.model
        head = model.get_output_embeddings()
        layers = [
            layer
            for name, layer in model.named_modules()
            if isinstance(layer, torch.nn.Linear)
            and layer is not head
            and ".lora_" not in name
            and (self.targets == "all_linear" or _is_query_or_value(name))
        ]
        return sum(self.rank * (layer.in_features + layer.out_features) for layer in layers)

    def labelled_examples(self, task: Task) -> int:
        """Return the size of the training split."""
        return len(task.train)

    def _config(self) -> LoraConfig:
        all_linear = self.targets == "all_linear"
        return LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules="all-linear" if all_linear else list(_QUERY_VALUE),
        )


def _is_query_or_value(name: str) -> bool:
    """Return whether a module is a projection to queries or values, wrapped by PEFT or not."""
    return name.removesuffix(".base_layer").endswith(_QUERY_VALUE)
