"""The rows of a comparison ranked by their headline metric, in the few columns that fit a phone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from workbench import metrics
from workbench.analysis.comparison import counterpart, difference_of
from workbench.analysis.headline import SIGNIFICANCE, RankedRow, ranking
from workbench.analysis.results import Comparison, ComparisonRow, RunDetail
from workbench.differences import holm, paired_difference, paired_score_difference
from workbench.estimates import NOTHING_SCORED, Estimate


@dataclass(frozen=True)
class LeaderboardRow:
    """A row name with its figures over all its seeds.

    Attributes:
        rank: Its place, from 1; equal figures share a rank; None if nothing was scored.
        name: Name of the row.
        num_seeds: How many runs it has.
        quality: Accuracy, or ROUGE-L of texts: mean over seeds. The interval is over items, for one
            seed and for several, so that rows can be compared: Wilson's for accuracies. How seeds
            differ is in `Comparison.seeds`.
        difference: This figure minus that of the reference, paired by item and seed; the interval
            is over items. Without a value for the reference itself.
        p_value_holm: p-value of the difference, adjusted over the rows of the leaderboard.
        is_best: First of the highest rank.
        is_reference: The row the others are compared with.
        is_baseline: Does not use the base at all.
        is_within_noise_of_best: The best row's lead over it is not significant; None if the two
            have no seed in common, or if nothing was scored. False for the best row itself.
        is_lower_bound: Its learning rate lies at the edge of those tried.
    """

    rank: int | None
    name: str
    num_seeds: int
    quality: Estimate
    difference: Estimate
    p_value_holm: float | None
    is_best: bool
    is_reference: bool
    is_baseline: bool
    is_within_noise_of_best: bool | None
    is_lower_bound: bool = False


@dataclass(frozen=True)
class _Difference:
    """Quality of one row name minus another's, with the p-value before adjustment."""

    estimate: Estimate
    p_value: float | None


def leaderboard(comparison: Comparison) -> list[LeaderboardRow]:
    """Return one row per row name, best first; rows of which nothing was scored come last.

    With one seed per row the figures are those of the table. A lead over or of the reference is
    judged by the adjusted p-value, any other one by its own, as in the headline.
    """
    ranked = ranking(comparison)
    names = [row.name for row in ranked]
    names += [row.row for row in comparison.rows if row.row not in names]
    runs_of = {name: [run for run in comparison.rows if run.row == name] for name in names}
    differences = {
        name: _difference(runs, comparison.reference, comparison)
        for name, runs in runs_of.items()
        if name != comparison.reference
    }
    adjusted = dict(zip(differences, holm([d.p_value for d in differences.values()]), strict=True))
    rank_of = {row.name: 1 + sum(o.quality > row.quality for o in ranked) for row in ranked}
    nothing = _Difference(NOTHING_SCORED, None)
    return [
        LeaderboardRow(
            rank=rank_of.get(name),
            name=name,
            num_seeds=len(runs),
            quality=_mean_quality(runs, comparison),
            difference=differences.get(name, nothing).estimate,
            p_value_holm=adjusted.get(name),
            is_best=bool(ranked) and name == ranked[0].name,
            is_reference=name == comparison.reference,
            is_baseline=runs[0].is_baseline,
            is_within_noise_of_best=(
                _is_within_noise(ranked[0], name, adjusted, comparison) if name in rank_of else None
            ),
            is_lower_bound=any(run.is_lower_bound for run in runs),
        )
        for name, runs in runs_of.items()
    ]


def _mean_quality(runs: Sequence[ComparisonRow], comparison: Comparison) -> Estimate:
    """Return the only figure, or the mean of several with the interval of one run of it.

    Averaging over seeds can only narrow the interval over items, so Wilson's is on the safe side
    for accuracies; scores of texts are averaged item by item first.
    """
    found = [(run, comparison.quality(run)) for run in runs]
    known = [estimate for _, estimate in found if estimate.value is not None]
    if len(known) < 2:
        return known[0] if known else NOTHING_SCORED
    num_unscored = round(float(np.mean([estimate.num_unscored for estimate in known])))
    num_items = comparison.task.num_test
    if comparison.writes_texts:
        details = [comparison.details[comparison.rows.index(run)] for run, _ in found]
        scores = [[answer.credit for answer in detail.answers] for detail in details]
        spread = metrics.mean_with_interval(np.mean(scores, axis=0).tolist())
        return replace(spread, num_scored=num_items - num_unscored, num_unscored=num_unscored)
    mean = float(np.mean([estimate.value for estimate in known]))
    low, high = interval_of_mean(mean, num_items)
    return Estimate(mean, low, high, num_items - num_unscored, num_unscored)


def interval_of_mean(mean: float, num_items: int) -> tuple[float, float]:
    """Return Wilson's interval for an accuracy that is a mean over seeds, as if it were one run."""
    low, high = metrics.wilson_interval(mean * num_items, num_items)
    return min(low, mean), max(high, mean)  # rounding of the product


def _difference(runs: Sequence[ComparisonRow], other: str, comparison: Comparison) -> _Difference:
    """Return the paired difference from another row, averaged over seeds item by item.

    The p-value is McNemar's exact one. Of several seeds it counts the items that one row has right
    in more seeds than the other; scores of texts are averaged over the seeds.
    """
    pairs = _paired_runs(runs, other, comparison)
    if not pairs:
        return _Difference(NOTHING_SCORED, None)
    if len(pairs) == 1:
        only = difference_of(*pairs[0], against=other)
        estimate = Estimate(only.value, only.low, only.high, only.num_items, num_unscored=0)
        return _Difference(estimate, only.p_value)
    gaps = np.array(
        [[a.credit - b.credit for a, b in zip(x.answers, y.answers, strict=True)] for x, y in pairs]
    ).mean(axis=0)  # (N,)
    if comparison.writes_texts:
        p_value = paired_score_difference(gaps.tolist(), [0.0] * len(gaps)).p_value
    else:
        p_value = paired_difference((gaps > 0).tolist(), (gaps < 0).tolist()).p_value
    return _Difference(metrics.mean_with_interval(gaps.tolist()), p_value)


def _paired_runs(
    runs: Sequence[ComparisonRow], other: str, comparison: Comparison
) -> list[tuple[RunDetail, RunDetail]]:
    places = {row.run_id: place for place, row in enumerate(comparison.rows)}
    found = [
        (run, counterpart(run, other, comparison.rows, incomplete=comparison.incomplete))
        for run in runs
    ]
    return [
        (comparison.details[places[run.run_id]], comparison.details[position])
        for run, position in found
        if position is not None
    ]


def _is_within_noise(
    best: RankedRow, name: str, adjusted: dict[str, float | None], comparison: Comparison
) -> bool | None:
    if name == best.name:
        return False
    lead = _difference(best.runs, name, comparison)
    p_value = lead.p_value
    if comparison.reference in (name, best.name):
        p_value = adjusted[best.name if name == comparison.reference else name]
    if lead.estimate.value is None or p_value is None:
        return None
    return not (lead.estimate.value > 0 and p_value < SIGNIFICANCE)
