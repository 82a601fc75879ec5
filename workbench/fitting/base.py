"""What every method is: options, `fit`, and what it hands back.

A method is a frozen dataclass of its own options. `fit` returns a `FittedMethod`, which turns a
sample into conditioning for the engine; it never calls the model's `generate` itself.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from workbench.encoding import PromptEncoder, PromptStart
from workbench.errors import ConfigError
from workbench.fitting.label_scores import label_scores
from workbench.models.base import Conditioning, Prefix
from workbench.models.engine import Engine
from workbench.models.sentence_encoder import SentenceEncoder, find_sentence_encoder
from workbench.options import option
from workbench.progress import Progress, ignore_progress
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate
from workbench.training.ranks import Ranks

CONTENT_FREE = ("N/A", "[MASK]", "")
_CALIBRATION_TEXTS = 128  # the prior's error is then far below the differences it corrects

Family = Literal["words", "vectors", "weights"]
Pace = Literal["one pass", "demonstrations", "reasoning", "minutes"]
PACES: tuple[Pace, ...] = get_args(Pace)
"""From the fastest to the slowest; the last takes minutes for a test split on two cores."""


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
        find_encoder: Returns the sentence encoder that says which texts are near, or None.
        ranks: The processes that train; whatever else a method does, each does for itself.
    """

    engine: Engine
    encoder: PromptEncoder
    seed: int
    folder: Path
    adapter_name: str = "adapter"
    progress: Progress = ignore_progress
    should_stop: Callable[[], bool] = lambda: False
    find_encoder: Callable[[], SentenceEncoder | None] = find_sentence_encoder
    ranks: Ranks = field(default_factory=Ranks)

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
        samples: How many chains are written; their answers are voted on if there are several.
        temperature: 0 writes the most probable tokens.
        top_k: Only the k most probable tokens are drawn; 0 keeps all.
        seed: What the chains are drawn from, each by a generator of its own.
    """

    max_new_tokens: int
    stop: tuple[str, ...]
    answer_phrase: str
    samples: int = 1
    temperature: float = 0.0
    top_k: int = 0
    seed: int = 0


@dataclass(frozen=True)
class TrainedCost:
    """What fitting took, and what has to be stored to use the result; None is not known.

    A method that trains nothing but searches on dev (instructions, demonstrations) has one too,
    with no parameters and its `dev_evaluations`: what a table calls a fair comparison counts them.

    Attributes:
        trained_parameters: Numbers in all trained tensors.
        stored_bytes: Size of what has to be kept.
        train_seconds: Time of training, evaluations on dev included.
        peak_memory_bytes: Most memory held while training.
        best_step: The step that was kept.
        learning_rate: The learning rate at its peak.
        dev_evaluations: How often the dev split was scored to choose something.
        dev_items: How many of its items each time; None where nothing was.
        dev_accuracy: What the chosen step or candidate reaches on dev.
        dev_loss: Its loss there, in nats.
    """

    trained_parameters: int
    stored_bytes: int
    train_seconds: float | None = None
    peak_memory_bytes: int | None = None
    best_step: int | None = None
    learning_rate: float | None = None
    dev_evaluations: int = 0
    dev_items: int | None = None
    dev_accuracy: float | None = None
    dev_loss: float | None = None


@dataclass(frozen=True)
class FittedMethod:
    """How samples are conditioned after `fit`.

    Attributes:
        encoder: Tokens of the task's template.
        start: The prompt's shared tokens, which fix what a row's own tokens are.
        prefix: What the base is given there: those tokens, or learned vectors instead of them.
        adapter: Weight adapter active for the rows, or None.
        log_prior: (C,) log-probabilities of the labels for content-free input, subtracted from
            the scores (contextual calibration), or None.
        reasoning: Generate reasoning first, or None.
        cost: What training took; None for methods that train nothing.
        start_for: Returns the start of one sample's prompt where each has its own (demonstrations
            near to it); `start` is then what they have in common. None: all have `start`.
        voters: Fitted methods whose votes make the answer; what conditions a single row is then the
            first one's. Empty for methods that answer alone.
        cautions: What to be careful about in its answers, as sentences to follow its name.
    """

    encoder: PromptEncoder
    start: PromptStart
    prefix: Prefix
    adapter: str | None = None
    log_prior: np.ndarray | None = None
    reasoning: ReasoningPlan | None = None
    cost: TrainedCost | None = None
    start_for: Callable[[Mapping[str, str]], PromptStart] | None = None
    voters: "tuple[FittedMethod, ...]" = ()
    cautions: Sequence[str] = ()

    def start_of(self, fields: Mapping[str, str]) -> PromptStart:
        """Return the start of a sample's prompt."""
        return self.start if self.start_for is None else self.start_for(fields)

    def condition(self, fields: Mapping[str, str]) -> Conditioning:
        """Return how the base is to be conditioned for a sample's fields.

        What only one sample's prompt starts with belongs to the row's own tokens: keys and values
        are kept for what rows share, not for prefixes that are used once.
        """
        start = self.start_of(fields)
        own = self.encoder.own_ids(fields, start)
        if self.start_for is None:
            return Conditioning(self.prefix, own, self.adapter)
        ids = start.head_ids + start.shared_ids + own
        shared = self.start.head_ids + self.start.shared_ids
        if ids[: len(shared)] != shared:  # the last shared token merged with what follows it
            return Conditioning(Prefix(), ids, self.adapter)
        return Conditioning(self.prefix, ids[len(shared) :], self.adapter)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A way to answer that a page offers without any training.

    Attributes:
        name: Names the way, and its row in a comparison.
        pace: How fast it answers a whole test split; the list of ways begins with the fastest.
        options: Those in which it differs from the method's defaults.
        is_first: Whether it is chosen before anybody chooses.
        is_drawn: Whether another seed gives another row.
        gloss: What it does, if not what its method's own says; see `Method`.
    """

    name: str
    pace: Pace
    options: Mapping[str, Any] = field(default_factory=dict)
    is_first: bool = False
    is_drawn: bool = False
    gloss: str = ""


class Method(Protocol):
    """A frozen dataclass of options that can be fitted to a task.

    Attributes:
        family: What it changes.
        summary: What it is, in a few words for lists.
        gloss: What it does, in a sentence without terms, for somebody who is new.
        offers: Ways without training that pages offer; none for those whose result is a run.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    family: ClassVar[Family]
    summary: ClassVar[str]
    gloss: ClassVar[str]
    offers: ClassVar[Sequence[Offer]]

    def fit(self, context: FitContext) -> FittedMethod:
        """Return the fitted method; the base is not changed."""

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return what `fit` returned in an earlier session, from the adapter stored in `folder`."""

    def labelled_examples(self, task: Task) -> int:
        """Return how many rows it has looked at with their labels, to learn, show or choose."""


@runtime_checkable
class SupportsSave(Protocol):
    """A method that trains, so that its result has to be stored."""

    def num_trainable(self, context: FitContext) -> int:
        """Return how many parameters `fit` would train."""

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write the adapter in PEFT's format."""


@runtime_checkable
class SupportsCheck(Protocol):
    """A method that knows before a base is loaded what it cannot do with a task and a wording."""

    def check(self, task: Task, template: PromptTemplate) -> None:
        """Raise `WorkbenchError` with everything that is wrong, a line each."""


@runtime_checkable
class SupportsPrecisionCheck(Protocol):
    """A method that knows before a base is loaded which precisions it cannot start from."""

    def check_precision(self, precision: str) -> None:
        """Raise `WorkbenchError` with what is wrong."""


@runtime_checkable
class SupportsSearch(Protocol):
    """A method that chooses words on dev; `fit` writes the choice into the run's folder."""

    def dev_budget(self) -> int:
        """Return how often `fit` may score the dev split."""


def needs_run(method: type) -> bool:
    """Return whether a method's `fit` costs too much to be repeated wherever it answers."""
    return issubclass(method, SupportsSave) or issubclass(method, SupportsSearch)


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """How label scores are corrected for what the model prefers anyway; prompting methods inherit.

    Dividing by the label probabilities of content-free input: Zhao et al. 2021,
    https://arxiv.org/abs/2102.09690, section 5 (W = diag(p)^-1, b = 0). Taking real, unlabelled
    texts instead: Zhou et al. 2023, https://arxiv.org/abs/2309.17249, section 3. Dividing by the
    label probabilities after the domain premise alone (domain-conditional PMI): Holtzman et al.
    2021, https://arxiv.org/abs/2104.08315, section 3.
    """

    calibrate: bool = option(
        False, help="Correct the labels' probabilities for what the base prefers whatever it reads."
    )
    calibration_inputs: str = option(
        "content_free",
        choices=("content_free", "training_texts", "domain"),
        help="What shows what the base prefers: 'N/A', '[MASK]' and '', training texts without "
        "labels, or the wording of the input alone, without instruction, solved rows and "
        "text.",
    )

    def check(self, task: Task, template: PromptTemplate) -> None:
        """Refuse to calibrate on a task that asks for a text.

        Raises:
            ConfigError: says so.
        """
        if self.calibrate and task.kind == "generation":
            raise ConfigError(
                f"calibrate: task '{task.name}' asks for a text, and only label "
                "probabilities can be calibrated. Leave the option out."
            )

    def calibrated(
        self, context: FitContext, fitted: FittedMethod, *, shown: Collection[str] = ()
    ) -> FittedMethod:
        """Return the fitted method with the labels' log-prior, if asked for and possible.

        Args:
            context: The run's; its seed draws the training texts.
            fitted: Asked without a prior.
            shown: Ids of training samples that stand in the prompt with their answers. They are
                not asked about; where no others are left, content-free inputs are.

        Raises:
            ConfigError: asked for on a task that asks for a text.
        """
        self.check(context.task, context.template)
        if not (self.calibrate and context.task.labels):
            return fitted
        names = context.task.field_names
        rows: list[Conditioning] = []
        if self.calibration_inputs == "domain":
            rows = [domain_premise(fitted.encoder)]
        elif self.calibration_inputs == "training_texts":
            others = [sample.fields for sample in context.task.train if sample.id not in shown]
            order = np.random.default_rng(context.seed).permutation(len(others))
            rows = [fitted.condition(others[i]) for i in order[:_CALIBRATION_TEXTS]]
        if not rows:
            rows = [fitted.condition(dict.fromkeys(names, text)) for text in CONTENT_FREE]
        scores = label_scores(context.engine, context.encoder, rows)
        mean = np.mean(scores.probabilities, axis=0)
        return replace(fitted, log_prior=np.log(mean / mean.sum()))


def domain_premise(encoder: PromptEncoder) -> Conditioning:
    """Return the row that holds the wording of the input alone: what names the kind of answer.

    Instruction and demonstrations are left out and the fields are empty.
    """
    bare = encoder.template.model_copy(update={"instruction": ""})
    alone = replace(encoder, template=bare)
    start = alone.start()
    empty = dict.fromkeys(encoder.task.field_names, "")
    return Conditioning(start.prefix, alone.own_ids(empty, start))
