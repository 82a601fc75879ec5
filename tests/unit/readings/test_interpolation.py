"""Paths between prompts: exact ends, barriers beside random ones, sums of what was learned."""

from dataclasses import replace

import numpy as np
import pytest

from workbench.fitting.learning import Outcome
from workbench.methods.prompt_tuning import PromptTuning
from workbench.progress import Interrupted
from workbench.readings.base import Subject, open_vocabulary
from workbench.readings.catalog import make_reader
from workbench.readings.interpolation import _failed, _Path, _words, straight_path
from workbench.readings.scoring import Scorer
from workbench.readings.vectors.chance import standing
from workbench.readings.vectors.prompt import SoftPrompt, random_like
from workbench.runs.session import Session


@pytest.fixture
def subject(tiny_engine, toy_encoder) -> Subject:
    session = Session(tiny_engine, toy_encoder)
    vocabulary = open_vocabulary(session)
    start = vocabulary.embeddings[[30, 40, 50]]
    prompt = SoftPrompt("mine", random_like(start, seed=90), start=start, task="toy")
    return Subject(session, vocabulary, Scorer(session, 6), prompt=prompt)


def other_of(subject, seed=91, **changes):
    start = subject.prompt.start
    prompt = SoftPrompt("theirs", random_like(start, seed=seed), start=start, task="toy")
    return replace(prompt, **changes)


def read(subject, *others, **options):
    reader = make_reader("interpolation", {"points": 3, "controls": 19} | options)
    return reader.read(replace(subject, others=others))


def test_the_ends_are_the_very_prompts():
    first, last = (np.random.default_rng(i).normal(size=(3, 5)) for i in range(2))

    path = straight_path(first, last, np.linspace(0, 1, 5))

    assert path[0] is first
    assert path[-1] is last
    np.testing.assert_allclose(path[1], 0.75 * first + 0.25 * last, rtol=1e-6)


def test_the_ends_of_a_path_score_exactly_like_the_prompts(subject):
    other = other_of(subject)

    reading = read(subject, other, points=4)

    fresh = Scorer(subject.session, 6)
    ends = [fresh.outcome(subject.prefix(p.vectors)) for p in (subject.prompt, other)]
    losses = reading.data["loss"][0]
    assert [losses[0], losses[-1]] == [outcome.loss for outcome in ends]
    accuracies = reading.data["accuracy"][0]
    assert [accuracies[0], accuracies[-1]] == [outcome.accuracy for outcome in ends]
    assert reading.data["shares"] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_the_ends_are_remembered_and_not_scored_again(subject):
    subject.scorer.outcome(subject.prefix(subject.prompt.vectors))
    path = straight_path(subject.prompt.vectors, other_of(subject).vectors, np.linspace(0, 1, 3))

    known = subject.scorer.outcome(subject.prefix(subject.prompt.vectors))

    assert subject.scorer.outcome(subject.prefix(path[0])) is known


def path_of(*losses):
    outcomes = tuple(Outcome(np.ones(2, bool), np.full(2, x), np.zeros(2, int)) for x in losses)
    return _Path("p", 1, np.linspace(0, 1, len(losses)), outcomes)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [((0, 3, 2), 2.0), ((0, 1, 2), 0.0), ((1, 0, 1), 0.0), ((0, 1, 2, 0), 2)],
)
def test_a_barrier_is_what_rises_above_the_line_between_the_ends(losses, expected):
    assert path_of(*losses).barrier == pytest.approx(expected)


def test_random_prompts_are_no_better_than_chance(subject):
    reading = read(subject, other_of(subject))

    assert "o better than chance" in reading.verdict
    assert not reading.standings[1].is_better


def test_trained_prompts_act_and_the_way_to_itself_has_no_barrier(subject, toy_context):
    method = PromptTuning(steps=30, num_virtual_tokens=3, eval_every=10)
    start = method.initial_vectors(toy_context).detach().float().cpu().numpy()
    fitted = method.fit(toy_context)
    vectors = fitted.prefix.pieces[-1].detach().float().cpu().numpy()
    prompt = SoftPrompt("trained", vectors, start=start, task="toy")

    reading = read(replace(subject, prompt=prompt), replace(prompt, name="again"))

    assert reading.standings[0].is_better
    assert reading.data["barriers"] == [pytest.approx(0.0, abs=1e-6)]
    assert reading.verdict.startswith("The path to again rises at most")


def test_the_sum_of_two_prompts_is_the_start_and_both_differences(subject):
    other = other_of(subject)

    reading = read(subject, other)

    total = subject.prompt.start.astype(np.float64)
    total = total + (subject.prompt.vectors - total) + (other.vectors - total)
    expected = subject.scorer.outcome(subject.prefix(total))
    (bars,) = [chart for chart in reading.charts if chart.kind == "bars"]
    assert [bar.name for bar in bars.bars] == ["mine (this)", "theirs (other)", "start", "sum"]
    assert bars.bars[-1].value == pytest.approx(expected.accuracy)
    assert "from the same start" in bars.note


def test_the_sum_with_an_unmoved_prompt_changes_nothing(subject):
    unmoved = other_of(subject, vectors=subject.prompt.start)

    reading = read(subject, unmoved)

    (bars,) = [chart for chart in reading.charts if chart.kind == "bars"]
    values = {bar.name: bar.value for bar in bars.bars}
    assert values["sum"] == values["mine (this)"]
    assert values["start"] == values["theirs (other)"]


def test_without_a_start_there_is_no_sum(subject):
    reading = read(subject, other_of(subject, start=None))

    assert [chart.kind for chart in reading.charts] == ["lines", "lines"]
    assert reading.notes[-1].startswith("No sum with theirs")


def test_prompts_of_different_lengths_are_shortened_and_it_is_said(subject):
    reading = read(subject, other_of(subject, vectors=random_like(np.ones((2, 64)), seed=4)))

    assert "only the first 2 vectors of both are used" in reading.notes[-2]
    cut = subject.scorer.outcome(subject.prefix(subject.prompt.vectors[:2]))
    assert reading.data["loss"][0][0] == cut.loss


def test_a_prompt_alone_asks_for_another(subject):
    reading = read(subject)

    assert reading.verdict == "Another soft prompt is needed: a path has two ends."
    assert reading.charts == []


def test_it_stops_when_asked(subject):
    with pytest.raises(Interrupted):
        read(replace(subject, should_stop=lambda: True), other_of(subject))


def test_paths_are_judged_in_turn_until_one_is_no_better_than_chance():
    """Two at 5 % each would find a valley in one of ten."""
    low, high = (
        standing("barrier", value, "random paths", np.ones(19), low_is_better=True)
        for value in (0.0, 2.0)
    )
    paths = [replace(path_of(0, 0, 0), name=name) for name in ("first", "second")]

    def words(*places):
        return [
            _words(path, place, failed=_failed(paths[:i], places[:i]))
            for i, (path, place) in enumerate(zip(paths, places, strict=True))
        ]

    assert all("lie in one valley" in text for text in words(low, low))
    failed, unjudged = words(high, low)
    assert "no better than chance (random paths)" in failed
    assert unjudged.endswith(
        "not judged, as paths are judged in turn and that to first came first."
    )
