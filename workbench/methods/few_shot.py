"""Few-shot prompting: demonstrations from the training split before the question.

Source: Brown et al. 2020, https://arxiv.org/abs/2005.14165, section 2; calibration: Zhao et al.
2021, https://arxiv.org/abs/2102.09690. Which demonstrations and in which order matters as much as
how many, so compare several seeds.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workbench.methods.base import (
    CalibrationOptions,
    Family,
    FitContext,
    FittedMethod,
    demonstrations_per_label,
)
from workbench.options import option
from workbench.tasks.base import Task
from workbench.templates import Demonstration


@dataclass(frozen=True, kw_only=True)
class FewShot(CalibrationOptions):
    """Show k solved training examples before the question."""

    family: ClassVar[Family] = "words"
    summary: ClassVar[str] = "solved examples in the prompt"

    k: int = option(6, minimum=0, maximum=256, help="Number of demonstrations.")
    balanced: bool = option(True, help="Take the labels in turns instead of at random.")

    def fit(self, context: FitContext) -> FittedMethod:
        """Draw the demonstrations with the run's seed and return the prompt."""
        drawn = demonstrations_per_label(
            context.task, self.k, seed=context.seed, balanced=self.balanced
        )
        start = context.encoder.start([Demonstration(s.fields, s.target) for s in drawn])
        return self.calibrated(context, FittedMethod(context.encoder, start, start.prefix))

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Fit again: the seed gives the same demonstrations."""
        return self.fit(context)

    def labelled_examples(self, task: Task) -> int:
        """Return k."""
        return self.k
