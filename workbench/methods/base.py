"""What every method is: options, `fit`, and what it hands back.

A method is a frozen dataclass of its own options. `fit` returns a `FittedMethod`, which turns a
sample into conditioning for the engine; it never calls the model's `generate` itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from workbench.encoding import PromptEncoder, PromptStart
from workbench.errors import ConfigError
from workbench.models.base import Conditioning, Prefix
from workbench.models.engine import Engine
from workbench.options import option
from workbench.progress import Progress, ignore_progress
from workbench.tasks.base import Sample, Task
from workbench.templates import PromptTemplate

CONTENT_FREE = ("N/A", "[MASK]", "")
_CALIBRATION_TEXTS = 128  # the prior's error is then far below the differences it corrects

Family = Literal["words", "vectors", "weights"]


@dataclass(frozen=True)
class FitContext:
    """Everything a method may use to fit.

    Attributes:
        engine: Owner of the base.
        encoder: Tokens of the task's template.
        seed: The run's one seed.
        folder: Where checkpoints and the training history go.
        adapter_name: Name under which a weight adapter lives in the engine.
        progress: Told about each step.
        should_stop: Asked between steps; True saves a checkpoint and raises `Interrupted`.
    """

    engine: Engine
    encoder: PromptEncoder
    seed: int
    folder: Path
    adapter_name: str = "adapter"
    progress: Progress = ignore_progress
    should_stop: Callable[[], bool] = lambda: False

    @property
    def task(self) -> Task:
        """The task to fit."""
        return self.encoder.task

    @property
    def template(self) -> PromptTemplate:
        """Its wording."""
        return self.encoder.template


@dataclass(frozen=True)
class ReasoningPlan:
    """Generate reasoning before the answer.

    Attributes:
        max_new_tokens: Upper bound of the reasoning's length.
        stop: Reasoning ends before any of these strings.
        answer_phrase: Comes between reasoning and answer.
    """

    max_new_tokens: int
    stop: tuple[str, ...]
    answer_phrase: str


@dataclass(frozen=True)
class TrainedCost:
    """What training took, and what has to be stored to use the result; None is not known."""

    trained_parameters: int
    stored_bytes: int
    train_seconds: float | None = None
    peak_memory_bytes: int | None = None
    best_step: int | None = None
    learning_rate: float | None = None


@dataclass(frozen=True)
class FittedMethod:
    """How samples are conditioned after `fit`.

    Attributes:
        encoder: Tokens of the task's template.
        start: The prompt's shared tokens, which fix what a row's own tokens are.
        prefix: What actually stands there: those tokens, or learned vectors in their place.
        adapter: Weight adapter active for the rows, or None.
        log_prior: (C,) log-probabilities of the labels for content-free input, subtracted from
            the scores (contextual calibration), or None.
        reasoning: Generate reasoning first, or None.
        cost: What training took; None for methods that train nothing.
    """

    encoder: PromptEncoder
    start: PromptStart
    prefix: Prefix
    adapter: str | None = None
    log_prior: np.ndarray | None = None
    reasoning: ReasoningPlan | None = None
    cost: TrainedCost | None = None

    def condition(self, fields: Mapping[str, str]) -> Conditioning:
        """Return how the base is to be conditioned for a sample's fields."""
        return Conditioning(self.prefix, self.encoder.own_ids(fields, self.start), self.adapter)


class Method(Protocol):
    """A frozen dataclass of options that can be fitted to a task."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    family: ClassVar[Family]
    summary: ClassVar[str]

    def fit(self, context: FitContext) -> FittedMethod:
        """Return the fitted method; the base is not changed."""

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return what `fit` returned in an earlier session, from the adapter stored in `folder`."""

    def labelled_examples(self, task: Task) -> int:
        """Return how many labelled examples the method uses."""


@runtime_checkable
class SupportsSave(Protocol):
    """A method that trains, so that its result has to be stored."""

    def num_trainable(self, context: FitContext) -> int:
        """Return how many parameters `fit` would train."""

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write the adapter in PEFT's format."""


def demonstrations_per_label(task: Task, k: int, *, seed: int, balanced: bool) -> list[Sample]:
    """Return k training samples in random order; the same seed gives the same.

    Args:
        task: Drawn from `task.train` only.
        k: How many; at most the size of the training split.
        seed: Of a generator of its own.
        balanced: The labels take turns, so that counts differ by one at most.

    Raises:
        ConfigError: k is larger than the training split.
    """
    if k > len(task.train):
        raise ConfigError(
            f"k: {k} demonstrations wanted, the training split of '{task.name}' has "
            f"{len(task.train)}. Use a smaller k or more training data."
        )
    generator = np.random.default_rng(seed)
    order = [task.train[i] for i in generator.permutation(len(task.train))]
    if balanced and task.labels:
        queues = [[s for s in order if s.target == label] for label in task.labels]
        turns = [queue[i] for i in range(len(order)) for queue in queues if i < len(queue)]
        chosen = turns[:k]
    else:
        chosen = order[:k]
    return [chosen[i] for i in generator.permutation(len(chosen))]


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """How label scores are corrected for what the model prefers anyway; prompting methods inherit.

    Dividing by the label probabilities of content-free input: Zhao et al. 2021,
    https://arxiv.org/abs/2102.09690, section 5 (W = diag(p)^-1, b = 0). Taking real, unlabelled
    texts instead: Zhou et al. 2023, https://arxiv.org/abs/2309.17249, section 3.
    """

    calibrate: bool = option(
        False, help="Divide label probabilities by those of uninformative inputs."
    )
    calibration_inputs: str = option(
        "content_free",
        choices=("content_free", "training_texts"),
        help="Inputs to calibrate on: 'N/A', '[MASK]' and '', or training texts without labels.",
    )

    def calibrated(self, context: FitContext, fitted: FittedMethod) -> FittedMethod:
        """Return the fitted method with the labels' log-prior, if asked for and possible."""
        if not (self.calibrate and context.task.labels):
            return fitted
        if self.calibration_inputs == "training_texts":
            inputs = [sample.fields for sample in context.task.train[:_CALIBRATION_TEXTS]]
        else:
            names = context.task.field_names
            inputs = [dict.fromkeys(names, text) for text in CONTENT_FREE]
        rows = [fitted.condition(fields) for fields in inputs]
        scores = context.engine.score(rows, [context.encoder.choice_ids()] * len(rows))
        mean = np.mean([score.probabilities for score in scores], axis=0)
        return replace(fitted, log_prior=np.log(mean / mean.sum()))
