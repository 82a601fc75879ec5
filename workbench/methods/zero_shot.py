"""Zero-shot prompting: the instruction alone.

Source: Brown et al. 2020, https://arxiv.org/abs/2005.14165, section 2; calibration: Zhao et al.
2021, https://arxiv.org/abs/2102.09690.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workbench.fitting.base import CalibrationOptions, Family, FitContext, FittedMethod, Offer
from workbench.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class ZeroShot(CalibrationOptions):
    """Ask with the template's instruction, without examples."""

    family: ClassVar[Family] = "words"
    summary: ClassVar[str] = "the instruction alone"
    gloss: ClassVar[str] = (
        "The base gets your instruction and the text, nothing else: what the other ways have to "
        "beat."
    )
    offers: ClassVar[Sequence[Offer]] = (Offer(name="zero_shot", pace="one pass", is_first=True),)

    def fit(self, context: FitContext) -> FittedMethod:
        """Return the prompt; with `calibrate`, measure the labels' prior too."""
        start = context.encoder.start()
        return self.calibrated(context, FittedMethod(context.encoder, start, start.prefix))

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Fit again: it takes one scoring call at most."""
        return self.fit(context)

    def labelled_examples(self, task: Task) -> int:
        """Return 0."""
        return 0
