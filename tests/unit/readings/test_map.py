"""The map: every vector at its place, and plain words for random vectors, tokens and the rest."""

from dataclasses import replace

import numpy as np
import pytest

from workbench.progress import Interrupted
from workbench.readings.base import Subject, open_vocabulary
from workbench.readings.catalog import make_reader
from workbench.readings.scoring import Scorer
from workbench.readings.vectors.prompt import SoftPrompt, random_like
from workbench.runs.session import Session

IDS = [30, 40, 50, 60, 70, 80]


@pytest.fixture
def subject(tiny_engine, toy_encoder) -> Subject:
    """Return vectors close to real tokens, with a start and a path of thirty steps."""
    session = Session(tiny_engine, toy_encoder)
    vocabulary = open_vocabulary(session)
    start = vocabulary.embeddings[IDS]
    vectors = start + 0.3 * random_like(start, seed=5)
    path = tuple((10 * n, start + n / 30 * (vectors - start)) for n in range(1, 31))
    prompt = SoftPrompt("mine", vectors, start, path, task="toy")
    return Subject(session, vocabulary, Scorer(session, 6), prompt=prompt)


def read(subject, **options):
    return make_reader("map", {"method": "pca", "tokens": 100} | options).read(subject)


def layers(reading):
    return {layer.name: layer for layer in reading.charts[0].layers}


def with_vectors(subject, vectors):
    return replace(subject, prompt=SoftPrompt("mine", vectors.astype(np.float32)))


def test_the_layers_hold_tokens_controls_paths_and_the_prompt_on_top(subject):
    other = SoftPrompt("theirs {0} <b>", subject.prompt.vectors[:2] + 1)

    found = layers(read(replace(subject, others=(other,))))

    assert list(found) == [
        "vocabulary",
        "nearest tokens",
        "random vectors of the same norms",
        "theirs {0} <b>",
        *(f"path of vector {slot}" for slot in range(6)),
        "mine",
    ]
    assert [point.text for point in found["mine"].points] == ["0", "1", "2", "3", "4", "5"]
    assert [point.slot for point in found["mine"].points] == [0, 1, 2, 3, 4, 5]
    assert found["theirs {0} <b>"].points[1].about == "theirs {0} <b>: vector 1"
    near = {point.text for point in found["nearest tokens"].points}
    assert {subject.vocabulary.tokens[i] for i in IDS} <= near
    assert len(found["vocabulary"].points) + len(near) == 100
    assert (
        found["mine"].points[0].about.startswith(f"vector 0: {subject.vocabulary.tokens[IDS[0]]}")
    )


def test_points_are_where_principal_components_put_them(subject):
    found = layers(read(subject, tokens=4000))

    ordinary = subject.vocabulary.embeddings[subject.vocabulary.ordinary_ids].astype(np.float64)
    axes = np.linalg.svd(ordinary - ordinary.mean(axis=0), full_matrices=False)[2][:2]
    expected = (subject.prompt.vectors - ordinary.mean(axis=0)) @ axes.T
    got = np.array([[point.x, point.y] for point in found["mine"].points])
    assert np.abs(got) == pytest.approx(np.abs(expected), abs=1e-4)


def test_a_path_runs_from_the_start_to_the_prompt_in_few_steps(subject):
    found = layers(read(subject))
    points = found["path of vector 2"].points

    assert 15 <= len(points) <= 20
    assert points[0].about == "vector 2 at the start"
    assert points[-1].about == "vector 2 at step 300"
    end = found["mine"].points[2]
    assert (points[-1].x, points[-1].y) == pytest.approx((end.x, end.y), abs=1e-4)


def test_without_stored_steps_a_path_joins_start_and_end(subject):
    prompt = replace(subject.prompt, path=())

    points = layers(read(replace(subject, prompt=prompt)))["path of vector 0"].points

    assert [point.about for point in points] == ["vector 0 at the start", "vector 0 at the end"]


def test_no_path_is_drawn_where_none_is_known_or_wanted(subject):
    unknown = with_vectors(subject, subject.prompt.vectors)

    for reading in (read(unknown), read(subject, path=False)):
        assert not [layer for layer in reading.charts[0].layers if layer.role == "path"]


def test_random_vectors_are_no_better_than_chance(subject):
    random = random_like(subject.prompt.vectors, seed=123)

    reading = read(with_vectors(subject, random))

    assert "no better than chance" in reading.verdict.lower()
    assert not reading.standings[0].is_better


def test_tokens_lie_among_the_tokens_and_far_vectors_off_them(subject):
    tokens = subject.vocabulary.embeddings[IDS]

    among = read(with_vectors(subject, tokens + 0.01))
    off = read(with_vectors(subject, 6 * tokens))

    assert among.verdict.startswith("The vectors lie among the tokens")
    assert among.data["percentile_of_real"] == [0.0] * 6
    assert off.verdict.startswith("The vectors lie off the tokens, but nearer than random vectors")
    assert off.data["percentile_of_real"] == [100.0] * 6


def test_distances_are_those_of_the_whole_space(subject):
    reading = read(subject)

    table = subject.vocabulary.embeddings[subject.vocabulary.ordinary_ids]
    expected = [np.linalg.norm(table - v, axis=1).min() for v in subject.prompt.vectors]
    assert reading.data["distance"] == pytest.approx(expected, abs=1e-4)
    assert reading.standings[0].value == pytest.approx(np.mean(expected), abs=1e-4)
    assert reading.tables[0].slots == [0, 1, 2, 3, 4, 5]


def test_the_note_says_how_faithful_the_picture_is(subject):
    reading = read(subject)

    shown = sum(len(layer.points) for layer in reading.charts[0].layers)
    figure = reading.data["trustworthiness"]
    assert reading.charts[0].note.startswith(
        f"Trustworthiness {figure:.2f} over all {shown} points"
    )
    assert "not distances in the space" in reading.charts[0].note


def test_one_vector_is_enough_and_the_same_seed_gives_the_same_reading(subject):
    one = with_vectors(subject, subject.prompt.vectors[:1])

    assert read(one, method="tsne") == read(one, method="tsne")


def test_a_stop_is_heard(subject):
    stopped = replace(subject, should_stop=lambda: True)

    with pytest.raises(Interrupted):
        read(stopped, method="tsne")
