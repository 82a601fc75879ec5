"""Nearest tokens: exact against brute force, in blocks as in one, special tokens left out."""

import numpy as np
import pytest

from workbench.readings.vectors import neighbours
from workbench.readings.vectors.neighbours import MEASURES, Vocabulary, near_any, nearest


@pytest.fixture
def vocabulary() -> Vocabulary:
    """Return 300 tokens in a cone, the last ten of them special."""
    generator = np.random.default_rng(0)
    embeddings = (generator.normal(size=(300, 12)) + 1.5).astype(np.float32)
    embeddings[5] *= 9
    return Vocabulary(embeddings, [str(i) for i in range(300)], np.arange(300) < 290)


@pytest.fixture
def vectors(vocabulary) -> np.ndarray:
    generator = np.random.default_rng(1)
    return (generator.normal(size=(7, 12)) + 1.0).astype(np.float32)


def brute(vocabulary: Vocabulary, vectors: np.ndarray, measure: str) -> np.ndarray:
    """Return (P, V) scores written out for each pair, the nearest largest."""
    table = vocabulary.embeddings.astype(np.float64)
    mean = table[:290].mean(axis=0)
    scores = np.full((len(vectors), len(table)), -np.inf)
    for i, vector in enumerate(vectors.astype(np.float64)):
        for j, row in enumerate(table[:290]):
            if measure == "distance":
                scores[i, j] = -np.linalg.norm(vector - row)
            else:
                a, b = (vector, row) if measure == "cosine" else (vector - mean, row - mean)
                scores[i, j] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return scores


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_finds_what_brute_force_finds(vocabulary, vectors, measure):
    scores = brute(vocabulary, vectors, measure)
    expected = np.argsort(-scores, axis=1)[:, :6]

    found = nearest(vocabulary, vectors, k=6)[measure]

    np.testing.assert_array_equal(found.ids, expected)
    values = np.take_along_axis(scores, expected, axis=1)
    np.testing.assert_allclose(found.values, np.abs(values) if measure == "distance" else values,
                               atol=1e-4)  # fmt: skip
    np.testing.assert_allclose(found.margins, values[:, 0] - values[:, 1], atol=1e-4)


@pytest.mark.parametrize("block", [1, 7, 64, 299])
def test_blocks_change_nothing(vocabulary, vectors, monkeypatch, block):
    whole = nearest(vocabulary, vectors, k=5)
    monkeypatch.setattr(neighbours, "_BLOCK", block)

    parts = nearest(vocabulary, vectors, k=5)

    for measure in MEASURES:
        np.testing.assert_array_equal(parts[measure].ids, whole[measure].ids)
        np.testing.assert_allclose(parts[measure].values, whole[measure].values, atol=1e-5)


def test_a_token_is_its_own_nearest_and_can_be_held_out(vocabulary):
    ids = np.array([0, 17, 289])
    vectors = vocabulary.embeddings[ids]

    found = nearest(vocabulary, vectors)
    held_out = nearest(vocabulary, vectors, without=ids)

    for measure in MEASURES:
        assert found[measure].ids[:, 0].tolist() == ids.tolist()
        assert not (held_out[measure].ids == ids[:, None]).any()
    np.testing.assert_allclose(found["centred"].values[:, 0], 1.0, atol=1e-5)


def test_special_tokens_are_never_neighbours(vocabulary):
    found = nearest(vocabulary, vocabulary.embeddings[290:], k=20)

    assert all(found[measure].ids.max() < 290 for measure in MEASURES)


def test_norm_percentiles_count_smaller_norms_of_ordinary_tokens(vocabulary, vectors):
    norms = np.linalg.norm(vocabulary.embeddings[:290], axis=1)
    expected = [100 * (norms < np.linalg.norm(v)).mean() for v in vectors]

    np.testing.assert_allclose(vocabulary.norm_percentiles(vectors), expected)


@pytest.mark.parametrize(
    ("shape", "k", "message"),
    [((3, 11), 5, "width 12"), ((12,), 5, "width 12"), ((3, 12), 1, "2 to 290"),
     ((3, 12), 291, "2 to 290")],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(vocabulary, shape, k, message):
    with pytest.raises(ValueError, match=message):
        nearest(vocabulary, np.zeros(shape, dtype=np.float32), k=k)


@pytest.mark.parametrize("first_look", [20, 300])
def test_tokens_near_any_of_some_are_those_that_brute_force_finds(vocabulary, first_look):
    ids, wanted = np.arange(0, 290, 3), np.array([2, 33, 100, 101, 250])
    scores = brute(vocabulary, vocabulary.embeddings[ids], "centred")
    near = np.argsort(-scores, axis=1)[:, :4]
    expected = np.isin(near, wanted).any(axis=1)

    found = near_any(vocabulary, ids, wanted, k=4, first_look=first_look)

    assert 0 < expected.sum() < len(ids)
    np.testing.assert_array_equal(found, expected)


def test_no_token_is_near_none(vocabulary):
    assert not near_any(vocabulary, np.arange(5), np.array([], int), k=2, first_look=50).any()


def test_words_are_letters_and_digits_in_lower_case():
    texts = ["\N{OPEN BOX}Good", "b-a d!", "\n", "42"]
    vocabulary = Vocabulary(np.eye(4, dtype=np.float32), texts, np.ones(4, dtype=bool))

    assert vocabulary.words == ["good", "bad", "", "42"]
