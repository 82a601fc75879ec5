"""Rounding in words: the sign of a change, and what is within noise."""

import numpy as np
import pytest

from workbench.metrics import mean_with_interval, paired_difference
from workbench.readings.rounding import _verdict
from workbench.readings.vectors.chance import standing

GOOD = standing("loss", 0.1, "random tokens", np.ones(19), low_is_better=True)
POOR = standing("loss", 2.0, "random tokens", np.ones(19), low_is_better=True)


def words(soft: list[bool], rounded: list[bool], place=POOR, *, is_text: bool = False) -> str:
    rise = mean_with_interval([0.5, 0.7, 0.6])
    return _verdict(place, paired_difference(soft, rounded), rise, is_text=is_text)


def test_a_loss_of_accuracy_is_negative_and_a_gain_positive():
    lost = words([True] * 20, [True] * 8 + [False] * 12)
    gained = words([False] * 12 + [True] * 8, [True] * 20)

    assert lost.startswith("Rounding changes accuracy by -60.0 points (p = 0.00049), the loss by")
    assert gained.startswith("Rounding changes accuracy by +60.0 points")
    assert "+0.6 nats" in lost


def test_no_change_has_no_sign_of_its_own_and_is_within_noise():
    assert "by +0.0 points (within noise)" in words([True] * 5, [True] * 5)


ENDS = [(GOOD, "does better than random tokens."), (POOR, "no better than chance (random tokens).")]


@pytest.mark.parametrize(("place", "end"), ENDS)
def test_the_text_stands_beside_random_tokens(place, end):
    assert words([True] * 5, [True] * 5, place).endswith(end)
    assert words([True], [True], place, is_text=True).startswith("The vectors are tokens")
