"""Demonstration search: sets of demonstrations in random order, the best on dev is kept.

Source: the selection by accuracy on held-out data that Perez et al. 2021 examine,
https://arxiv.org/abs/2105.11447, section 3; they find it little better than a random choice where
little is held out. The first set is the one few-shot prompting draws with the same seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from workbench.errors import require_all
from workbench.fitting.base import Family, FitContext, FittedMethod, Offer
from workbench.fitting.demonstrations import DRAWN, check_number, drawn
from workbench.fitting.searching import (
    CHOICE,
    Candidate,
    SearchOptions,
    best_on_dev,
    lost_choice,
    stored_choice,
)
from workbench.options import option
from workbench.tasks.base import Sample, Task
from workbench.templates import Demonstration, PromptTemplate


@dataclass(frozen=True, kw_only=True)
class DemonstrationSearch(SearchOptions):
    """Show the k solved training examples, out of `budget` draws, that do best on dev."""

    family: ClassVar[Family] = "words"
    summary: ClassVar[str] = "solved examples chosen on dev"
    gloss: ClassVar[str] = (
        "Several sets of solved rows are tried in the prompt, and the set that does best on rows "
        "kept for choosing stays."
    )
    offers: ClassVar[Sequence[Offer]] = ()  # what was found is offered as a run

    k: int = option(
        6, minimum=1, maximum=256, public=(16, 32), help="How many solved rows stand in the prompt."
    )
    selection: str = option(
        "balanced",
        choices=DRAWN,
        help="Draw the solved rows with the labels in turns, or purely at random.",
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Draw `budget` sets, score each on dev, and return the best one's prompt.

        Raises:
            ConfigError: k is larger than the training split.
            Interrupted: asked to stop.
        """
        task, balanced = context.task, self.selection == "balanced"
        more = np.random.SeedSequence(context.seed).generate_state(self.budget - 1)
        seeds = [context.seed, *(int(seed) for seed in more)]
        candidates: dict[tuple[int, ...], Candidate] = {}
        for number, seed in enumerate(seeds):
            places = tuple(drawn(task, self.k, seed=seed, balanced=balanced))
            samples = [task.train[i] for i in places]
            if places not in candidates:
                fitted = self._prompt(context, samples)
                candidates[places] = Candidate(
                    content=[sample.id for sample in samples],
                    source=f"draw {number}",
                    text=_text(fitted),
                    fitted=fitted,
                )
        return best_on_dev(context, list(candidates.values()))

    def check(self, task: Task, template: PromptTemplate) -> None:
        """Refuse more demonstrations than training samples.

        Raises:
            ConfigError: says so, or see `SearchOptions`.
        """
        require_all(
            lambda: SearchOptions.check(self, task, template),
            lambda: check_number(task, self.k),
        )

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return the prompt with the demonstrations that the run in `context.folder` chose.

        Raises:
            StoreError: the choice is missing, or names samples the training split does not have.
        """
        known = {sample.id: sample for sample in context.task.train}
        chosen = stored_choice(context.folder)
        missing = [name for name in chosen if name not in known]
        if missing:
            raise lost_choice(context.folder / CHOICE, f"no training sample '{missing[0]}'")
        return self._prompt(context, [known[name] for name in chosen])

    def labelled_examples(self, task: Task) -> int:
        """Return what the draws show at most, and the dev split, whose labels made the choice."""
        return min(self.budget * self.k, len(task.train)) + len(task.dev)

    def _prompt(self, context: FitContext, samples: Sequence[Sample]) -> FittedMethod:
        start = context.encoder.start([Demonstration(s.fields, s.target) for s in samples])
        fitted = FittedMethod(context.encoder, start, start.prefix)
        return self.calibrated(context, fitted, shown={sample.id for sample in samples})


def _text(fitted: FittedMethod) -> str:
    """Return what all questions start with, as text."""
    empty = dict.fromkeys(fitted.encoder.task.field_names, "")
    return fitted.encoder.render(empty, fitted.start.demonstrations).start.strip()
