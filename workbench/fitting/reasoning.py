"""What methods that reason before they answer share: the prompt, and a vote over several chains."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.errors import ConfigError, require_all
from workbench.fitting.base import FitContext, FittedMethod, ReasoningPlan
from workbench.options import option
from workbench.tasks.base import Task
from workbench.templates import ChainOfThought, Demonstration, PromptTemplate

REASONING = "reasoning"
"""What a message names in the place of a method where the row is named before it."""


@dataclass(frozen=True, kw_only=True)
class ReasoningOptions:
    """How reasoning is asked for; methods that reason inherit these as their own options."""

    k: int = option(
        0,
        minimum=0,
        maximum=64,
        public=(16, 32),
        help="How many worked examples of reasoning stand in the prompt; 0: a sentence that "
        "asks for it.",
    )
    max_new_tokens: int = option(
        96,
        minimum=1,
        maximum=4096,
        public=(96, 96),
        help="The most tokens that the reasoning may take.",
    )

    def labelled_examples(self, task: Task) -> int:
        """Return k: the worked demonstrations are labelled examples."""
        return self.k

    def prompt(self, context: FitContext, *, name: str) -> tuple[FittedMethod, ReasoningPlan]:
        """Return the prompt that asks for reasoning, and the plan of one greedy chain.

        Args:
            context: The run's.
            name: Name of the method, which begins messages.

        Raises:
            ConfigError: the task asks for a text, or the template has no chain_of_thought section
                or fewer than k worked demonstrations.
        """
        require_short_answers(context.task, name)
        section = _section(context.template, name)
        shown = self._demonstrations(context.task, context.template, name)
        start = context.encoder.start(shown, reasoning=True)
        plan = ReasoningPlan(
            self.max_new_tokens, (context.template.separator,), section.answer_phrase
        )
        return FittedMethod(context.encoder, start, start.prefix, reasoning=plan), plan

    def check(self, task: Task, template: PromptTemplate) -> None:
        """Refuse a task that asks for a text, and a wording that cannot ask for reasoning.

        Raises:
            ConfigError: see `prompt`; all at once.
        """
        require_short_answers(task, REASONING)
        require_all(
            lambda: _section(template, REASONING),
            lambda: self._demonstrations(task, template, REASONING),
        )

    def _demonstrations(
        self, task: Task, template: PromptTemplate, name: str
    ) -> list[Demonstration]:
        """Return k worked demonstrations: the template's first, then training rationales."""
        section = template.chain_of_thought
        written = section.demonstrations if section else []
        worked = [Demonstration(d.fields, d.answer, d.rationale) for d in written]
        worked += [
            Demonstration(sample.fields, sample.target, sample.rationale)
            for sample in task.train
            if sample.rationale
        ]
        if self.k > len(worked):
            raise ConfigError(
                f"{name}.k: {self.k} worked demonstrations wanted; template "
                f"'{template.name}' and the training split have {len(worked)}. "
                "Use a smaller k, or write more into the template."
            )
        return worked[: self.k]


def _section(template: PromptTemplate, name: str) -> ChainOfThought:
    """Return how a wording asks for reasoning.

    Raises:
        ConfigError: it does not.
    """
    if template.chain_of_thought is None:
        raise ConfigError(
            f"{name}: template '{template.name}' has no chain_of_thought section. Add one, or "
            "leave the method out."
        )
    return template.chain_of_thought


def require_short_answers(task: Task, name: str) -> None:
    """Raise `ConfigError` for a method that reasons on a task that asks for a text."""
    if task.kind == "generation":
        raise ConfigError(
            f"{name}: task '{task.name}' asks for a text, which has no short answer to reason "
            "towards. Leave the method out."
        )


@dataclass(frozen=True)
class Vote:
    """What the most voices say.

    Attributes:
        answer: The winner; None if no voice says anything.
        share: Its voices among all, abstentions included.
    """

    answer: str | None
    share: float


def majority(
    answers: Sequence[str | None],
    *,
    order: Sequence[str] = (),
    weights: Sequence[Mapping[str, float]] = (),
) -> Vote:
    """Return the most frequent answer; the order of the voices changes nothing.

    Args:
        answers: One per voice; None abstains.
        order: Decides the last ties: the earlier answer wins. Answers that are not in it come
            after it, by alphabet.
        weights: What each voice thinks of each answer (probabilities); ties go to the answer with
            the higher sum.

    Source: Wang et al. 2022, https://arxiv.org/abs/2203.11171, section 2 (unweighted vote).
    """
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return Vote(None, 0.0)
    places = {answer: place for place, answer in enumerate(order)}

    def rank(answer: str) -> tuple[int, float, int, str]:
        support = math.fsum(weight.get(answer, 0.0) for weight in weights)
        return (-counts[answer], -support, places.get(answer, len(places)), answer)

    winner = min(counts, key=rank)
    return Vote(winner, counts[winner] / len(answers))
