"""Chain-of-thought prompting: reasoning first, then the answer.

With `k` = 0 the template's trigger sentence asks for reasoning (Kojima et al. 2022,
https://arxiv.org/abs/2205.11916, section 3: two stages); otherwise `k` worked demonstrations show
it (Wei et al. 2022, https://arxiv.org/abs/2201.11903, section 2). Small models usually lose
accuracy by it (Wei et al., table 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workbench.fitting.base import Family, FitContext, FittedMethod, Offer
from workbench.fitting.reasoning import ReasoningOptions


@dataclass(frozen=True, kw_only=True)
class ChainOfThought(ReasoningOptions):
    """Let the model reason before it answers."""

    family: ClassVar[Family] = "words"
    summary: ClassVar[str] = "reasoning before the answer"
    gloss: ClassVar[str] = (
        "The base writes how it gets there before it answers: slower, and good where a task takes "
        "several steps."
    )
    offers: ClassVar[Sequence[Offer]] = (
        Offer(
            name="chain_of_thought", pace="reasoning", options={"max_new_tokens": 48}, is_first=True
        ),
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Return the prompt that asks for reasoning.

        Raises:
            ConfigError: the template has no chain_of_thought section, or fewer than k worked
                demonstrations.
        """
        fitted, _ = self.prompt(context, name="chain_of_thought")
        return fitted

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Fit again: nothing is learned."""
        return self.fit(context)
