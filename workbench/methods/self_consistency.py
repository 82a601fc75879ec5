"""Self-consistency: several chains of thought are drawn, and their answers are voted on.

Source: Wang et al. 2022, https://arxiv.org/abs/2203.11171, section 2; temperature 0.7 and top-k 40
as there for PaLM (section 3.1). A chain without a readable answer abstains; ties go to the answer
that the chains together find most probable, then to the first in the task's order of labels or in
the alphabet. It costs `samples` times the tokens of one chain, which the run reports, and gains
little on small models (table 2 there).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from workbench.fitting.base import Family, FitContext, FittedMethod, Offer
from workbench.fitting.reasoning import ReasoningOptions
from workbench.options import FREE, option


@dataclass(frozen=True, kw_only=True)
class SelfConsistency(ReasoningOptions):
    """Let the model reason several times and take the most frequent answer."""

    family: ClassVar[Family] = "words"
    summary: ClassVar[str] = "a vote over several drawn chains of reasoning"
    gloss: ClassVar[str] = (
        "The base reasons several times, and the answer that most of them reach is taken."
    )
    offers: ClassVar[Sequence[Offer]] = (
        Offer(
            name="self_consistency",
            pace="minutes",
            options={"max_new_tokens": 48},
            is_drawn=True,
        ),
    )

    samples: int = option(
        5,
        minimum=1,
        maximum=100,
        public=(5, 10),
        help="How many times it reasons for each question.",
    )
    temperature: float = option(
        0.7,
        minimum=0.0,
        maximum=5.0,
        public=FREE,
        help="How freely the words are drawn; 0 writes the most probable ones.",
    )
    top_k: int = option(
        40,
        minimum=0,
        maximum=100_000,
        public=FREE,
        help="Draw from the k most probable tokens alone; 0: from all.",
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Return the prompt that asks for reasoning, and how it is drawn.

        Raises:
            ConfigError: the template has no chain_of_thought section, or fewer than k worked
                demonstrations.
        """
        fitted, plan = self.prompt(context, name="self_consistency")
        several = replace(
            plan,
            samples=self.samples,
            temperature=self.temperature,
            top_k=self.top_k,
            seed=context.seed,
        )
        return replace(fitted, reasoning=several)

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Fit again: nothing is learned."""
        return self.fit(context)
