"""Standing: a figure among its controls, and the words for it."""

import numpy as np
import pytest

from workbench.readings.vectors.chance import percentiles, standing
from workbench.readings.vectors.prompt import random_like, random_prompts


def test_a_figure_beyond_all_of_19_controls_is_just_beyond_chance():
    found = standing("closeness", 2.0, "random vectors", np.arange(19) / 19)

    assert found.p_value == pytest.approx(1 / 20)
    assert found.is_better
    assert found.percentile == 100.0
    assert "closeness 2: better than chance" in found.words


def test_one_control_beyond_it_of_19_is_no_better_than_chance():
    found = standing("closeness", 2.0, "random vectors", [*np.zeros(18), 3.0])

    assert found.p_value == pytest.approx(2 / 20)
    assert not found.is_better
    assert "no better than chance" in found.words


def test_fewer_controls_than_19_can_never_show_anything():
    assert not standing("x", 1e9, "few", np.zeros(18)).is_better


def test_losses_count_from_the_other_side():
    controls = np.linspace(1, 2, 19)

    assert standing("loss", 0.5, "random", controls, low_is_better=True).is_better
    assert not standing("loss", 2.5, "random", controls, low_is_better=True).is_better


def test_ties_count_as_extreme_and_half_below():
    found = standing("x", 1.0, "same", np.ones(19))

    assert found.p_value == 1.0
    assert found.percentile == 50.0


def test_random_figures_are_beyond_chance_one_time_in_twenty():
    generator = np.random.default_rng(0)
    drawn = generator.normal(size=(4000, 20))
    hits = [standing("x", row[0], "others", row[1:]).is_better for row in drawn]

    assert np.mean(hits) == pytest.approx(0.05, abs=0.012)


def test_percentiles_are_those_of_a_plain_count():
    controls = np.random.default_rng(1).integers(0, 5, 50)
    values = np.array([-1, 0, 2, 4, 9])
    expected = [100 * ((controls < v).mean() + 0.5 * (controls == v).mean()) for v in values]

    np.testing.assert_allclose(percentiles(values, controls), expected)


@pytest.mark.parametrize("controls", [[], [np.nan], [1.0, np.inf]])
def test_nothing_to_compare_with_is_refused(controls):
    with pytest.raises(ValueError, match="at least one finite control"):
        standing("x", 1.0, "none", controls)


@pytest.mark.parametrize("value", [-3.0, 0.5, 9.0])
def test_the_strip_shows_the_band_and_the_figure_in_order(value):
    found = standing("x", value, "controls", np.linspace(0, 1, 101))
    begin, end, at = found.band

    assert 0 < begin < end < 100
    assert 0 < at < 100
    ordered = sorted([(found.low, begin), (found.high, end), (value, at)])
    assert [place for _, place in ordered] == sorted([begin, end, at])


def test_controls_without_spread_still_have_a_strip():
    assert standing("x", 1.0, "same", np.ones(19)).band == (50.0, 50.0, 50.0)


def test_controls_are_a_prompts_own_and_the_first_ones_the_same_for_any_count():
    mine, theirs = (random_like(np.ones((3, 8)), seed=seed) for seed in (1, 2))

    few, many, others = (random_prompts(*asked) for asked in ((mine, 2), (mine, 5), (theirs, 5)))

    assert np.array_equal(few, many[:2])
    drawn = np.round([*many, *others, *random_prompts(mine, 5, seed=1)], 6)
    assert len(np.unique(drawn.reshape(15, -1), axis=0)) == 15
    np.testing.assert_allclose(np.linalg.norm(many, axis=2), np.sqrt(8), rtol=1e-5)
