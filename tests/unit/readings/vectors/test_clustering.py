"""Clusters: groups that are there, noise that has none, and figures against their definitions."""

from itertools import combinations

import numpy as np
import pytest

from workbench.readings.vectors.clustering import agreement, by_density, k_means, stability
from workbench.readings.vectors.projection import directions


def groups(num_groups, each, *, width=16, spread=0.05, seed=0):
    """Return directions (num_groups * each, width) in tight groups, and the group of each."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(num_groups, width))
    labels = np.repeat(np.arange(num_groups), each)
    rows = centres[labels] + spread * generator.normal(size=(len(labels), width))
    return directions(rows, np.zeros(width)), labels


def silhouette_by_definition(rows, labels):
    """Return Rousseeuw's figure with plain loops."""
    scores = []
    for i in range(len(rows)):
        mean = {}
        for label in set(labels.tolist()):
            others = [j for j in range(len(rows)) if labels[j] == label and j != i]
            if others:
                mean[label] = np.mean([np.linalg.norm(rows[i] - rows[j]) for j in others])
        own = mean.pop(labels[i], None)
        nearest = min(mean.values())
        scores.append(0.0 if own is None else (nearest - own) / max(nearest, own))
    return float(np.mean(scores))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_groups_that_are_there_are_found_by_both_methods(count):
    rows, labels = groups(count, 6)

    found, dense = k_means(rows, seed=0), by_density(rows)

    assert found.num_clusters == dense.num_clusters == count
    assert agreement(found.labels, labels) == 1.0
    assert agreement(dense.labels, labels) == 1.0
    assert stability(rows, count, seed=0) == 1.0


def test_the_silhouette_is_the_one_of_its_definition_and_the_largest():
    rows, _ = groups(3, 4, spread=0.4)

    found = k_means(rows, seed=0)

    assert found.silhouette == pytest.approx(silhouette_by_definition(rows, found.labels))
    assert found.silhouette == max(found.by_count.values())
    assert sorted(found.by_count) == [2, 3, 4, 5, 6, 7, 8]


def test_noise_has_a_small_silhouette_and_no_stable_clusters():
    rows, _ = groups(60, 1, width=64)

    found = k_means(rows, seed=0)

    assert found.silhouette < 0.1
    assert stability(rows, found.num_clusters, seed=0) < 0.5


def test_agreement_is_one_for_the_same_clusters_and_counts_pairs_otherwise():
    one, other = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 2, 2, 2])

    found = agreement(one, other)

    def together(labels):
        return {pair for pair in combinations(range(6), 2) if labels[pair[0]] == labels[pair[1]]}

    both, first, second = together(one) & together(other), together(one), together(other)
    expected = len(first) * len(second) / 15
    assert found == pytest.approx(
        (len(both) - expected) / ((len(first) + len(second)) / 2 - expected)
    )
    assert agreement(one, one) == agreement(one, 2 - one) == 1.0


def test_the_same_seed_gives_the_same_clusters():
    rows, _ = groups(20, 1)

    assert np.array_equal(k_means(rows, seed=4).labels, k_means(rows, seed=4).labels)


@pytest.mark.parametrize(
    ("rows", "most"),
    [
        (np.eye(4), 3),
        (np.eye(3), 2),
        (np.repeat(np.eye(2), 5, axis=0), 2),
        (np.eye(2), None),
        (np.ones((6, 3)), None),
    ],
)
def test_few_or_equal_rows_are_no_error(rows, most):
    found = k_means(rows, seed=0)

    assert (found is None) if most is None else (max(found.by_count) == most)
    assert by_density(rows).labels.shape == (len(rows),)
