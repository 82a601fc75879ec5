"""Chain-of-thought prompting: reasoning first, then the answer.

With `k` = 0 the template's trigger sentence asks for reasoning (Kojima et al. 2022,
https://arxiv.org/abs/2205.11916, section 3: two stages); otherwise `k` worked demonstrations show
it (Wei et al. 2022, https://arxiv.org/abs/2201.11903, section 2). Small models usually lose
accuracy by it (Wei et al., table 2).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workbench.errors import ConfigError
from workbench.methods.base import Family, FitContext, FittedMethod, ReasoningPlan
from workbench.options import option
from workbench.tasks.base import Task
from workbench.templates import Demonstration


@dataclass(frozen=True, kw_only=True)
class ChainOfThought:
    """Let the model reason before it answers."""

    family: ClassVar[Family] = "words"
    summary: ClassVar[str] = "reasoning before the answer"

    k: int = option(0, minimum=0, maximum=64, help="Worked demonstrations; 0: a trigger sentence.")
    max_new_tokens: int = option(
        96, minimum=1, maximum=4096, help="Upper bound of the reasoning's length in tokens."
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Return the prompt that asks for reasoning.

        Raises:
            ConfigError: the template has no chain_of_thought section, or fewer than k worked
                demonstrations.
        """
        section = context.template.chain_of_thought
        if section is None:
            raise ConfigError(
                f"chain_of_thought: template '{context.template.name}' has no chain_of_thought "
                "section. Add one, or leave the method out."
            )
        start = context.encoder.start(self._demonstrations(context), reasoning=True)
        plan = ReasoningPlan(
            self.max_new_tokens, (context.template.separator,), section.answer_phrase
        )
        return FittedMethod(context.encoder, start, start.prefix, reasoning=plan)

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Fit again: nothing is learned."""
        return self.fit(context)

    def labelled_examples(self, task: Task) -> int:
        """Return k: the worked demonstrations are labelled examples."""
        return self.k

    def _demonstrations(self, context: FitContext) -> list[Demonstration]:
        """Return k worked demonstrations: the template's first, then training rationales."""
        section = context.template.chain_of_thought
        written = section.demonstrations if section else []
        worked = [Demonstration(d.fields, d.answer, d.rationale) for d in written]
        worked += [
            Demonstration(sample.fields, sample.target, sample.rationale)
            for sample in context.task.train
            if sample.rationale
        ]
        if self.k > len(worked):
            raise ConfigError(
                f"chain_of_thought.k: {self.k} worked demonstrations wanted; template "
                f"'{context.template.name}' and the training split have {len(worked)}. "
                "Use a smaller k, or write more into the template."
            )
        return worked[: self.k]
