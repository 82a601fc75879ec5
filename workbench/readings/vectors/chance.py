"""Every figure beside what chance would show, and the plain words for it.

A control is the same figure, computed in the same way on something that learned nothing: a whole
random prompt of the same norms, or as many real tokens. A figure is better than chance only if it
beats nearly all controls (a Monte-Carlo rank test: Davison and Hinkley 1997, Bootstrap Methods,
section 4.2). The rank is exact where the figure could as well be one of the controls, so each is
drawn anew: to resample a few of them makes none.
"""

import hashlib

import numpy as np
from numpy.typing import ArrayLike

from workbench.presentation.reading import Standing


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
        # The figure itself counts as one of the controls, so that no p-value is ever 0.
        p_value=float((1 + extreme.sum()) / (1 + others.size)),
        num_controls=int(others.size),
    )


def control_draws(content: np.ndarray, *, seed: int = 0) -> np.random.Generator:
    """Return what the controls of some content are drawn from: its own, and always the same.

    One set of controls for everything would be lucky or unlucky for everything at once.
    """
    plain = np.ascontiguousarray(content, dtype=np.float32)
    digest = hashlib.sha256(repr(plain.shape).encode() + plain.tobytes()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def percentiles(values: ArrayLike, controls: ArrayLike) -> np.ndarray:
    """Return the share (0 to 100) of controls below each value; ties count half."""
    found, others = np.asarray(values, dtype=np.float64), np.sort(np.ravel(controls))
    left, right = (np.searchsorted(others, found, side=side) for side in ("left", "right"))
    shares: np.ndarray = 50.0 * (left + right) / others.size
    return shares
