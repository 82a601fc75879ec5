"""Planned items against exact and independent computations of power."""

import numpy as np
import pytest
from scipy.stats import binom
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import power_proportions_2indep

from workbench.power import paired_items, scored_items, smallest_difference, unpaired_items

PLANS = [(0.03, 0.18), (0.05, 0.10), (0.05, 0.40), (0.10, 0.25), (0.20, 0.30), (-0.10, 0.25)]


def exact_power(num_items, difference, discordance, level=0.05):
    """Return how often McNemar's exact test finds a difference, summed over all outcomes."""
    discordant = np.arange(num_items + 1)
    weights = binom.pmf(discordant, num_items, discordance)
    share = (discordance + difference) / (2 * discordance)  # of the discordant items that are won
    power = 0.0
    for m in discordant[weights > 1e-12]:
        wins = np.arange(m + 1)
        p_values = np.minimum(1.0, 2 * binom.cdf(np.minimum(wins, m - wins), m, 0.5))
        power += weights[m] * binom.pmf(wins, m, share)[p_values < level].sum()
    return power


@pytest.mark.parametrize(("difference", "discordance"), PLANS)
def test_the_exact_test_has_the_power_it_was_planned_for(difference, discordance):
    planned = paired_items(difference, discordance)

    # The exact test of fewer than a hundred items goes in steps that are wider than that.
    tolerance = 0.02 if planned > 100 else 0.05
    assert exact_power(planned, difference, discordance) == pytest.approx(0.8, abs=tolerance)
    assert exact_power(int(0.8 * planned), difference, discordance) < 0.74


def test_other_powers_and_levels_are_planned_as_well():
    planned = paired_items(0.08, 0.2, power=0.95, level=0.01)

    assert exact_power(planned, 0.08, 0.2, level=0.01) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("discordance", [0.02, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("num_items", [200, 1_000, 30_000])
def test_the_smallest_difference_needs_just_so_many_items(num_items, discordance):
    smallest = smallest_difference(num_items, discordance)

    if smallest is None:
        assert paired_items(discordance, discordance) > num_items
    else:
        assert paired_items(smallest, discordance) <= num_items
        assert paired_items(0.99 * smallest, discordance) > num_items


def test_few_items_tell_nothing_apart():
    assert smallest_difference(20, 0.05) is None
    assert smallest_difference(0, 0.5) is None
    assert smallest_difference(100, 0.0) is None


@pytest.mark.parametrize(("first", "second"), [(0.70, 0.73), (0.5, 0.6), (0.95, 0.90)])
def test_two_samples_have_the_power_that_statsmodels_gives_them(first, second):
    planned = unpaired_items(first, second)

    found = power_proportions_2indep(first - second, second, planned, ratio=1, alpha=0.05)
    assert found.power == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("difference", "spread"), [(0.02, 0.25), (0.05, 0.2), (-0.1, 0.4)])
def test_scores_have_the_power_that_statsmodels_gives_them(difference, spread):
    planned = scored_items(difference, spread)

    found = TTestPower().power(abs(difference) / spread, nobs=planned, alpha=0.05)
    assert found == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    "plan",
    [
        lambda: paired_items(0.0, 0.2),
        lambda: paired_items(0.3, 0.2),
        lambda: paired_items(0.1, 1.2),
        lambda: paired_items(0.1, 0.2, power=1.0),
        lambda: unpaired_items(0.5, 0.5),
        lambda: unpaired_items(0.5, 1.5),
        lambda: scored_items(0.0, 0.2),
    ],
)
def test_what_cannot_be_planned_is_refused(plan):
    with pytest.raises(ValueError, match=r"needed|between"):
        plan()
