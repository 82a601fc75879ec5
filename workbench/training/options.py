"""What the training loop can be told, and the learning rate that follows for each step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.options import FREE, option
from workbench.shared_options import BATCH_SIZE, CHECKPOINTING_HELP, MICRO_BATCH_SIZE, STEPS
from workbench.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What the loop can be told; trained methods inherit these as their own options.

    Attributes:
        tiny_rate: Learning rate at which a model of a few thousand weights learns two labels in 60
            steps, with which the contract suite trains the method; None where it cannot learn that.
    """

    offers: ClassVar[Sequence[Any]] = ()  # what was learned is offered as a run
    tiny_rate: ClassVar[float | None]
    default_rate: ClassVar[float | None] = None  # where none is given; None: the base decides

    steps: int = STEPS.option()
    batch_size: int = BATCH_SIZE.option()
    learning_rate: float | None = option(
        None,
        minimum=1e-8,
        maximum=10.0,
        public=FREE,
        help="How large the steps of training are at most (AdamW); null: the method's own.",
    )
    schedule: str = option(
        "cosine",
        choices=("constant", "cosine", "linear"),
        help="How the steps shrink after the first ones: not at all, along a cosine, or in a "
        "straight line.",
    )
    warmup_steps: int = option(
        10, minimum=0, public=FREE, help="How many first steps grow from zero to the full size."
    )
    weight_decay: float = option(
        0.0,
        minimum=0.0,
        maximum=1.0,
        public=FREE,
        help="How strongly the learned numbers are pulled towards zero (AdamW).",
    )
    clip_norm: float = option(
        1.0,
        minimum=0.0,
        public=FREE,
        help="Gradients longer than this are shortened to it; 0: none is.",
    )
    eval_every: int = option(
        25,
        minimum=1,
        public=FREE,
        help="How many steps lie between two looks at dev, the rows kept for choosing.",
    )
    dev_items: int | None = option(
        None,
        minimum=1,
        public=FREE,
        help="How many rows of dev each look takes; null: as many as keep all looks within a "
        "fifth of the training.",
    )
    patience: int = option(
        0,
        minimum=0,
        public=FREE,
        help="Stop after this many looks without a better one; 0: never.",
    )
    micro_batch_size: int | None = MICRO_BATCH_SIZE.option(default=None)
    gradient_checkpointing: bool = option(False, help=CHECKPOINTING_HELP)

    def labelled_examples(self, task: Task) -> int:
        """Return the sizes of the splits that training learns from and that choose its step.

        What the evaluations leave out of dev is known once it has trained (`TrainedCost`).
        """
        return len(task.train) + len(task.dev)

    @property
    def num_trainings(self) -> int:
        """How often `fit` trains."""
        return 1


def learning_rate_at(options: TrainingOptions, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then the schedule's decay to 0."""
    peak = options.learning_rate or 0.0
    if step < options.warmup_steps:
        return peak * (step + 1) / options.warmup_steps
    if options.schedule == "constant":
        return peak
    # Warm-up may take all steps, which leaves none to decay over.
    left = (step - options.warmup_steps) / max(1, options.steps - options.warmup_steps)
    if options.schedule == "linear":
        return peak * (1.0 - left)
    return peak * 0.5 * (1.0 + math.cos(math.pi * left))
