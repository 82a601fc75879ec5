"""Rounding in words: the sign of a change, and what is within noise."""

import numpy as np
import pytest

from workbench.fitting.learning import Outcome
from workbench.readings.base import Subject, open_vocabulary
from workbench.readings.catalog import make_reader
from workbench.readings.scoring import Scorer
from workbench.readings.vectors.prompt import SoftPrompt
from workbench.runs.session import Session

RISE = [0.5, 0.7, 0.6]  # of the loss by rounding, in nats, item by item
GOOD, POOR = 9.0, 0.0  # loss of random tokens, above that of the rounded prompt and below


class FixedScorer:
    """Gives the soft prompt, the rounded one and random tokens the results of a test."""

    def __init__(self, soft, rounded, random_loss):
        self.num_items = len(soft)
        losses = np.ones(len(soft))
        self._soft = Outcome(np.array(soft), losses, -losses)
        self._rounded = Outcome(np.array(rounded), losses + np.resize(RISE, len(soft)), -losses)
        self._random = Outcome(np.array(soft), losses * random_loss, -losses)

    def outcomes(self, prefixes, step):
        if len(prefixes) == 5:  # the prompt, rounded by two measures, the instruction, nothing
            return [self._soft, self._rounded, self._rounded, self._soft, self._soft]
        return [self._random] * len(prefixes)


@pytest.fixture
def words(tiny_engine, toy_encoder):
    """Return a maker of the verdict on a prompt that answers so, and so when it is rounded."""
    session = Session(tiny_engine, toy_encoder)
    vocabulary = open_vocabulary(session)

    def read(soft, rounded, random_loss=POOR, *, is_text=False):
        tokens = vocabulary.embeddings[[30, 40, 50, 60]]
        prompt = SoftPrompt("mine", tokens if is_text else tokens + 0.01)
        scorer = FixedScorer(soft, rounded, random_loss)
        return make_reader("rounding").read(Subject(session, vocabulary, scorer, prompt)).verdict

    return read


def test_a_loss_of_accuracy_is_negative_and_a_gain_positive(words):
    lost = words([True] * 21, [True] * 8 + [False] * 13)
    gained = words([False] * 13 + [True] * 8, [True] * 21)

    assert lost.startswith("Rounding changes accuracy by -61.9 points (p = 0.00024), the loss by")
    assert gained.startswith("Rounding changes accuracy by +61.9 points")
    assert "+0.6 nats" in lost


def test_no_change_has_no_sign_of_its_own_and_is_within_noise(words):
    assert "by +0.0 points (within noise)" in words([True] * 6, [True] * 6)


TWO_CONTROLS = "random tokens and the nearest tokens of random vectors."
ENDS = [
    (GOOD, f"does better than {TWO_CONTROLS}"),
    (POOR, "no better than chance (random tokens)."),
]


@pytest.mark.parametrize(("random_loss", "end"), ENDS)
def test_the_text_stands_beside_random_tokens(words, random_loss, end):
    assert words([True] * 6, [True] * 6, random_loss).endswith(end)
    as_text = words([True] * 6, [True] * 6, random_loss, is_text=True)
    assert as_text.startswith("The vectors are tokens: rounding changes nothing.")
    assert as_text.endswith(end)


def test_of_vectors_beside_the_instruction_nothing_is_not_said_to_be_without_one(
    tiny_engine, toy_encoder
):
    session = Session(tiny_engine, toy_encoder)
    vocabulary = open_vocabulary(session)
    vectors = vocabulary.embeddings[[30, 40]]
    said = {}
    for place in ("instead_of_instruction", "after_instruction"):
        prompt = SoftPrompt("mine", vectors, position=place)
        subject = Subject(session, vocabulary, Scorer(session, 2), prompt=prompt)
        left_end = make_reader("truncation", {"points": 2}).read(subject).notes[0]
        said[place] = list(make_reader("rounding").read(subject).data["loss"])[3:], left_end

    instead, after = said.values()
    assert instead[0] == ["the instruction", "nothing"]
    assert after[0] == ["the instruction once more", "the instruction alone"]
    assert "without an instruction" in instead[1]
    assert "with the instruction" in after[1]
