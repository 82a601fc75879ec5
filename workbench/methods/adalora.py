"""AdaLoRA: low-rank changes that give up rank where it matters least while they learn.

Source: Zhang et al. 2023, https://arxiv.org/abs/2303.10512: triplets P, Lambda, Q (section 3.1),
importance by smoothed sensitivity and uncertainty (3.2), a cubic schedule of the budget (3.3).
Importance and schedule are PEFT's `RankAllocator`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from peft import AdaLoraConfig, TaskType
from peft.tuners.adalora.layer import RankAllocator

from workbench.atomic import write_text
from workbench.errors import ConfigError, require_all
from workbench.fitting.base import FitContext, FittedMethod
from workbench.fitting.weight_training import PeftWeightTraining, peft_targets, sizes_of
from workbench.models.adapters.bank import WeightAdapter
from workbench.models.adapters.layer_changes import SingularChange
from workbench.models.adapters.peft_changes import save_adapter
from workbench.models.base import Prefix
from workbench.models.catalog import published_name
from workbench.models.layers import linear_layers
from workbench.options import FREE, option
from workbench.shared_options import INIT_RANK, TARGETS
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate
from workbench.training.loop import Trainable

RANKS_FILE = "ranks.json"
_START_SPREAD = 0.02  # of P and Q, as in PEFT; Lambda starts at zero
_ALLOCATOR_NAME = "own"  # PEFT's allocator asks for an adapter's name in those of parameters


@dataclass(frozen=True, kw_only=True)
class AdaLora(PeftWeightTraining):
    """Learn triplets of rank `init_rank` and prune them to `target_rank` on average."""

    summary: ClassVar[str] = "low-rank changes that share out their rank"
    gloss: ClassVar[str] = (
        "Like LoRA, but the layers that need more room for change get more of it while it learns."
    )
    default_rate: ClassVar[float] = 5e-3
    tiny_rate: ClassVar[float] = 0.1

    init_rank: int = INIT_RANK.option()
    target_rank: int = option(
        8,
        minimum=1,
        maximum=511,
        public=(16, 64),
        help="How wide the changes are on average at the end (their rank).",
    )
    alpha: float = option(
        16.0,
        minimum=1e-3,
        public=FREE,
        help="How strongly the change counts: it is scaled by alpha / init_rank.",
    )
    dropout: float = option(
        0.0,
        minimum=0.0,
        maximum=0.9,
        public=FREE,
        help="Share of what a change reads that is left out at random while training.",
    )
    orthogonality: float = option(
        0.5,
        minimum=0.0,
        maximum=100.0,
        public=FREE,
        help="How strongly the directions of a change are kept at right angles.",
    )
    warmup_share: float = option(
        0.1,
        minimum=0.0,
        maximum=0.45,
        public=FREE,
        help="Share of the steps before any width is taken away.",
    )
    final_share: float = option(
        0.3,
        minimum=0.0,
        maximum=0.45,
        public=FREE,
        help="Share of the steps after the last width was taken away.",
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

    def new_adapter(self, context: FitContext) -> WeightAdapter:
        """Return the changes before training: Lambda is zero.

        Raises:
            ConfigError: the ranks or the steps leave nothing to prune.
        """
        self.check(context.task, context.template)
        generator = torch.Generator().manual_seed(context.seed)
        changes = {}
        for name, layer in sorted(self.layers(context).items()):
            wide, high = sizes_of(layer)
            a = torch.randn(self.init_rank, wide, generator=generator) * _START_SPREAD
            b = torch.randn(high, self.init_rank, generator=generator) * _START_SPREAD
            e = torch.zeros(self.init_rank, 1)
            changes[name] = SingularChange(a, e, b, self.alpha, dropout=self.dropout)
        return WeightAdapter(changes)

    def trainable(self, context: FitContext, adapter: WeightAdapter, prefix: Prefix) -> Trainable:
        """Return what the loop trains, with the penalty and the pruning."""
        parameters = adapter.parameters()
        matrices = [
            parameter.T if name.endswith(".lora_B") else parameter
            for name, parameter in parameters.items()
            if name.endswith((".lora_A", ".lora_B"))
        ]

        def penalty() -> torch.Tensor:
            gaps = [matrix @ matrix.T - torch.eye(len(matrix)).to(matrix) for matrix in matrices]
            return self.orthogonality * torch.stack([gap.norm() for gap in gaps]).mean()

        return Trainable(
            parameters,
            lambda: prefix,
            context.adapter_name,
            penalty=penalty if self.orthogonality else None,
            companion=_Pruning(parameters, self.config(context)),
        )

    def is_admissible(self, adapter: WeightAdapter) -> bool:
        """Return whether the ranks have come down to the target."""
        ranks = _ranks(adapter)
        return sum(ranks.values()) <= self.target_rank * len(ranks)

    def check(self, task: Task, template: PromptTemplate) -> None:
        """Refuse ranks or steps that leave nothing to prune.

        Raises:
            ConfigError: both at once.
        """
        require_all(self._phases, self._check_ranks)

    def _check_ranks(self) -> None:
        if self.target_rank >= self.init_rank:
            raise ConfigError(
                f"methods.adalora.target_rank: {self.target_rank} is not below init_rank "
                f"{self.init_rank}. Use a lower one."
            )

    def _phases(self) -> tuple[int, int]:
        """Return the steps before and after pruning."""
        first, last = int(self.warmup_share * self.steps), int(self.final_share * self.steps)
        if first >= self.steps - last - 1:
            raise ConfigError(
                f"methods.adalora.steps: {self.steps} leave no step for pruning after "
                f"{first} steps before and {last} after it. Use more steps."
            )
        return first, last

    def config(self, context: FitContext) -> AdaLoraConfig:
        """Return PEFT's config with the schedule of these options.

        Raises:
            ConfigError: too few steps for a phase of pruning.
        """
        first, last = self._phases()
        return AdaLoraConfig(
            task_type=TaskType.CAUSAL_LM,
            base_model_name_or_path=published_name(context.engine.info.name),
            init_r=self.init_rank,
            target_r=self.target_rank,
            tinit=first,
            tfinal=last,
            deltaT=1,
            total_step=self.steps,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            orth_reg_weight=self.orthogonality,
            **peft_targets(context, self.layers(context)),
        )

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write the triplets in PEFT's format, pruned ones as zeros, and the ranks left beside."""
        adapter = context.engine.adapters.adapter(context.adapter_name)
        save_adapter(adapter, self.config(context), folder)
        write_text(context.folder / RANKS_FILE, json.dumps(_ranks(adapter), indent=2) + "\n")

    def num_trainable(self, context: FitContext) -> int:
        """Return the sum of r (in + out + 1) over the targeted layers, r the rank at the start."""
        layers = self.layers(context).values()
        return sum(self.init_rank * (sum(sizes_of(layer)) + 1) for layer in layers)


class _Pruning:
    """PEFT's allocator over parameters named as it expects them.

    Args:
        parameters: "<layer>.lora_A", "<layer>.lora_B" and "<layer>.lora_E".
        config: PEFT's config, with the schedule.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], config: AdaLoraConfig) -> None:
        self._parameters, self._config = parameters, config
        self._allocator = RankAllocator(self, config, _ALLOCATOR_NAME)
        self._pattern: dict[str, list[bool]] = {}

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Yield parameters by the names that PEFT's allocator looks for."""
        for name, parameter in self._parameters.items():
            yield f"{name}.{_ALLOCATOR_NAME}", parameter

    def after_step(self, step: int) -> None:
        """Take the importance of each triplet and prune what the budget leaves no room for."""
        end = self._config.total_step - self._config.tfinal
        if step > end:
            self._allocator.mask_using_rank_pattern(self, self._pattern)
            return
        if step == end:  # PEFT takes no importance at the last pruning itself
            self._allocator.update_ipt(self)
        _, pattern = self._allocator.update_and_allocate(self, step, force_mask=step == end)
        self._pattern = pattern or self._pattern

    def state(self) -> dict[str, torch.Tensor]:
        """Return importances and what is pruned."""
        kinds = {"importance": self._allocator.exp_avg_ipt, "doubt": self._allocator.exp_avg_unc}
        found = {f"{kind}/{name}": t for kind, table in kinds.items() for name, t in table.items()}
        return found | {f"kept/{name}": torch.tensor(kept) for name, kept in self._pattern.items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from stored importances."""
        device = next(iter(self._parameters.values())).device
        for key, stored in state.items():
            kind, name = key.split("/", 1)
            if kind == "kept":
                self._pattern[name] = stored.tolist()
                continue
            tensor = stored.to(device)
            if kind == "importance":
                self._allocator.exp_avg_ipt[name] = tensor
                self._allocator.ipt[name] = torch.zeros_like(tensor)  # set anew at each step
            else:
                self._allocator.exp_avg_unc[name] = tensor


def _ranks(adapter: WeightAdapter) -> dict[str, int]:
    """Return how many triplets of each layer are not pruned."""
    return {
        layer: int(change.lora_E.count_nonzero())
        for layer, change in adapter.changes.items()
        if isinstance(change, SingularChange)
    }
