"""Metrics: answers and targets in, an `Estimate` with its 95 % interval out; never a model.

An answer `None` (unparsable) counts as wrong and is counted in `num_unscored`, so refusing to
answer never raises a figure. Nothing to score gives `None`, never 0. Every function gives the
same result for any order of the items: a resample is drawn from counts or from sorted values.
Sequences of different length raise `ValueError`. All figures are fractions from 0 to 1; N items,
C labels; `seed` is that of the resampling.

Bootstrap intervals shrink to a point when the items show no variation (all correct, no discordant
pair): then read the Wilson interval of `accuracy`. Their source: Efron and Tibshirani 1993, An
Introduction to the Bootstrap, chapter 13; Davison and Hinkley 1997, Bootstrap Methods, chapter 5.
"""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.answer_forms import is_match
from workbench.estimates import NOTHING_SCORED, Estimate

CONFIDENCE_LEVEL = 0.95  # of every interval in this module
NUM_RESAMPLES = 1_000  # a 95 % end point then moves by about 0.1 standard errors with the seed
PROBABILITY_TOLERANCE = 1e-4  # a sum of float32 softmax entries passes 1 by less than this


def accuracy(answers: Sequence[str | None], targets: Sequence[str]) -> Estimate:
    """Return correct / all with the Wilson interval over all items.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953; recommended by Brown et
    al. 2001, https://doi.org/10.1214/ss/1009213286.
    """
    require_equal_lengths(len(answers), len(targets))
    num_correct = sum(a == t for a, t in zip(answers, targets, strict=True))
    return _proportion(num_correct, len(targets), num_unscored=list(answers).count(None))


def rate(flags: Sequence[bool]) -> Estimate:
    """Return the fraction of true flags with its Wilson interval."""
    return _proportion(sum(map(bool, flags)), len(flags), num_unscored=0)


def exact_match(
    answers: Sequence[str | None],
    targets: Sequence[str],
    *,
    references: Sequence[tuple[str, ...]] | None = None,
) -> Estimate:
    """Return `accuracy` with both sides normalised; an answer is right if it is any right one.

    Words after it count for nothing: its first clause may be the right one, see `is_match`.

    Args:
        answers: One per item.
        targets: The right answer of each.
        references: All right answers of each, where items have several.
    """
    require_equal_lengths(len(answers), len(targets))
    right = [(target,) for target in targets] if references is None else references
    num_correct = sum(is_match(a, known) for a, known in zip(answers, right, strict=True))
    return _proportion(num_correct, len(targets), num_unscored=list(answers).count(None))


def confusion_matrix(
    answers: Sequence[str | None], targets: Sequence[str], *, labels: Sequence[str]
) -> NDArray[np.int64]:
    """Return counts (C, C + 1): row = target, column = answer, last column = no answer.

    Raises:
        ValueError: a label is repeated, or an answer (other than `None`) or target is no label.
    """
    require_equal_lengths(len(answers), len(targets))
    columns: dict[str | None, int] = {label: column for column, label in enumerate(labels)}
    if len(columns) != len(labels):
        raise ValueError(f"labels must be distinct, got {list(labels)}")
    if unknown := ({*answers} - {None} | {*targets}) - set(columns):
        raise ValueError(f"answers or targets {sorted(map(str, unknown))} not in {list(labels)}")
    columns[None] = len(labels)
    matrix = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    for answer, target in zip(answers, targets, strict=True):
        matrix[columns[target], columns[answer]] += 1
    return matrix


def macro_f1(
    answers: Sequence[str | None], targets: Sequence[str], *, labels: Sequence[str], seed: int = 0
) -> Estimate:
    """Return the mean F1 over the labels present in the targets, with a bootstrap interval.

    Equals scikit-learn's `f1_score(average="macro", zero_division=0)` restricted to those labels,
    `None` being a miss for its target. A resample leaves out the labels it does not contain; with
    few items per label resamples fall below the value, and the percentile interval with them.

    Raises:
        ValueError: a label is repeated, or an answer (other than `None`) or target is no label.
    """
    matrix = confusion_matrix(answers, targets, labels=labels)
    num_items, num_unscored = len(targets), int(matrix[:, -1].sum())
    if num_items == 0:
        return NOTHING_SCORED
    rows, columns = np.nonzero(matrix)
    counts = matrix[rows, columns]  # (K,) non-empty cells: a resample of items is a multinomial
    value = float(_macro_f1_of_cells(counts[np.newaxis], rows, columns=columns)[0])
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(num_items, counts / num_items, size=NUM_RESAMPLES)
    figures = _macro_f1_of_cells(draws, rows, columns=columns)
    low, high = percentile_interval(figures, value, num_items=num_items)
    return Estimate(value, low, high, num_items - num_unscored, num_unscored)


def expected_calibration_error(
    confidences: ArrayLike, correct: ArrayLike, *, num_bins: int = 10, seed: int = 0
) -> Estimate:
    """Return the mean gap between confidence (N,) and accuracy (of `correct`, (N,)) over bins.

    Bins of equal mass, as `calibration_curve(strategy="quantile")` of scikit-learn makes them; it
    gives no bin sizes, so no weighted mean. Equal confidences share a bin. The figure is biased
    upwards, by 0.07 for a calibrated model with 200 items, 0.03 with 1000; resamples more so.
    Hence the basic bootstrap interval, cut to [0, 1] and widened to hold the value. In simulation
    (ten bins, 200 and 1000 items) it covered an error of 0.15 in 86 and 95 % of cases, of 0.3 in
    94 and 94 %, but of 0 in only 56 and 63 %: a low end above 0 is no proof of miscalibration.

    Raises:
        ValueError: `num_bins` < 1, or a confidence is outside [0, 1].

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 2; bins of equal mass from
    Nixon et al. 2019, https://arxiv.org/abs/1904.01685, but only the given answer is binned.
    """
    probabilities = _probabilities(confidences)
    hits = np.asarray(correct, dtype=bool).astype(np.float64)
    require_equal_lengths(len(probabilities), len(hits))
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    order = np.lexsort((hits, probabilities))
    statistic = functools.partial(_calibration_gap, num_bins=num_bins)
    return _bootstrap((probabilities[order], hits[order]), statistic, method="basic", seed=seed)


def legal_label_mass(masses: Sequence[float], *, seed: int = 0) -> Estimate:
    """Return the mean probability that the first token is one of a legal label.

    The interval is the percentile bootstrap. A mass outside [0, 1] raises `ValueError`.
    """
    sample = np.sort(_probabilities(masses))
    return _bootstrap((sample,), np.mean, method="percentile", seed=seed)


def mean_with_interval(values: Sequence[float]) -> Estimate:
    """Return the mean with Student's t interval (not cut to [0, 1]); one value has no interval."""
    sample = np.sort(np.asarray(values, dtype=np.float64))
    if not np.isfinite(sample).all():
        raise ValueError(f"values must be finite, got {list(values)}")
    if len(sample) == 0:
        return NOTHING_SCORED
    value = float(sample.mean())
    if len(sample) == 1:
        return Estimate(value, None, None, num_scored=1, num_unscored=0)
    margin = _margin(sample, len(sample))
    return Estimate(value, value - margin, value + margin, len(sample), num_unscored=0)


def ratio(totals: ArrayLike, counts: ArrayLike) -> Estimate:
    """Return sum of totals (N,) by sum of counts (N,), such as nats per token over N blocks.

    The interval is Student's t around the ratio estimator, linearised; the items are what varies.
    Differences of totals on the same items give the paired difference of two such figures.

    Raises:
        ValueError: a total is not finite, or a count is not above 0.

    Source: Cochran 1977, Sampling Techniques, third edition, section 6.4.
    """
    sums, sizes = (np.asarray(values, dtype=np.float64) for values in (totals, counts))
    require_equal_lengths(len(sums), len(sizes))
    if not np.isfinite(sums).all() or not (sizes > 0).all():
        raise ValueError("totals must be finite and counts above 0")
    num_items = len(sums)
    if num_items == 0:
        return NOTHING_SCORED
    order = np.lexsort((sums, sizes))
    sums, sizes = sums[order], sizes[order]
    value = float(sums.sum() / sizes.sum())
    if num_items == 1:
        return Estimate(value, None, None, num_scored=1, num_unscored=0)
    margin = _margin(sums - value * sizes, num_items, scale=sizes.mean())
    return Estimate(value, value - margin, value + margin, num_items, num_unscored=0)


def require_equal_lengths(first: int, second: int) -> None:
    """Raise `ValueError` unless both sequences have one entry per item."""
    if first != second:
        raise ValueError(f"one entry per item on both sides is needed, got {first} and {second}")


def _probabilities(values: ArrayLike) -> NDArray[np.float64]:
    """Return the values as an array (N,) cut to [0, 1]; raise if one is off by more than noise."""
    array = np.asarray(values, dtype=np.float64)
    inside = (array >= -PROBABILITY_TOLERANCE) & (array <= 1 + PROBABILITY_TOLERANCE)
    if not inside.all():  # NaN is not inside either
        raise ValueError(f"probabilities must be within [0, 1], got {array[~inside].tolist()}")
    return np.clip(array, 0.0, 1.0)


def _proportion(num_true: int, num_items: int, *, num_unscored: int) -> Estimate:
    """Return `num_true / num_items` with its Wilson interval."""
    if num_items == 0:
        return NOTHING_SCORED
    low, high = wilson_interval(num_true, num_items)
    return Estimate(num_true / num_items, low, high, num_items - num_unscored, num_unscored)


def wilson_interval(num_true: float, num_items: int) -> tuple[float, float]:
    """Return Wilson's interval of `num_true / num_items`, widened to hold it; see `accuracy`."""
    from statsmodels.stats.proportion import proportion_confint

    value = num_true / num_items
    low, high = proportion_confint(num_true, num_items, alpha=1 - CONFIDENCE_LEVEL, method="wilson")
    return min(float(low), value), max(float(high), value)  # rounding at 0 and 1


def _margin(sample: NDArray[np.float64], num_items: int, *, scale: float = 1.0) -> float:
    """Return half the width of Student's t interval of a mean, in units of `scale`."""
    from scipy import stats

    error = stats.sem(sample) / scale
    return float(stats.t.ppf((1 + CONFIDENCE_LEVEL) / 2, num_items - 1) * error)


def percentile_interval(
    figures: NDArray[np.float64], value: float, *, num_items: int
) -> tuple[float, float] | tuple[None, None]:
    """Return both ends of the central 95 % of resampled figures, widened to hold the value."""
    if num_items < 2:
        return None, None
    low, high = np.quantile(figures, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
    return min(float(low), value), max(float(high), value)


def _bootstrap(
    columns: tuple[NDArray[np.float64], ...],
    statistic: Callable[..., Any],
    *,
    method: Literal["basic", "percentile"],
    seed: int,
) -> Estimate:
    """Return a statistic within [0, 1] of N sorted items, resampling all columns together."""
    from scipy import stats

    num_items = len(columns[0])
    if num_items == 0:
        return NOTHING_SCORED
    value = float(statistic(*columns, axis=-1))
    if num_items == 1:
        return Estimate(value, None, None, num_scored=1, num_unscored=0)
    ends = stats.bootstrap(
        columns,
        statistic,
        paired=len(columns) > 1,
        vectorized=True,
        n_resamples=NUM_RESAMPLES,
        batch=100,  # resamples held at once: 100 * N floats a few times over
        confidence_level=CONFIDENCE_LEVEL,
        method=method,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    low, high = min(max(0.0, float(ends.low)), value), max(min(1.0, float(ends.high)), value)
    return Estimate(value, low, high, num_scored=num_items, num_unscored=0)


def _macro_f1_of_cells(
    counts: NDArray[np.int64], rows: NDArray[np.intp], *, columns: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return macro-F1 (R,) of R times K cell counts (R, K) in these rows and columns (K,)."""
    labels = np.unique(rows)
    is_target = (rows[:, np.newaxis] == labels).astype(np.float64)  # (K, C)
    is_answer = (columns[:, np.newaxis] == labels).astype(np.float64)
    support, answered = counts @ is_target, counts @ is_answer  # (R, C)
    hits = counts @ (is_target * is_answer)
    f1 = 2 * hits / np.maximum(support + answered, 1)  # a label not in the targets has no hits
    means: NDArray[np.float64] = f1.sum(axis=1) / np.count_nonzero(support, axis=1)
    return means


def _calibration_gap(
    confidences: NDArray[np.float64], hits: NDArray[np.float64], *, num_bins: int, axis: int
) -> NDArray[np.float64]:
    """Return the calibration error along one axis, of N items, of confidences and hits."""
    inner = np.linspace(0, 1, num_bins + 1)[1:-1]
    edges = np.quantile(confidences, inner, axis=axis, keepdims=True)  # (num_bins - 1, ..., 1)
    bins = sum((confidences > edge for edge in edges), start=np.zeros(confidences.shape, np.int64))
    excess = hits - confidences
    gaps = [np.abs((excess * (bins == index)).mean(axis=axis)) for index in range(num_bins)]
    return np.asarray(np.sum(gaps, axis=0))


def token_f1(found: Sequence[int], wanted: Sequence[int]) -> float:
    """Return the F1 of two bags of tokens: twice the overlap by the sum of the sizes.

    Source: the F1 of SQuAD, Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250, section 6.1.
    """
    if not found or not wanted:
        return float(not found and not wanted)
    overlap = sum((Counter(found) & Counter(wanted)).values())
    return 2 * overlap / (len(found) + len(wanted))
