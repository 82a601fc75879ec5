"""The one scorer of labels: answers, dev scores, calibration and readings all ask it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.encoding import PromptEncoder
from workbench.models.base import Conditioning
from workbench.models.engine import Engine


@dataclass(frozen=True, eq=False)
class LabelScores:
    """What N conditioned rows say about C labels.

    Attributes:
        probabilities: (N, C), renormalised over the labels and divided by the prior if there is
            one.
        masses: (N,) probability of all labels together before that.
    """

    probabilities: np.ndarray
    masses: np.ndarray

    @property
    def answers(self) -> np.ndarray:
        """(N,) index of the most probable label."""
        best: np.ndarray = self.probabilities.argmax(axis=1)
        return best


def label_scores(
    engine: Engine,
    encoder: PromptEncoder,
    rows: Sequence[Conditioning],
    *,
    log_prior: np.ndarray | None = None,
    cue: str | None = None,
) -> LabelScores:
    """Return the labels' probabilities as continuations of the rows.

    Args:
        engine: Runs them.
        encoder: Of the task, which has labels.
        rows: How the base is conditioned, one per item.
        log_prior: (C,) that of the fitted method, see `FittedMethod`.
        cue: The phrase that the rows end in where they reason; None: they end in a plain prompt.

    Raises:
        PromptError: two labels cannot be told apart, or a row exceeds the context.
    """
    scores = engine.score(rows, [encoder.choice_ids(cue)] * len(rows))
    given = [score.probabilities_given(log_prior) for score in scores]
    shape = (len(rows), len(encoder.task.labels))
    return LabelScores(np.reshape(given, shape), np.array([score.label_mass for score in scores]))
