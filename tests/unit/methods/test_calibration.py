"""What dividing by a prior does, whatever the prior was measured on."""

from dataclasses import replace

import numpy as np
import pytest

from workbench.fitting.base import domain_premise
from workbench.fitting.prediction import predict
from workbench.methods.catalog import make_method

DOMAIN = {"calibrate": True, "calibration_inputs": "domain"}


def test_the_domain_premise_is_the_input_without_instruction_and_text(toy_context):
    premise = domain_premise(toy_context.encoder)

    (shared,) = premise.prefix.pieces
    assert toy_context.engine.tokenizer.decode(shared + premise.token_ids) == "T: \nA:"


def test_in_a_chat_the_domain_premise_keeps_the_turn_it_stands_in(toy_context):
    encoder = replace(toy_context.encoder, chat=True)
    premise = domain_premise(encoder)

    (shared,) = premise.prefix.pieces
    text = toy_context.engine.tokenizer.decode(shared + premise.token_ids)
    assert text == "<user>T: \nA:\n<assistant>"


@pytest.mark.parametrize(("name", "options"), [("zero_shot", {}), ("few_shot", {"k": 4})])
def test_the_domain_premise_calibrates_to_uniform(name, options, toy_context):
    fitted = make_method(name, {**DOMAIN, **options}).fit(toy_context)
    (score,) = toy_context.engine.score(
        [domain_premise(toy_context.encoder)], [toy_context.encoder.choice_ids()]
    )

    np.testing.assert_allclose(score.probabilities_given(fitted.log_prior), [0.5, 0.5], atol=1e-9)


def test_demonstrations_are_no_part_of_the_domain(toy_context):
    zero = make_method("zero_shot", DOMAIN).fit(toy_context)
    few = make_method("few_shot", {**DOMAIN, "k": 4}).fit(toy_context)

    np.testing.assert_array_equal(zero.log_prior, few.log_prior)


def test_domain_calibration_ranks_by_pointwise_mutual_information(toy_context):
    fitted = make_method("zero_shot", DOMAIN).fit(toy_context)
    samples, choices = toy_context.task.test, toy_context.encoder.choice_ids()
    rows = [fitted.condition(sample.fields) for sample in samples]
    given = toy_context.engine.score(rows, [choices] * len(rows))
    (alone,) = toy_context.engine.score([domain_premise(toy_context.encoder)], [choices])

    information = [toy_context.task.labels[(g.logprobs - alone.logprobs).argmax()] for g in given]

    found = predict(toy_context.engine, fitted, samples)
    assert [prediction.answer for prediction in found] == information


@pytest.mark.parametrize("constant", [0.0, -3.0, 7.5])
def test_a_uniform_prior_leaves_predictions_alone(constant, toy_context):
    plain = make_method("few_shot", {"k": 4}).fit(toy_context)
    samples = toy_context.task.test

    even = replace(plain, log_prior=np.full(2, constant))

    for one, other in zip(
        predict(toy_context.engine, plain, samples),
        predict(toy_context.engine, even, samples),
        strict=True,
    ):
        assert one.answer == other.answer
        assert one.probabilities == pytest.approx(other.probabilities)


TEXTS = {"calibrate": True, "calibration_inputs": "training_texts"}


def sorted_by_label(context, times: int):
    """Return the context with a long training split, one label after the other."""
    task = context.task
    rows = [
        replace(sample, id=f"{sample.id}-{time}")
        for label in task.labels
        for time in range(times)
        for sample in task.train
        if sample.target == label
    ]
    encoder = replace(context.encoder, task=replace(task, train=tuple(rows)))
    return replace(context, encoder=encoder)


def asked(context, monkeypatch) -> list[str]:
    """Note the texts that a calibration asks about."""
    texts, score = [], type(context.engine).score

    def noted(engine, rows, choices, **options):
        texts.extend(engine.tokenizer.decode(row.token_ids) for row in rows)
        return score(engine, rows, choices, **options)

    monkeypatch.setattr(type(context.engine), "score", noted)
    return texts


def test_training_texts_of_a_sorted_file_are_of_all_labels(toy_context, monkeypatch):
    context = sorted_by_label(toy_context, times=20)  # 240 rows of each label
    texts = asked(context, monkeypatch)

    make_method("zero_shot", TEXTS).fit(context)

    assert len(texts) == 128
    assert 0.35 < sum("sun" in text for text in texts) / 128 < 0.65


def test_what_is_shown_with_its_answer_is_not_asked_about(toy_context, monkeypatch):
    ids = {sample.id: sample.fields["text"] for sample in toy_context.task.train}
    assert len(set(ids.values())) < len(ids)  # texts repeat, ids do not
    few = replace(toy_context.task, train=toy_context.task.train[:7])
    context = replace(toy_context, encoder=replace(toy_context.encoder, task=few))
    texts = asked(context, monkeypatch)

    fitted = make_method("few_shot", TEXTS | {"k": 5}).fit(context)
    assert len(texts) == 2
    (shown,) = fitted.prefix.pieces
    prompt = context.engine.tokenizer.decode(shown)
    assert not any(text.removeprefix("T: ").removesuffix("\nA:") in prompt for text in texts)

    texts.clear()
    make_method("few_shot", TEXTS | {"k": 7}).fit(context)
    assert len(texts) == 3  # content-free inputs are left
