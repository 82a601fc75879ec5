"""Votes over chains of reasoning: ties, abstentions, and what stays true of one chain."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.encoding import PromptEncoder
from workbench.fitting.prediction import Prediction, agree, conclude, predict
from workbench.fitting.reasoning import Vote, majority
from workbench.methods.catalog import make_method
from workbench.models.base import GenerationOptions
from workbench.runs.task_metrics import measure
from workbench.tasks.base import Sample

TOKENS = 10


@pytest.fixture(params=["labels", "numbers"])
def context(request, toy_context):
    """Return the toy task, and the same texts with numbers for answers."""
    if request.param == "labels":
        return toy_context
    task = replace(
        toy_context.task,
        kind="short_answer",
        labels=(),
        train=tuple(replace(s, target=str(i)) for i, s in enumerate(toy_context.task.train)),
        test=tuple(replace(s, target=str(i)) for i, s in enumerate(toy_context.task.test)),
    )
    template = toy_context.template.model_copy(update={"instruction": "Add."})
    encoder: PromptEncoder = replace(toy_context.encoder, task=task, template=template)
    return replace(toy_context, encoder=encoder)


def predictions(context, name: str, **options) -> list[Prediction]:
    fitted = make_method(name, {"max_new_tokens": TOKENS, **options}).fit(context)
    return predict(context.engine, fitted, context.task.test)


def test_one_greedy_chain_is_chain_of_thought_exactly(context):
    for k in (0, 2):
        greedy = predictions(context, "chain_of_thought", k=k)
        one = predictions(context, "self_consistency", k=k, samples=1, temperature=0.0)
        assert one == greedy


def test_one_greedy_chain_is_what_greedy_decoding_concludes(context):
    fitted = make_method("self_consistency", {"samples": 1, "temperature": 0.0}).fit(context)
    engine, samples = context.engine, context.task.test
    rows = [fitted.condition(sample.fields) for sample in samples]
    greedy = GenerationOptions(max_new_tokens=96, stop=(context.template.separator,))

    generations = engine.generate(rows, greedy)

    expected = conclude(engine, fitted, samples, rows=rows, generations=generations)
    assert predict(engine, fitted, samples) == expected


def test_greedy_chains_all_agree_and_cost_as_many_times_the_tokens(context):
    greedy = predictions(context, "chain_of_thought")
    several = predictions(context, "self_consistency", samples=3, temperature=0.0)

    for one, all_three in zip(greedy, several, strict=True):
        assert all_three.answer == one.answer
        assert all_three.generated_tokens == 3 * one.generated_tokens
        assert all_three.sampled_answers == (one.answer,) * 3
        assert all_three.vote_share == (0.0 if one.answer is None else 1.0)


def test_drawn_chains_differ_and_repeat_with_the_seed(context):
    def texts(seed: int) -> list[str | None]:
        found = predictions(
            replace(context, seed=seed), "self_consistency", samples=1, temperature=1.5, top_k=0
        )
        return [prediction.text for prediction in found]

    assert texts(0) == texts(0)
    assert texts(0) != texts(1)


def test_the_chains_of_one_question_differ(context):
    drawing = {"temperature": 2.0, "top_k": 0}
    one = predictions(context, "self_consistency", samples=1, **drawing)

    found = predictions(context, "self_consistency", samples=8, **drawing)

    # The first chain is the same in both, so the mean of equal ones would be that of one.
    assert any(
        len(set(p.sampled_answers)) > 1 or p.probabilities != first.probabilities
        for p, first in zip(found, one, strict=True)
    )


def test_the_best_chain_is_right_at_least_as_often_as_the_vote(context):
    found = predictions(context, "self_consistency", samples=4, temperature=2.0, top_k=0)

    measured = measure(context.task, found)

    assert measured["oracle_accuracy"].value >= measured["accuracy"].value
    by_hand = [p.target in p.sampled_answers for p in found]
    assert measured["oracle_accuracy"].value == pytest.approx(np.mean(by_hand))


# The vote

ANSWERS = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=9)


@given(ANSWERS, st.randoms(use_true_random=False))
def test_the_order_of_the_voices_changes_nothing(answers, random):
    weights = [{"a": random.random(), "b": random.random()} for _ in answers]
    mixed = list(zip(answers, weights, strict=True))
    random.shuffle(mixed)

    voices, support = zip(*mixed, strict=True)
    assert majority(voices, weights=support) == majority(answers, weights=weights)


@given(ANSWERS)
def test_the_winner_has_the_most_voices_and_abstentions_have_none(answers):
    vote = majority(answers)

    given_answers = [answer for answer in answers if answer is not None]
    most = max((given_answers.count(answer) for answer in given_answers), default=0)
    assert vote.share == most / len(answers)
    assert (vote.answer is None) == (not given_answers)


def test_abstentions_never_win():
    assert majority([None, None, None, "7"]) == Vote("7", 0.25)
    assert majority([None, None]) == Vote(None, 0.0)


def test_ties_go_to_the_more_probable_then_to_the_order_then_to_the_alphabet():
    weights = [{"x": 0.2, "y": 0.9}, {"x": 0.6, "y": 0.4}]

    assert majority(["x", "y"], order=["x", "y"], weights=weights).answer == "y"
    assert majority(["x", "y"], order=["y", "x"]).answer == "y"
    assert majority(["x", "w"]).answer == "w"


@pytest.fixture
def numbers(toy_context):
    """Return a fitted method of a task whose answers are numbers."""
    train = (Sample("a", {"text": "t"}, "1"), Sample("b", {"text": "u"}, "2"))
    task = replace(toy_context.task, kind="short_answer", labels=(), train=train)
    encoder = replace(toy_context.encoder, task=task)
    template = encoder.template.model_copy(update={"instruction": "Add."})
    encoder = replace(encoder, template=template)
    return make_method("self_consistency", {}).fit(replace(toy_context, encoder=encoder))


def chain(answer: str | None, *, text: str = "t", truncated: bool = False) -> Prediction:
    return Prediction(
        sample_id="1", target="18", answer=answer, text=text, lenient_answer=answer,
        is_truncated=truncated, prompt_tokens=5, generated_tokens=7,
    )  # fmt: skip


def test_answers_that_mean_the_same_number_are_one_answer(numbers):
    found = agree(numbers, [chain("$18.00"), chain("17"), chain("18"), chain(None), chain("17.")])

    assert found.vote_share == 0.4
    assert found.answer in ("17", "17.")
    found = agree(numbers, [chain("$18.00"), chain("17"), chain("18")])
    assert found.vote_share == pytest.approx(2 / 3)
    assert found.answer in ("$18.00", "18")
    assert found.sampled_answers == ("$18.00", "17", "18")


def test_answers_that_mean_the_same_are_one_by_either_rule_of_reading(numbers):
    found = agree(numbers, [chain("yes!"), chain("no"), chain("Yes"), chain("maybe"), chain("no.")])
    assert found.lenient_answer == "no"
    found = agree(
        numbers, [chain("yes!"), chain("Yes"), chain("No"), chain("no"), chain("**yes**")]
    )
    assert found.lenient_answer == "**yes**"


@pytest.mark.parametrize(
    ("answers", "share", "shown"),
    [
        (["Yes, it is", "no", "Yes"], 2 / 3, "Yes"),
        (["Washington", "Washington, D.C.", "Washington, D.C."], 1, "Washington, D.C."),
        (["a, b", "a, b", "a, c", "a, c", "a, c"], 0.6, "a, c"),
        (["a, b", "a, c", "d", "d"], 0.5, "d"),
        (["No", "no (never)", "yes", "yes."], 0.5, "No"),
        ([None, None, "Yes, it is", "yes"], 0.5, "Yes, it is"),
    ],
)
def test_an_answer_counts_as_its_first_clause_where_another_voice_gives_no_more(
    numbers, answers, share, shown
):
    found = agree(numbers, [chain(answer) for answer in answers])

    assert (found.vote_share, found.answer) == (pytest.approx(share), shown)
    assert found.lenient_answer == shown


@given(st.permutations(range(5)))
def test_what_chains_agree_on_does_not_depend_on_their_order(numbers_order):
    fitted = _Bare()
    chains = [
        chain("3", text="a"), chain("4", text="b"), chain("3.0", text="c", truncated=True),
        chain(None, text="d"), chain("4", text="e", truncated=True),
    ]  # fmt: skip

    found = agree(fitted, [chains[i] for i in numbers_order])

    expected = agree(fitted, chains)
    assert replace(found, sampled_answers=None) == replace(expected, sampled_answers=None)
    assert found.generated_tokens == 35
    assert found.is_truncated is False


class _Bare:
    """A fitted method of which only the labels of its task are asked."""

    class encoder:  # noqa: N801
        class task:  # noqa: N801
            labels = ()


def test_probabilities_of_several_chains_are_their_mean(toy_context):
    fitted = make_method("self_consistency", {}).fit(toy_context)
    voices = [
        replace(chain("good"), probabilities={"good": 0.6, "bad": 0.4}, label_mass=0.5),
        replace(chain("bad"), probabilities={"good": 0.1, "bad": 0.9}, label_mass=0.1),
        replace(chain("good"), probabilities={"good": 0.7, "bad": 0.3}, label_mass=0.3),
    ]

    found = agree(fitted, voices)

    assert found.answer == "good"  # two voices, although the mean prefers the other
    assert found.probabilities == pytest.approx({"good": 1.4 / 3, "bad": 1.6 / 3})
    assert found.label_mass == pytest.approx(0.3)
