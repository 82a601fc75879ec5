"""Similarities of soft prompts against brute force, and groups against what chance shows."""

from itertools import permutations

import numpy as np
import pytest

from workbench.readings.vectors.similarity import grouping, num_arrangements, similarities

RANDOM = np.random.default_rng(3)


def cosine(a, b):
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("origin", [None, RANDOM.normal(size=8)])
def test_a_prompt_is_wholly_like_itself(origin):
    vectors = RANDOM.normal(size=(5, 8)).astype(np.float32)

    found = similarities(vectors, vectors, origin=origin)

    assert (found.mean, found.matched, found.slots) == pytest.approx((1, 1, 1), abs=1e-6)


def test_similarities_equal_brute_force():
    first, second, origin = (RANDOM.normal(size=shape) for shape in ((4, 6), (4, 6), (6,)))
    a, b = first - origin, second - origin

    found = similarities(first, second, origin=origin)

    pairs = [[cosine(a[i], b[j]) for j in range(4)] for i in range(4)]
    assert found.mean == pytest.approx(cosine(a.mean(axis=0), b.mean(axis=0)))
    assert found.slots == pytest.approx(np.mean([pairs[i][i] for i in range(4)]))
    assert found.matched == pytest.approx(
        max(np.mean([pairs[i][p[i]] for i in range(4)]) for p in permutations(range(4)))
    )


def test_the_order_of_vectors_is_free_where_they_are_matched():
    vectors = RANDOM.normal(size=(6, 9))

    found = similarities(vectors, vectors[::-1])

    assert found.matched == pytest.approx(1.0)
    assert found.slots < 0.9


def test_prompts_of_different_lengths_have_no_slots_in_common():
    vectors = RANDOM.normal(size=(6, 9))

    found = similarities(vectors, vectors[[4, 1]])

    assert found.slots is None
    assert found.matched == pytest.approx(1.0)


def test_vectors_without_direction_are_left_out():
    learned = np.zeros((3, 4))
    moved = learned.copy()
    moved[1, 2] = 2.0

    assert similarities(moved, moved).slots == pytest.approx(1.0)
    assert similarities(learned, moved).matched is None
    assert similarities(learned, learned).mean is None


def test_prompts_of_different_widths_are_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        similarities(np.ones((2, 3)), np.ones((2, 4)))


def test_a_prompt_without_vectors_is_refused():
    with pytest.raises(ValueError, match="without vectors"):
        similarities(np.ones((0, 3)), np.ones((2, 3)))


def blocks(within, between, *, size):
    matrix = np.full((2 * size, 2 * size), between)
    matrix[:size, :size] = matrix[size:, size:] = within
    return matrix, ["a"] * size + ["b"] * size


def test_tasks_that_show_are_beyond_chance():
    matrix, tasks = blocks(0.8, 0.2, size=4)

    found = grouping("similarity", matrix, tasks)

    assert (found.same, found.different) == pytest.approx((0.8, 0.2))
    assert found.standing.value == pytest.approx(0.6)
    assert found.standing.p_value == pytest.approx(1 / 35, abs=0.02)  # one of 35 arrangements
    assert found.standing.is_better


def test_tasks_do_not_show_in_noise():
    noise = np.random.default_rng(0).normal(size=(10, 10))

    found = grouping("similarity", noise + noise.T, ["a"] * 5 + ["b"] * 5)

    assert not found.standing.is_better


def test_pairs_of_one_task_may_be_less_alike():
    matrix, tasks = blocks(0.1, 0.2, size=2)

    found = grouping("similarity", matrix, tasks)

    assert found.standing is None
    assert (found.same, found.different) == pytest.approx((0.1, 0.2))


def test_few_prompts_are_not_tested():
    matrix, tasks = blocks(0.8, 0.2, size=3)

    found = grouping("similarity", matrix, tasks)

    assert found.standing is None


def test_one_task_alone_has_no_pairs_to_compare_with():
    found = grouping("similarity", np.ones((3, 3)), ["a", "a", ""])

    assert (found.same, found.different, found.standing) == (1.0, None, None)


@pytest.mark.parametrize("tasks", ["aabb", "aaabbb", "aab", "aabbcc", "aaaabb"])
def test_arrangements_are_counted_like_by_hand(tasks):
    def partition(names):
        return frozenset(
            frozenset(i for i, name in enumerate(names) if name == task) for task in set(names)
        )

    assert num_arrangements(list(tasks)) == len({partition(p) for p in permutations(tasks)})
