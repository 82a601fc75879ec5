"""A figure with its interval, as records keep it and tables show it; nothing is computed here.

It stands apart from `workbench.metrics`, so that reading runs loads no statistics library.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: The figure; `None` when there was nothing to score.
        low: Lower end; `None` with too few items for an interval; so is `high`.
        num_scored: Items with an answer (or values) behind the figure.
        num_unscored: Items without an answer; they count as wrong in `value`.
    """

    value: float | None
    low: float | None
    high: float | None
    num_scored: int
    num_unscored: int


NOTHING_SCORED = Estimate(None, None, None, num_scored=0, num_unscored=0)
