"""Prefix tuning: learn keys and values for every layer in place of the instruction.

Source: Li and Liang 2021, https://arxiv.org/abs/2101.00190, sections 4.2 and 4.3.
Differs from the source: the keys and values stand where the instruction stood, after special tokens
and chat header, and start by default from those of the instruction's tokens there, so that
training starts at zero-shot: exactly so when there are as many as tokens. What is trained is
their shift, in units of the root mean square of the layer's own keys or values, so that one
learning rate suits all layers.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from peft import PrefixTuningConfig, TaskType

from workbench.fitting.base import Family, FitContext, FittedMethod
from workbench.fitting.learning import PROMPT, WEIGHTS, fit_by_training
from workbench.fitting.reparametrisation import (
    LearnedTensor,
    projected,
    projected_size,
    shifted,
)
from workbench.fitting.soft_prompts import (
    check_belongs,
    frequent_ids,
    initial_ids,
    with_stored,
)
from workbench.models.adapters.peft_changes import write_config
from workbench.models.adapters.reading import (
    join_states,
    read_adapter,
    split_states,
)
from workbench.models.adapters.tensors import learned_range
from workbench.models.base import Prefix
from workbench.models.catalog import published_name
from workbench.options import TEXT, option
from workbench.shared_options import NUM_VIRTUAL_TOKENS
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate
from workbench.tensor_files import write_tensors
from workbench.training.loop import Trainable
from workbench.training.options import TrainingOptions

_WHERE = "methods.prefix_tuning"


@dataclass(frozen=True, kw_only=True)
class PrefixTuning(TrainingOptions):
    """Learn keys and values of `num_virtual_tokens` positions in each layer."""

    family: ClassVar[Family] = "vectors"
    summary: ClassVar[str] = "learned keys and values of every layer in place of the instruction"
    gloss: ClassVar[str] = (
        "What every layer would remember of an instruction is learned itself, without any words."
    )
    tiny_rate: ClassVar[float] = 0.1
    # Of 0.003, 0.01, 0.03 and 0.1, in 60 steps on SST-2: dev loss 0.41, 0.38, 0.48 and 0.59.
    default_rate: ClassVar[float] = 0.01
    instead_of_reading: ClassVar[str] = (
        "Readings look at vectors that stand for tokens, and a prefix has keys and values of every "
        "layer instead. Choose a run of a soft prompt."
    )

    num_virtual_tokens: int | None = NUM_VIRTUAL_TOKENS.option(
        default=None,
        help="How many positions are learned (P); null: as many as the init text has, at least 20.",
    )
    init: str = option(
        "instruction",
        choices=("instruction", "labels", "text", "vocabulary", "random", "zero"),
        help="Start from what the base keeps of these tokens, from random values of the size of "
        "frequent tokens', or from zeros (which is not the same as no prefix).",
    )
    init_text: str | None = option(
        None, holds="text", public=TEXT, help="The text to start from, where init is 'text'."
    )
    reparametrisation: str = option(
        "none",
        choices=("none", "mlp"),
        help="Train the values themselves, or a small network (MLP) that makes their shifts and "
        "is left behind.",
    )
    hidden_size: int = option(
        512,
        minimum=1,
        maximum=4096,
        public=(1024, 1024),
        help="How wide the network of 'mlp' is inside (h).",
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Train keys and values on the training split; return the best step on dev."""
        start, shape = context.encoder.start(), context.engine.forward.state_shape
        learned = self._learned(context)

        def prefix(states: torch.Tensor) -> Prefix:
            return Prefix((start.head_ids,), states=split_states(states, shape))

        def fitted() -> FittedMethod:
            frozen = prefix(learned.made().detach().clone())
            return FittedMethod(context.encoder, start, frozen)

        options = replace(self, learning_rate=self.learning_rate or self.default_rate)
        trainable = Trainable(learned.parameters, lambda: prefix(learned.made()))
        trained = fit_by_training(context, options, trainable, start, fitted)
        return with_stored(trained, learned.made())

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return the method with keys and values saved by `save` or by plain PEFT.

        Raises:
            ModelError: not a prefix-tuning adapter, or of another shape than the base's.
        """
        states = read_adapter(folder).prefix_states(context.engine.forward.state_shape)
        return FittedMethod(context.encoder, context.encoder.start(), Prefix(states=states))

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write keys and values in PEFT's format, with those of what stands before them included.

        PEFT puts its prefix at the very start of the input, so special tokens and the chat header
        are stored as keys and values too; then plain PEFT gives the same answers.
        """
        layers, heads, width = context.engine.forward.state_shape
        with context.engine.lock, torch.no_grad():
            states = context.engine.compute_prefix(fitted.prefix, None)
        flat = join_states(states).detach().float().cpu()
        config = PrefixTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=len(flat),
            token_dim=heads * width,
            num_layers=layers,
            num_attention_heads=heads,
            num_transformer_submodules=1,
            encoder_hidden_size=heads * width,
            base_model_name_or_path=published_name(context.engine.info.name),
            inference_mode=True,
        )
        write_config(config, folder)
        learned = learned_range(fitted.prefix.num_computed, len(flat))
        write_tensors(folder / WEIGHTS, {PROMPT: flat}, learned)

    def num_trainable(self, context: FitContext) -> int:
        """Return P 2 L K, K = H x head width; with "mlp" P K + K h + h + (h + 1) 2 L K."""
        layers, heads, width = context.engine.forward.state_shape
        num = self.num_virtual_tokens or len(self._initial_ids(context))
        if self.reparametrisation == "mlp":
            return projected_size(num, layers, heads * width, self.hidden_size)
        return num * 2 * layers * heads * width

    def initial_states(self, context: FitContext) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values to start from, and the unit of their shifts.

        Returns:
            (P, L x 2 x H x head width) in PEFT's layout, and (L x 2 x H x head width): for each
            layer the root mean square of its keys, or of its values. Random ones are normal with
            that standard deviation.

        Raises:
            ConfigError: the init gives no tokens to start from, or lacks its text.
        """
        ids = self._initial_ids(context)
        head = context.encoder.start().head_ids
        with context.engine.lock, torch.no_grad():
            states = context.engine.compute_prefix(Prefix((head + ids,)), None)
        found = join_states(states).float()[len(head) :]
        layers = context.engine.forward.num_layers
        split = found.reshape(len(ids), 2 * layers, -1)
        scale = split.square().mean(dim=(0, 2)).sqrt()
        unit = scale.repeat_interleave(split.shape[2])
        if self.init == "zero":
            found = torch.zeros_like(found)
        elif self.init == "random":
            noise = np.random.default_rng(context.seed).normal(size=tuple(found.shape))
            found = torch.from_numpy(noise).to(found) * unit
        return found, unit

    def _learned(self, context: FitContext) -> LearnedTensor:
        states, unit = self.initial_states(context)
        if self.reparametrisation == "none":
            return shifted(states, unit)
        layers, hidden = context.engine.forward.num_layers, self.hidden_size
        return projected(states, unit, layers=layers, hidden=hidden, seed=context.seed)

    def check(self, task: Task, template: PromptTemplate) -> None:
        """Refuse a start by a text without the text, and the text without that start.

        Raises:
            ConfigError: says so.
        """
        check_belongs(_WHERE, self.init, "init_text", needed_by="text", value=self.init_text)

    def _initial_ids(self, context: FitContext) -> tuple[int, ...]:
        self.check(context.task, context.template)
        num = self.num_virtual_tokens
        if self.init in ("vocabulary", "random", "zero"):
            generator = np.random.default_rng(context.seed)
            return frequent_ids(context, num or NUM_VIRTUAL_TOKENS.default, generator)
        return initial_ids(context, self.init, text=self.init_text, num=num, where=_WHERE)
