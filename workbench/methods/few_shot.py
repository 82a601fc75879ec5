"""Few-shot prompting: demonstrations from the training split before the question.

Source: Brown et al. 2020, https://arxiv.org/abs/2005.14165, section 2; calibration: Zhao et al.
2021, https://arxiv.org/abs/2102.09690; demonstrations near to the question: Liu et al. 2021,
https://arxiv.org/abs/2101.06804. Which demonstrations and in which order matters as much as how
many, so compare several seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workbench.encoding import PromptStart
from workbench.errors import ConfigError, require_all
from workbench.fitting.base import CalibrationOptions, Family, FitContext, FittedMethod, Offer
from workbench.fitting.demonstrations import (
    DRAWN,
    INPUTS,
    LABELS,
    NEAR,
    ORDERS,
    as_demonstrations,
    check_labels,
    check_number,
    drawn,
    label_by_label,
    near,
    neighbours_of,
    put_in_order,
)
from workbench.options import option
from workbench.shared_options import DEMONSTRATIONS
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate


@dataclass(frozen=True, kw_only=True)
class FewShot(CalibrationOptions):
    """Show k solved training examples before the question.

    Chosen or ordered by nearness, each question has demonstrations of its own, and a training text
    never sees itself among them. Calibration then asks with those nearest to the uninformative
    input.
    """

    family: ClassVar[Family] = "words"
    summary: ClassVar[str] = "solved examples in the prompt"
    gloss: ClassVar[str] = (
        "A few solved rows of your data stand in the prompt before the question, for the base to "
        "copy from."
    )
    offers: ClassVar[Sequence[Offer]] = (
        Offer(name="few_shot", pace="demonstrations", is_first=True, is_drawn=True),
        Offer(
            name="few_shot_calibrated",
            pace="demonstrations",
            options={"calibrate": True, "calibration_inputs": "training_texts"},
            is_drawn=True,
            gloss="Solved rows stand in the prompt, and what the base prefers anyway is taken out.",
        ),
        Offer(
            name="few_shot_nearest",
            pace="minutes",
            options={"selection": "nearest_balanced", "order": "nearest_last", "calibrate": True},
            gloss="The solved rows most like the question stand in the prompt, for each anew.",
        ),
    )

    k: int = DEMONSTRATIONS.option()
    selection: str = option(
        "balanced",
        choices=(*DRAWN, *NEAR),
        help="Solved rows drawn at random, with the labels in turns or not; or for each "
        "question the nearest, the nearest with the labels in turns, or the farthest.",
    )
    order: str = option(
        "random",
        choices=ORDERS,
        help="In which order the solved rows stand; nearest_last puts the nearest one directly "
        "before the question.",
    )
    demonstration_labels: str = option(
        "gold",
        choices=LABELS,
        help="What the solved rows answer: the truth, labels drawn at random, or the next label "
        "of the task (with two labels the wrong one).",
    )
    demonstration_inputs: str = option(
        "own",
        choices=INPUTS,
        help="What the solved rows are about: their own texts, or sentences that have nothing "
        "to do with the task.",
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Choose the demonstrations, or embed what they are chosen from; return the prompt.

        Raises:
            ConfigError: more demonstrations than training samples, an option that needs labels
                where there are none, or nearness without a sentence encoder.
        """
        self.check(context.task, context.template)
        if self.k and (self.selection in NEAR or self.order.startswith("nearest")):
            return self.calibrated(context, self._by_nearness(context))
        chosen = self._chosen(context)
        shown = {context.task.train[i].id for i in chosen}
        return self.calibrated(context, self._showing(context, chosen), shown=shown)

    def check(self, task: Task, template: PromptTemplate) -> None:
        """Refuse options that the task does not allow.

        Raises:
            ConfigError: more demonstrations than training samples, or an option that needs labels
                where there are none; all at once.
        """
        require_all(
            lambda: CalibrationOptions.check(self, task, template),
            lambda: check_number(task, self.k),
            lambda: check_labels(task, self.demonstration_labels),
            lambda: self._check_order(task),
        )

    def _check_order(self, task: Task) -> None:
        if self.order == "label_by_label" and not task.labels:
            raise ConfigError(
                f"few_shot.order: 'label_by_label' needs labels, and '{task.name}' has none. Use "
                "another order."
            )

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Fit again: the seed gives the same demonstrations."""
        return self.fit(context)

    def labelled_examples(self, task: Task) -> int:
        """Return k; the whole training split where it is searched for each question."""
        return len(task.train) if self.selection in NEAR and self.k else self.k

    def _chosen(self, context: FitContext) -> Sequence[int]:
        """Return the training samples that every question is shown, in their order."""
        task, balanced = context.task, self.selection == "balanced"
        chosen = drawn(task, self.k, seed=context.seed, balanced=balanced)
        return label_by_label(task, chosen) if self.order == "label_by_label" else chosen

    def _showing(self, context: FitContext, chosen: Sequence[int]) -> FittedMethod:
        """Return the prompt with the same demonstrations for every question."""
        task, seed = context.task, context.seed
        shown = as_demonstrations(
            task, labels=self.demonstration_labels, inputs=self.demonstration_inputs, seed=seed
        )
        start = context.encoder.start([shown[i] for i in chosen])
        return FittedMethod(context.encoder, start, start.prefix)

    def _by_nearness(self, context: FitContext) -> FittedMethod:
        """Return the prompt whose demonstrations depend on the question."""
        task, seed, encoder = context.task, context.seed, context.encoder
        shown = as_demonstrations(
            task, labels=self.demonstration_labels, inputs=self.demonstration_inputs, seed=seed
        )
        fixed: set[int] | None = None
        if self.selection in DRAWN:
            fixed = set(drawn(task, self.k, seed=seed, balanced=self.selection == "balanced"))
        neighbours = neighbours_of(task, context.find_encoder(), where="few_shot")

        def start_for(fields: Mapping[str, str]) -> PromptStart:
            ranked = neighbours.ranked(fields)
            if fixed is None:
                chosen = near(task, ranked, self.k, selection=self.selection)
            else:
                chosen = [i for i in ranked if i in fixed]
            order = put_in_order(task, chosen, self.order, fields=fields, seed=seed)
            return encoder.start([shown[i] for i in order])

        common = encoder.start()
        return FittedMethod(encoder, common, common.prefix, start_for=start_for)
