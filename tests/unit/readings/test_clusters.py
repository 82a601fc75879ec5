"""Clusters: three groups are found and named, random vectors are not, few vectors are said so."""

from dataclasses import replace

import numpy as np
import pytest

from workbench.progress import Interrupted
from workbench.readings import clusters
from workbench.readings.base import Subject, open_vocabulary
from workbench.readings.catalog import make_reader
from workbench.readings.scoring import Scorer
from workbench.readings.vectors.neighbours import Vocabulary
from workbench.readings.vectors.prompt import SoftPrompt, random_like
from workbench.runs.session import Session

CENTRES = [30, 90, 150]


class SpelledEncoder:
    """Means by letters: texts that share letters mean the same."""

    def encode(self, texts):
        counts = np.array([[text.count(c) + 1e-3 for c in "abcdefghij"] for text in texts])
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def _no_sentence_model(monkeypatch):
    monkeypatch.setattr(clusters, "find_sentence_encoder", lambda: None)


@pytest.fixture
def subject(tiny_engine, toy_encoder) -> Subject:
    """Return four vectors around each of three tokens."""
    session = Session(tiny_engine, toy_encoder)
    vocabulary = open_vocabulary(session)
    tokens = np.repeat(vocabulary.embeddings[CENTRES], 4, axis=0)
    prompt = SoftPrompt("mine", tokens + 0.2 * random_like(tokens, seed=3))
    return Subject(session, vocabulary, Scorer(session, 6), prompt=prompt)


KEPT = {}


@pytest.fixture
def reading(subject):
    """Return what is found on the three groups, read once."""
    if not KEPT:
        KEPT["reading"] = read(subject)
    return KEPT["reading"]


def read(subject, **options):
    return make_reader("clusters", options).read(subject)


def with_vectors(subject, vectors):
    return replace(subject, prompt=SoftPrompt("mine", vectors.astype(np.float32)))


def table(reading, title):
    (found,) = [one for one in reading.tables if one.title == title]
    return found


def test_three_groups_are_found_better_than_chance_and_named_by_their_tokens(subject, reading):
    assert reading.verdict.startswith("3 clusters of vectors")
    assert "better than chance, beside random vectors and real tokens alike" in reading.verdict
    assert [s.is_better for s in reading.standings[:2]] == [True, True]
    assert [s.num_controls for s in reading.standings[:2]] == [19, 19]
    labels = reading.data["labels"]
    assert [len(set(labels[i : i + 4])) for i in (0, 4, 8)] == [1, 1, 1]
    assert len(set(labels)) == 3
    assert reading.data["stability"] == 1.0
    rows = table(reading, "Clusters of the vectors").rows
    named = {row[2]: row[3].split("  ")[0] for row in rows}
    which = ["0, 1, 2, 3", "4, 5, 6, 7", "8, 9, 10, 11"]
    expected = [subject.vocabulary.tokens[i] for i in CENTRES]
    assert named == dict(zip(which, expected, strict=True))


def test_both_methods_agree_on_groups_that_are_there(reading):
    row = table(reading, "How sure the clusters are").rows[0]

    assert row[:2] == ["vectors", 3]
    assert row[3:] == [1.0, 3, 0.0, 1.0]


def test_random_vectors_are_no_better_than_chance(subject):
    reading = read(with_vectors(subject, random_like(subject.prompt.vectors, seed=77)))

    assert reading.verdict.startswith("No better than chance")
    assert not reading.standings[0].is_better


def test_real_tokens_are_not_clearer_than_real_tokens(subject):
    tokens = subject.vocabulary.embeddings[20:32]

    reading = read(with_vectors(subject, tokens))

    beside_tokens = [s for s in reading.standings if s.control == "real tokens"]
    assert [s.is_better for s in beside_tokens] == [False, False]
    assert "no better than chance" in reading.verdict.lower()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_too_few_vectors_are_said_so(subject, size):
    reading = read(with_vectors(subject, subject.prompt.vectors[:size]))

    assert reading.verdict == f"Too few vectors to cluster: {size}; at least 4 are needed."


@pytest.mark.parametrize("size", [4, 5])
def test_few_vectors_are_clustered(subject, size):
    reading = read(with_vectors(subject, subject.prompt.vectors[:size]))

    assert len(reading.data["labels"]) == size


def test_equal_vectors_have_no_clusters(subject):
    reading = read(with_vectors(subject, np.repeat(subject.prompt.vectors[:1], 6, axis=0)))

    assert reading.verdict == "No clusters: all the vectors point the same way."


def test_the_chart_holds_the_prompt_against_both_controls(reading):
    (chart,) = reading.charts

    assert [line.name for line in chart.lines] == [
        "the prompt",
        "random vectors of the same norms",
        "real tokens",
    ]
    prompt, random, _ = chart.lines
    assert prompt.x == random.x == [2, 3, 4, 5, 6, 7, 8]
    assert prompt.y[1] == max(prompt.y) > random.high[1]


def test_a_meaning_is_guessed_among_words_and_called_a_guess(subject, monkeypatch):
    monkeypatch.setattr(clusters, "find_sentence_encoder", SpelledEncoder)
    tokens = ["j"] * len(subject.vocabulary.tokens)
    tokens[200:204] = ["␣aaaaa", "␣bbbbb", "␣ccccc", "␣Ddddd"]
    around = {30: "a", 90: "b", 150: "c"}
    embeddings = subject.vocabulary.embeddings.copy()
    for centre, letter in around.items():
        embeddings[centre + 1 : centre + 5] = embeddings[centre] + 0.05 * embeddings[1:5]
        tokens[centre : centre + 5] = [letter * (n + 1) for n in range(5)]
    vocabulary = Vocabulary(embeddings, tokens, subject.vocabulary.is_ordinary)

    found = table(read(replace(subject, vocabulary=vocabulary)), "Clusters of the vectors")

    assert found.columns[-1] == "guessed meaning"
    assert {row[2]: row[-1] for row in found.rows} == {
        "0, 1, 2, 3": "aaaaa",
        "4, 5, 6, 7": "bbbbb",
        "8, 9, 10, 11": "ccccc",
    }
    assert "right or not" in found.note


def test_without_a_sentence_model_no_meaning_is_shown(reading):
    assert "guessed meaning" not in table(reading, "Clusters of the vectors").columns


def test_the_same_seed_gives_the_same_reading(subject, reading):
    assert read(subject) == reading


def test_a_stop_is_heard(subject):
    with pytest.raises(Interrupted):
        read(replace(subject, should_stop=lambda: True))
