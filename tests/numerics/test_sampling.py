"""Drawn tokens: every row of a call draws for itself, and the same in any company."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from workbench.models.base import Conditioning, GenerationOptions, Prefix

OPTIONS = GenerationOptions(max_new_tokens=12, temperature=1.0, seed=5)


def rows_of(engine, texts) -> list[Conditioning]:
    prefix = Prefix((tuple(engine.tokenizer("Say.\n").input_ids),))
    return [Conditioning(prefix, tuple(engine.tokenizer(text).input_ids)) for text in texts]


def drawn(engine, rows, **changes) -> list[tuple[int, ...]]:
    options = replace(OPTIONS, **changes)
    return [generation.token_ids for generation in engine.generate(rows, options)]


def test_equal_rows_of_one_call_are_several_draws(tiny_engine):
    found = drawn(tiny_engine, rows_of(tiny_engine, ["same"] * 6))

    assert len(set(found)) == 6


def test_a_row_draws_the_same_alone_and_in_any_batch_and_order(tiny_engine):
    rows = rows_of(tiny_engine, ["one", "the second, which is longer", "3", "four"])
    together = drawn(tiny_engine, rows)

    assert drawn(tiny_engine, rows[::-1])[::-1] == together
    assert [drawn(tiny_engine, [row])[0] for row in rows] == together
    assert drawn(tiny_engine, rows, seed=6) != together


@pytest.fixture
def blind_engine(tiny_engine):
    """Return an engine to which "a" and "b" are the same token."""
    embeddings = tiny_engine.forward.model.get_input_embeddings().weight
    one, other = (tiny_engine.tokenizer(letter).input_ids[0] for letter in "ab")
    with torch.no_grad():
        embeddings[one] = embeddings[other]
    return tiny_engine


def test_first_tokens_of_many_rows_are_as_frequent_as_the_model_says(blind_engine):
    texts = ["".join("ab"[number >> place & 1] for place in range(11)) for number in range(2048)]
    rows = rows_of(blind_engine, texts)
    (score,) = blind_engine.score(
        rows[:1], [[(token,) for token in range(len(blind_engine.tokenizer))]]
    )
    expected = score.probabilities * len(rows)

    first = [ids[0] if ids else 0 for ids in drawn(blind_engine, rows, max_new_tokens=1)]

    counts = np.bincount(first, minlength=len(expected))
    is_common = expected >= 10
    observed = [*counts[is_common], counts[~is_common].sum()]
    wanted = [*expected[is_common], expected[~is_common].sum()]
    assert chisquare(observed, np.array(wanted) * len(rows) / np.sum(wanted)).pvalue > 1e-3
