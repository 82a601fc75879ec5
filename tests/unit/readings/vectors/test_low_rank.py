"""Low-rank changes against the dense matrices they stand for."""

import numpy as np
import pytest
from scipy import stats

from workbench.readings.vectors.low_rank import (
    decompose,
    effective_rank,
    random_similarity,
    random_values,
    subspace_similarity,
    weight_decomposition,
)

RANDOM = np.random.default_rng(5)


def drawn(shape, rank, generator):
    b = generator.normal(size=(shape[0], rank))
    return decompose(b, generator.normal(size=(rank, shape[1])))


B, A = RANDOM.normal(size=(12, 3)), RANDOM.normal(size=(3, 20))


def test_the_decomposition_is_that_of_the_dense_change():
    dense = 0.5 * B @ A

    found = decompose(B, A, 0.5)

    np.testing.assert_allclose(found.values, np.linalg.svd(dense)[1][:3])
    np.testing.assert_allclose(found.left * found.values @ found.right.T, dense)
    np.testing.assert_allclose(found.left.T @ found.left, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(found.right.T @ found.right, np.eye(3), atol=1e-12)
    assert found.norm == pytest.approx(np.linalg.norm(dense))


def test_a_rank_above_the_weights_is_cut_to_it():
    b, a = RANDOM.normal(size=(4, 9)), RANDOM.normal(size=(9, 6))

    found = decompose(b, a)

    np.testing.assert_allclose(found.left * found.values @ found.right.T, b @ a)
    assert len(found.values) == 4


def test_ranks_equal_their_definitions():
    found = decompose(B, A)
    shares = found.values / found.values.sum()

    assert found.effective_rank == pytest.approx(np.prod(shares**-shares))
    dense = B @ A
    assert found.stable_rank == pytest.approx(
        np.linalg.norm(dense) ** 2 / np.linalg.norm(dense, 2) ** 2
    )


@pytest.mark.parametrize(("values", "expected"), [([2, 2, 2], 3.0), ([5, 0, 0], 1.0)])
def test_ranks_count_equal_directions(values, expected):
    found = decompose(np.eye(6, 3) * values, np.eye(3, 7))

    assert found.effective_rank == pytest.approx(expected)
    assert found.stable_rank == pytest.approx(expected)


def test_no_change_has_rank_zero():
    found = decompose(np.zeros_like(B), A)

    assert (found.norm, found.effective_rank, found.stable_rank) == (0.0, 0.0, 0.0)


def test_twice_the_scaling_is_twice_the_change():
    assert decompose(B, A, 4.0).norm == pytest.approx(2 * decompose(B, A, 2.0).norm)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        decompose(B, A[:2])


def test_a_subspace_lies_wholly_in_itself_and_in_a_larger_one():
    left = decompose(B, A).left

    assert subspace_similarity(left, left) == pytest.approx(1.0)
    assert subspace_similarity(left[:, :1], left) == pytest.approx(1.0)
    assert subspace_similarity(left[:, :1], left[:, 1:]) == pytest.approx(0.0)


def test_subspaces_do_not_depend_on_their_basis():
    turned = np.linalg.qr(RANDOM.normal(size=(3, 3)))[0]
    first, second = decompose(B, A).left, drawn((12, 20), 3, RANDOM).left

    assert subspace_similarity(first @ turned, second) == pytest.approx(
        subspace_similarity(first, second)
    )


def test_random_subspaces_overlap_by_their_share_of_the_space():
    generator = np.random.default_rng(0)
    found = [
        subspace_similarity(
            drawn((40, 50), 8, generator).left,
            drawn((40, 50), 8, generator).left[:, :4],
        )
        for _ in range(200)
    ]

    assert np.mean(found) == pytest.approx(8 / 40, abs=0.01)
    assert min(found) >= 0
    assert max(found) <= 1


def test_random_subspaces_are_drawn_as_from_dense_matrices():
    generator = np.random.default_rng(1)
    dense = [
        subspace_similarity(
            drawn((20, 30), 3, generator).left, drawn((20, 30), 5, generator).left[:, :2]
        )
        for _ in range(400)
    ]

    found = random_similarity(3, 2, 20, generator, 400)

    assert stats.ks_2samp(dense, found).pvalue > 0.01


@pytest.mark.parametrize(("shape", "rank"), [((20, 30), 4), ((3, 30), 4), ((4, 4), 4)])
def test_random_spectra_are_drawn_as_from_dense_matrices(shape, rank):
    generator = np.random.default_rng(2)
    dense = [drawn(shape, rank, generator).values for _ in range(400)]

    found = random_values(shape, rank, generator, 400)

    assert found[0].shape == dense[0].shape
    for place in (0, -1):
        pair = [values[place] for values in dense], [values[place] for values in found]
        assert stats.ks_2samp(*pair).pvalue > 0.01
    pair = [effective_rank(v) for v in dense], [effective_rank(v) for v in found]
    assert stats.ks_2samp(*pair).pvalue > 0.01


def test_subspaces_of_different_spaces_are_refused():
    with pytest.raises(ValueError, match="12 and 20"):
        subspace_similarity(decompose(B, A).left, decompose(B, A).right)


WEIGHT = RANDOM.normal(size=(12, 20))


def test_the_parts_of_a_change_equal_those_of_the_dense_weight():
    changed = WEIGHT + 0.3 * B @ A

    found = weight_decomposition(WEIGHT, B, A, scaling=0.3)

    before, after = np.linalg.norm(WEIGHT, axis=1), np.linalg.norm(changed, axis=1)
    cosines = (WEIGHT * changed).sum(axis=1) / before / after
    assert found.magnitude == pytest.approx(np.mean(abs(after - before) / before))
    assert found.direction == pytest.approx(np.mean(1 - cosines))


def test_dora_changes_length_by_its_magnitudes_alone():
    lengths = np.linalg.norm(WEIGHT, axis=1)

    kept = weight_decomposition(WEIGHT, B, A, magnitudes=lengths)
    grown = weight_decomposition(WEIGHT, 0 * B, A, magnitudes=1.5 * lengths)

    assert kept.magnitude == pytest.approx(0.0)
    assert kept.direction > 0.1
    assert (grown.magnitude, grown.direction) == pytest.approx((0.5, 0.0), abs=1e-12)


def test_rows_of_zeros_are_left_out():
    weight = WEIGHT.copy()
    weight[3] = 0

    found = weight_decomposition(weight, B, A)
    rest = weight_decomposition(np.delete(weight, 3, 0), np.delete(B, 3, 0), A)

    assert found == rest


def test_parts_of_what_does_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit a weight"):
        weight_decomposition(WEIGHT.T, B, A)
    with pytest.raises(ValueError, match=r"magnitudes of shape \(3,\)"):
        weight_decomposition(WEIGHT, B, A, magnitudes=np.ones(3))
    with pytest.raises(ValueError, match="zeros"):
        weight_decomposition(0 * WEIGHT, B, A)
