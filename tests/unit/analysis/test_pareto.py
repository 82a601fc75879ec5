"""The Pareto front against its definition."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.analysis.pareto import pareto_front

# Few distinct values, so that ties and equal points are common.
FIGURES = st.one_of(st.integers(-3, 3).map(float), st.floats(allow_nan=False))
POINTS = st.lists(st.tuples(FIGURES, FIGURES), max_size=12)


def dominates(one, other, *, lower_is_better):
    (cost, quality), (other_cost, other_quality) = one, other
    if lower_is_better:
        quality, other_quality = -quality, -other_quality
    return (
        cost <= other_cost
        and quality >= other_quality
        and (cost < other_cost or quality > other_quality)
    )


@given(points=POINTS, lower_is_better=st.booleans())
def test_the_front_is_exactly_what_nothing_dominates(points, lower_is_better):
    front = pareto_front(points, lower_is_better=lower_is_better)

    undominated = {
        place
        for place, point in enumerate(points)
        if not any(dominates(other, point, lower_is_better=lower_is_better) for other in points)
    }
    assert len(front) == len(set(front))
    assert set(front) == undominated


@given(points=POINTS, lower_is_better=st.booleans())
def test_every_other_point_is_dominated_by_one_of_the_front(points, lower_is_better):
    front = pareto_front(points, lower_is_better=lower_is_better)

    for place, point in enumerate(points):
        if place not in front:
            assert any(
                dominates(points[best], point, lower_is_better=lower_is_better) for best in front
            )


@given(points=POINTS, lower_is_better=st.booleans())
def test_quality_rises_with_cost_along_the_front(points, lower_is_better):
    front = [points[place] for place in pareto_front(points, lower_is_better=lower_is_better)]

    assert [cost for cost, _ in front] == sorted(cost for cost, _ in front)
    qualities = [quality for _, quality in front]
    assert qualities == sorted(qualities, reverse=lower_is_better)


@given(points=POINTS)
def test_turning_quality_round_is_the_same_as_lower_is_better(points):
    turned = [(cost, -quality) for cost, quality in points]

    assert pareto_front(points) == pareto_front(turned, lower_is_better=True)


@given(points=POINTS, seed=st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(points, seed):
    order = seed.sample(range(len(points)), len(points))

    shuffled = pareto_front([points[place] for place in order])

    assert sorted(order[place] for place in shuffled) == sorted(pareto_front(points))


def test_by_hand():
    points = [(3, 0.9), (1, 0.5), (2, 0.4), (1, 0.6), (3, 0.9), (9, 0.9)]

    assert pareto_front(points) == [3, 0, 4]
    assert pareto_front(points, lower_is_better=True) == [1, 2]
    assert pareto_front([]) == []


def test_a_figure_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="points must be numbers"):
        pareto_front([(1.0, math.nan)])
