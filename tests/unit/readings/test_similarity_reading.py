"""The similarity of prompts: itself, random vectors, tasks that show and tasks that do not."""

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest

from workbench.fitting.learning import Outcome
from workbench.progress import Interrupted
from workbench.readings.base import Subject, open_vocabulary
from workbench.readings.catalog import make_reader
from workbench.readings.scoring import Scorer
from workbench.readings.similarity import _verdict
from workbench.readings.vectors.chance import standing
from workbench.readings.vectors.prompt import SoftPrompt, random_like
from workbench.readings.vectors.similarity import Grouping
from workbench.runs.session import Session

CENTRED = "mean vectors, after subtracting the mean embedding"
LEARNED = "vectors in place, what training added to the start"


@pytest.fixture
def subject(tiny_engine, toy_encoder) -> Subject:
    session = Session(tiny_engine, toy_encoder)
    vocabulary = open_vocabulary(session)
    tokens = vocabulary.embeddings[[30, 40, 50, 60]]
    prompt = SoftPrompt("mine", tokens + 0.01, start=tokens, task="toy")
    return Subject(session, vocabulary, Scorer(session, 6), prompt=prompt)


def read(subject, *others):
    return make_reader("similarity").read(replace(subject, others=others))


def noise(subject, seed, *, task="toy"):
    return SoftPrompt(f"noise {seed}", random_like(subject.prompt.vectors, seed=seed), task=task)


def test_a_prompt_is_wholly_like_itself_and_answers_the_same(subject):
    reading = read(subject, replace(subject.prompt, name="again"))

    for name, matrix in reading.data["matrices"].items():
        known = [value for row in matrix for value in row if value is not None]
        assert known == pytest.approx([1.0] * len(known), abs=1e-6), name
    assert LEARNED in reading.data["matrices"]
    assert reading.standings[0].is_better
    assert "more like the others than random vectors" in reading.verdict


def test_random_vectors_are_alike_no_better_than_chance(subject):
    reading = read(subject, *(noise(subject, 900 + seed) for seed in range(3)))

    assert not reading.standings[0].is_better
    assert "no better than chance (random vectors" in reading.verdict
    assert [chart.title for chart in reading.charts if chart.kind == "heatmap"]


def test_tasks_named_at_random_are_called_noise(subject):
    others = [noise(subject, 700 + s, task="toy" if s % 2 else "other") for s in range(7)]

    reading = read(subject, *others)

    assert "as a map of tasks this is noise" in reading.verdict
    places = [s for s in reading.standings if s.what.startswith(CENTRED)]
    assert [place.is_better for place in places] == [False]


def test_tasks_that_show_are_beyond_chance(subject):
    base = subject.prompt.vectors
    away = random_like(base, seed=8)
    near = {
        f"{task} {seed}": SoftPrompt(
            f"{task} {seed}",
            centre + 0.05 * random_like(centre, seed=seed),
            task=task,
        )
        for task, centre in (("toy", base), ("other", away))
        for seed in range(4)
    }

    reading = read(subject, *near.values())

    assert "By their vectors, prompts of one task are more alike than chance" in reading.verdict


def test_a_prompt_alone_asks_for_another_and_shows_the_control(subject):
    reading = read(subject)

    assert reading.verdict.startswith("Another soft prompt is needed")
    assert len(reading.data["controls"]) == 19
    assert len(reading.tables[0].rows) == 1
    assert (reading.charts, reading.standings) == ([], [])


def test_prompts_of_other_lengths_and_unknown_starts_are_compared_where_they_can_be(subject):
    short = SoftPrompt("short", subject.prompt.vectors[:2], task="other")

    reading = read(subject, short)

    measures = list(reading.data["matrices"])
    assert not [name for name in measures if name.startswith("vectors in place")]
    assert not [name for name in measures if name.endswith("added to the start")]
    assert reading.data["matrices"]["matched vectors, as they are"][0][1] == pytest.approx(1.0)
    assert "cannot be told" in reading.verdict


def test_equal_names_are_told_apart(subject):
    reading = read(subject, subject.prompt, subject.prompt)

    assert reading.data["prompts"] == ["mine", "mine (2)", "mine (3)"]


def test_the_starts_of_a_pair_are_shown(subject):
    reading = read(subject, replace(subject.prompt, vectors=-subject.prompt.vectors))

    pairs = reading.tables[0]
    assert pairs.rows[0][pairs.columns.index("mean vectors, starts")] == pytest.approx(1.0)


def test_prompts_that_began_alike_are_not_said_to_have_learned_it(subject):
    moved = replace(subject.prompt, vectors=subject.prompt.vectors + noise(subject, 5).vectors / 2)

    reading = read(subject, moved)

    assert reading.standings[0].is_better
    assert "Their starts were at least as alike (1.00; now " in reading.verdict
    assert "the start and not learning" in reading.verdict
    unknown = read(subject, replace(moved, start=None))
    assert "starts were" not in unknown.verdict


class FixedScorer:
    """Gives prompts the answers of a test, in turn."""

    def __init__(self, *answers):
        self.num_items = len(answers[0])
        self._outcomes = cycle(self._outcome(np.array(found)) for found in answers)

    @staticmethod
    def _outcome(found):
        return Outcome(found == 0, np.zeros(len(found)), found)

    def outcomes(self, prefixes, step):
        return [next(self._outcomes) for _ in prefixes]


def kappa_of(subject, first, second):
    asked = replace(subject, scorer=FixedScorer(first, second))
    matrix = read(asked, noise(subject, 1)).data["matrices"]["Cohen's kappa of answers"]
    assert matrix[0][1] == matrix[1][0]
    return matrix[0][1]


def test_kappa_is_that_of_a_table_by_hand(subject):
    first, second = [0, 0, 1, 1, 1], [0, 1, 1, 1, 0]
    expected = (3 / 5 - 13 / 25) / (1 - 13 / 25)  # chance: 2/5 * 2/5 + 3/5 * 3/5

    assert kappa_of(subject, first, second) == pytest.approx(expected, abs=5e-5)  # 4 digits


def test_kappa_of_one_answer_to_everything_is_no_figure(subject):
    assert kappa_of(subject, [1, 1], [1, 1]) is None


def test_it_stops_when_asked(subject):
    stopped = replace(subject, should_stop=lambda: True)

    with pytest.raises(Interrupted):
        read(stopped, noise(subject, 1))


def test_statements_of_one_verdict_share_the_level():
    """Three at 5 % each would find something in one of seven."""

    def words(p_value, *, of_tasks):
        beyond = round(1000 * p_value) - 1
        place = standing("x", 0.5, "noise", [1.0] * beyond + [0.0] * (999 - beyond))
        assert place.p_value == pytest.approx(p_value)
        group = Grouping(0.5, 0.1, place) if of_tasks else Grouping(None, None, None)
        return _verdict(place, None, {"vectors": group, "answers": group})

    assert "more like the others than random" in words(0.04, of_tasks=False)
    assert "more alike than chance" in words(0.01, of_tasks=True)
    together = words(0.04, of_tasks=True)
    assert "more like the others than random" not in together
    assert "more alike than chance" not in together
