"""Differences between two methods on the same items, and p-values that several of them share.

Like every metric, a difference is the same for any order of the items. `seed` is that of the
resampling; sequences of different length raise `ValueError`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.metrics import NUM_RESAMPLES, percentile_interval, require_equal_lengths

_ROUNDING = 1e-12  # sums of the same scores in another order differ by less


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy, or mean score, of ours minus the reference's on the same items, with its interval.

    Attributes:
        value: From -1 to 1; `None` without items.
        low: Lower end; `None` with fewer than two items; so is `high`.
        p_value: Two-sided, not adjusted; `None` without items. Exact McNemar for answers that are
            right or wrong, a sign-flipping test for scores.
        wins: Items only ours has right, or where ours scores higher.
        losses: Items only the reference has right, or where it scores higher.
    """

    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    num_items: int
    wins: int
    losses: int


def paired_difference(
    ours: Sequence[bool], reference: Sequence[bool], *, seed: int = 0, num_resamples: int = 10_000
) -> PairedDifference:
    """Return the difference in accuracy on the same items, its interval and McNemar's exact p.

    Resampling items only changes how many are won, lost and tied, so a resample is one
    multinomial draw of these three counts: the paired bootstrap exactly, at no cost in N.

    Source: McNemar 1947, https://doi.org/10.1007/BF02295996 (here exact: two-sided binomial on the
    discordant pairs, 1 when there are none); Dror et al. 2018, https://aclanthology.org/P18-1128.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    require_equal_lengths(len(ours), len(reference))
    num_items = len(ours)
    if num_items == 0:
        return PairedDifference(None, None, None, None, num_items=0, wins=0, losses=0)
    pairs = [(bool(a), bool(b)) for a, b in zip(ours, reference, strict=True)]
    wins, losses = pairs.count((True, False)), pairs.count((False, True))
    value = (wins - losses) / num_items
    shares = np.array([wins, losses, num_items - wins - losses]) / num_items
    draws = np.random.default_rng(seed).multinomial(num_items, shares, size=num_resamples)
    figures = (draws[:, 0] - draws[:, 1]) / num_items
    low, high = percentile_interval(figures, value, num_items=num_items)
    p_value = float(mcnemar([[0, wins], [losses, 0]], exact=True).pvalue)  # ties have no part
    return PairedDifference(value, low, high, p_value, num_items, wins, losses)


def paired_score_difference(
    ours: Sequence[float], reference: Sequence[float], *, seed: int = 0, num_flips: int = 10_000
) -> PairedDifference:
    """Return the difference in mean score (from 0 to 1) on the same items.

    The interval is the percentile bootstrap over items; the p-value is the share of random flips
    of the differences' signs that give a mean at least as far from 0, the one seen included. (Not
    scipy's `permutation_test`, which takes a second for 1000 items and refuses one.)

    Source: approximate randomisation, Riezler and Maxwell 2005, https://aclanthology.org/W05-0908,
    section 4; Dror et al. 2018, https://aclanthology.org/P18-1128.
    """
    require_equal_lengths(len(ours), len(reference))
    gaps = np.sort(np.asarray(ours, dtype=np.float64) - np.asarray(reference, dtype=np.float64))
    num_items = len(gaps)
    if num_items == 0:
        return PairedDifference(None, None, None, None, num_items=0, wins=0, losses=0)
    value = float(gaps.mean())
    generator = np.random.default_rng(seed)
    drawn = generator.integers(num_items, size=(NUM_RESAMPLES, num_items))
    low, high = percentile_interval(gaps[drawn].mean(axis=1), value, num_items=num_items)
    num_as_far = 1
    for _ in range(num_flips // NUM_RESAMPLES):  # a part at a time: 1000 * N floats
        flips = generator.integers(2, size=(NUM_RESAMPLES, num_items), dtype=np.int8)
        means = (2.0 * flips - 1.0) @ gaps / num_items
        num_as_far += int((np.abs(means) >= abs(value) - _ROUNDING).sum())
    p_value = num_as_far / (1 + NUM_RESAMPLES * (num_flips // NUM_RESAMPLES))
    wins, losses = int((gaps > 0).sum()), int((gaps < 0).sum())
    return PairedDifference(value, low, high, p_value, num_items, wins, losses)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the Holm-adjusted p-values in the given order; `None` stays and is no hypothesis.

    Raises:
        ValueError: a p-value is outside [0, 1].

    Source: Holm 1979, https://www.jstor.org/stable/4615733. Not statsmodels' `multipletests`, which
    collects garbage on the way: 0.1 s in a process that holds a model.
    """
    known = np.array([p for p in p_values if p is not None], dtype=np.float64)
    if not ((known >= 0) & (known <= 1)).all():
        raise ValueError(f"p-values must be within [0, 1], got {known.tolist()}")
    order = np.argsort(known)
    steps = np.minimum(known[order] * np.arange(len(known), 0, -1), 1.0)
    ranked = np.empty_like(known)
    ranked[order] = np.maximum.accumulate(steps)
    adjusted = iter(ranked.tolist())
    return [None if p is None else next(adjusted) for p in p_values]
