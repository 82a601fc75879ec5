"""Every figure beside what chance would show, and the plain words for it.

A control is the same figure computed on something that learned nothing: random vectors of the same
norm, held-out real tokens, the start. A figure is better than chance only if it beats nearly all
controls (a Monte-Carlo rank test: Davison and Hinkley 1997, Bootstrap Methods, section 4.2).
"""

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

LEVEL = 0.05
NO_BETTER = "no better than chance"


class Standing(BaseModel):
    """A figure and its place among the same figures of a control.

    Attributes:
        what: Names the figure.
        value: The figure.
        control: Names the control.
        low: 5th percentile of the control; likewise `median` and `high` (95th).
        percentile: Share of controls below the figure, from 0 to 100; ties count half.
        p_value: Chance of a control at least as extreme, on the side that counts as better.
        num_controls: How many there are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    value: float
    control: str
    low: float
    median: float
    high: float
    percentile: float
    p_value: float
    num_controls: int

    @property
    def is_better(self) -> bool:
        """Whether the figure is beyond chance at the 5 % level."""
        return self.p_value <= LEVEL

    @property
    def band(self) -> tuple[float, float, float]:
        """Where the control's band begins and ends and where the figure lies, in % of a strip."""
        low, high = min(self.low, self.value), max(self.high, self.value)
        margin = 0.06 * (high - low) or 1.0
        width = high - low + 2 * margin
        begin, end, at = (
            100 * (figure - low + margin) / width for figure in (self.low, self.high, self.value)
        )
        return begin, end, at

    @property
    def words(self) -> str:
        """Say so in plain words, figures included."""
        judged = "better than chance" if self.is_better else NO_BETTER
        return (
            f"{self.what} {self.value:.3g}: {judged} (5 to 95 % of {self.control}: "
            f"{self.low:.3g} to {self.high:.3g}; p = {self.p_value:.3g})"
        )


def standing(
    what: str, value: float, control: str, controls: ArrayLike, *, low_is_better: bool = False
) -> Standing:
    """Return a figure's place among its controls.

    Args:
        what: Names the figure.
        value: The figure.
        control: Names the control.
        controls: The same figure of each control, at least one.
        low_is_better: Whether small figures, not large ones, say that something was learned.

    Raises:
        ValueError: there is no control, or a figure is not finite.
    """
    others = np.asarray(controls, dtype=np.float64).ravel()
    if not others.size or not np.isfinite([value, *others]).all():
        raise ValueError(f"{what}: a finite figure and at least one finite control are needed")
    extreme = others <= value if low_is_better else others >= value
    low, median, high = np.percentile(others, [5, 50, 95])
    below = (others < value).mean() + 0.5 * (others == value).mean()
    return Standing(
        what=what,
        value=float(value),
        control=control,
        low=float(low),
        median=float(median),
        high=float(high),
        percentile=float(100 * below),
        p_value=float((1 + extreme.sum()) / (1 + others.size)),
        num_controls=int(others.size),
    )


def percentiles(values: ArrayLike, controls: ArrayLike) -> np.ndarray:
    """Return the share (0 to 100) of controls below each value; ties count half."""
    found, others = np.asarray(values, dtype=np.float64), np.sort(np.ravel(controls))
    left, right = (np.searchsorted(others, found, side=side) for side in ("left", "right"))
    shares: np.ndarray = 50.0 * (left + right) / others.size
    return shares
