"""Which tokens are chosen, by greatest logit and by drawing; an oracle per row says which."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.models.base import GenerationOptions
from workbench.models.decoding import TokenSampler

SEEDS = [(5, number) for number in range(4)]


def _drawn_alone(logits: torch.Tensor, options: GenerationOptions, seed: tuple[int, ...]) -> int:
    """Return a draw from one row of logits (V,), by sorting all of it."""
    scaled = (logits / options.temperature).double().numpy()
    order = np.argsort(-scaled, kind="stable")
    order = order[: options.top_k] if options.top_k else order
    probabilities = np.exp(scaled[order] - scaled[order[0]])
    probabilities /= probabilities.sum()
    keep = np.cumsum(probabilities) - probabilities < options.top_p
    kept = np.where(keep, probabilities, 0.0)
    return int(np.random.default_rng(seed).choice(order, p=kept / kept.sum()))


@pytest.mark.parametrize("top_p", [1.0, 0.7])
@pytest.mark.parametrize("top_k", [0, 1, 3, 7, 50])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=9, max_size=9), min_size=4, max_size=4))
def test_draws_of_a_batch_are_those_of_its_rows_with_many_ties(top_k, top_p, values):
    options = GenerationOptions(temperature=0.8, top_k=top_k, top_p=top_p)
    logits = torch.tensor(values, dtype=torch.float32)

    chosen = TokenSampler(options, SEEDS).choose(logits, range(4))

    expected = [_drawn_alone(row, options, seed) for row, seed in zip(logits, SEEDS, strict=True)]
    assert chosen.ids == chosen.tokens.tolist() == expected


def test_the_greatest_logit_is_chosen_and_the_first_of_equal_ones():
    logits = torch.tensor([[0.0, 2.0, 2.0, 1.0], [3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 1.0]])

    chosen = TokenSampler(GenerationOptions(), SEEDS).choose(logits, [3, 0, 1])

    assert chosen.ids == chosen.tokens.tolist() == [1, 0, 3]
