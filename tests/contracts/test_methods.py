"""What every method of the catalog must do; a new method gets these tests by its catalog line."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from toys import TOY_LABELS, toy_samples
from workbench.errors import ConfigError
from workbench.fitting.base import FitContext, SupportsSave, SupportsSearch
from workbench.fitting.demonstrations import drawn
from workbench.fitting.prediction import check_answerable, predict
from workbench.methods.catalog import METHODS, make_method, method_class
from workbench.models.quantised_layers import base_hash
from workbench.options import declared_options
from workbench.predicting.chunks import AskedRow, Chunk, answer_chunk
from workbench.progress import Interrupted
from workbench.tasks.base import Sample
from workbench.training.options import TrainingOptions

QUICK = {"steps": 6, "batch_size": 4, "eval_every": 3}
TRAINED = [name for name in METHODS if issubclass(method_class(name), TrainingOptions)]
RATES = {name: method_class(name).tiny_rate for name in TRAINED if method_class(name).tiny_rate}
QUICK_WORDS = {"samples": 3, "max_new_tokens": 12}


@pytest.fixture
def quick(lora_export):
    """Return a function that makes a method which fits fast."""

    def make(name: str):
        found, known = method_class(name), declared_options(method_class(name))
        if issubclass(found, SupportsSave):
            return make_method(name, QUICK)
        if issubclass(found, SupportsSearch):
            return make_method(name, {"budget": 3})
        folders = {"adapter": str(lora_export), "runs": f"{lora_export},{lora_export}"}
        named = {one.name: folders[one.holds] for one in known.values() if one.holds in folders}
        words = {option: value for option, value in QUICK_WORDS.items() if option in known}
        return make_method(name, named | words)

    return make


def answers(engine, fitted, samples) -> list[str | None]:
    return [prediction.answer for prediction in predict(engine, fitted, samples)]


@pytest.mark.parametrize("name", METHODS)
def test_options_survive_json(name):
    method = make_method(name, {})
    options = {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}

    assert make_method(name, json.loads(json.dumps(options))) == method


@pytest.mark.parametrize("name", METHODS)
def test_an_unknown_option_is_refused_with_the_known_ones(name):
    with pytest.raises(ConfigError, match=rf"methods.{name}: unknown option 'nonsense'.*Known: "):
        make_method(name, {"nonsense": 1})


def test_an_unknown_method_is_refused_with_the_closest():
    with pytest.raises(ConfigError) as caught:
        make_method("zero_shoot", {})

    assert str(caught.value) == (
        "methods: unknown method 'zero_shoot'. Did you mean 'zero_shot'? Known: "
        f"{', '.join(sorted(METHODS))}."
    )


@pytest.mark.parametrize("name", METHODS)
def test_fitting_and_predicting_leave_the_base_unchanged(name, quick, toy_context):
    before = base_hash(toy_context.engine.forward.model)

    fitted = quick(name).fit(toy_context)
    answers(toy_context.engine, fitted, toy_context.task.test)

    assert base_hash(toy_context.engine.forward.model) == before


@pytest.mark.parametrize("name", METHODS)
def test_predictions_keep_order_and_ids_and_survive_none_and_one(name, quick, toy_context):
    fitted = quick(name).fit(toy_context)
    samples = toy_context.task.test

    whole = predict(toy_context.engine, fitted, samples)

    assert [p.sample_id for p in whole] == [s.id for s in samples]
    assert predict(toy_context.engine, fitted, []) == []
    (one,) = predict(toy_context.engine, fitted, samples[3:4])
    assert one.answer == whole[3].answer
    np.testing.assert_allclose(
        list(one.probabilities.values()), list(whole[3].probabilities.values()), atol=1e-4
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_chunk_of_rows_is_answered_as_predicted(name, quick, toy_context):
    """As another process would: what it is given and what it gives back can be sent."""
    fitted, samples = quick(name).fit(toy_context), toy_context.task.test
    chunk = Chunk(0, tuple(AskedRow(dict(sample.fields)) for sample in samples))
    expected = predict(toy_context.engine, fitted, samples)

    sent = pickle.loads(pickle.dumps(chunk))
    found = pickle.loads(pickle.dumps(answer_chunk(toy_context.engine, fitted, sent)))

    assert [one.answer for one in found] == [one.answer for one in expected]
    assert [one.probabilities for one in found] == [
        tuple(one.probabilities.values()) for one in expected
    ]
    for sample in samples:  # so none of them would be refused before it is answered
        check_answerable(toy_context.engine, fitted, sample.fields)


@pytest.mark.parametrize("name", METHODS)
def test_a_saved_method_predicts_the_same_when_restored(name, quick, toy_context, tmp_path):
    method = quick(name)
    fitted = method.fit(toy_context)
    expected = [p.probabilities for p in predict(toy_context.engine, fitted, toy_context.task.test)]
    if isinstance(method, SupportsSave):
        method.save(toy_context, fitted, tmp_path / "adapter")

    restored = method.restore(toy_context, tmp_path / "adapter")

    found = [p.probabilities for p in predict(toy_context.engine, restored, toy_context.task.test)]
    for one, other in zip(expected, found, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_probabilities_are_over_the_labels_in_task_order_and_sum_to_one(name, quick, toy_context):
    fitted = quick(name).fit(toy_context)

    for prediction in predict(toy_context.engine, fitted, toy_context.task.test):
        assert sum(prediction.probabilities.values()) == pytest.approx(1.0)
        assert list(prediction.probabilities) == list(TOY_LABELS)
        assert 0.0 <= prediction.label_mass <= 1.0 + 1e-6


@pytest.mark.parametrize(("name", "rate"), RATES.items())
def test_trained_methods_learn_a_separable_task_and_not_shuffled_labels(name, rate, toy_context):
    method = make_method(
        name, {"steps": 60, "batch_size": 8, "eval_every": 20, "learning_rate": rate}
    )
    learned = method.fit(toy_context)
    right = [
        p.answer == p.target for p in predict(toy_context.engine, learned, toy_samples("more", 40))
    ]
    generator = np.random.default_rng(0)
    shuffled = tuple(
        Sample(s.id, {"text": f"x {i}"}, TOY_LABELS[int(generator.integers(2))])
        for i, s in enumerate(toy_context.task.train)
    )
    task = dataclasses.replace(toy_context.task, train=shuffled)
    encoder = dataclasses.replace(toy_context.encoder, task=task)
    context = FitContext(
        toy_context.engine, encoder, 0, toy_context.folder / "shuffled", adapter_name="shuffled"
    )
    noise = method.fit(context)
    fresh = tuple(Sample(f"f{i}", {"text": f"x {100 + i}"}, TOY_LABELS[i % 2]) for i in range(40))
    lucky = [p.answer == p.target for p in predict(toy_context.engine, noise, fresh)]

    assert np.mean(right) >= 0.95
    assert 0.2 <= np.mean(lucky) <= 0.8


@pytest.mark.parametrize("name", TRAINED)
def test_trained_parameters_are_those_of_the_formula(name, toy_context):
    method = make_method(name, QUICK)

    fitted = method.fit(toy_context)

    assert fitted.cost.trained_parameters == method.num_trainable(toy_context)


@pytest.mark.parametrize("name", METHODS)
def test_scores_do_not_depend_on_batch_or_order(name, quick, toy_context):
    fitted = quick(name).fit(toy_context)
    samples = toy_context.task.test

    whole = predict(toy_context.engine, fitted, samples)
    backwards = predict(toy_context.engine, fitted, samples[::-1])[::-1]
    single = [predict(toy_context.engine, fitted, [sample])[0] for sample in samples]

    for others in (backwards, single):
        for one, other in zip(whole, others, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_few_shot_with_k_0_is_zero_shot_byte_for_byte(toy_context):
    zero = make_method("zero_shot", {}).fit(toy_context)
    few = make_method("few_shot", {"k": 0}).fit(toy_context)

    for sample in toy_context.task.test:
        zero_row, few_row = zero.condition(sample.fields), few.condition(sample.fields)
        assert zero_row.prefix.pieces == few_row.prefix.pieces
        assert zero_row.token_ids == few_row.token_ids
    assert zero.encoder.render({"text": "a"}).text == few.encoder.render({"text": "a"}, []).text


@pytest.mark.parametrize("name", ["zero_shot", "few_shot"])
def test_content_free_input_calibrates_to_uniform(name, toy_context):
    fitted = make_method(name, {"calibrate": True}).fit(toy_context)
    texts = ("N/A", "[MASK]", "")
    rows = [fitted.condition({"text": text}) for text in texts]
    scores = toy_context.engine.score(rows, [toy_context.encoder.choice_ids()] * 3)

    raw = np.mean([score.probabilities for score in scores], axis=0)
    calibrated = raw / np.exp(fitted.log_prior)

    np.testing.assert_allclose(calibrated / calibrated.sum(), [0.5, 0.5], atol=1e-9)


@pytest.mark.parametrize("name", ["zero_shot", "few_shot"])
def test_training_texts_calibrate_to_uniform_without_their_labels(name, toy_context):
    method = make_method(name, {"calibrate": True, "calibration_inputs": "training_texts"})
    fitted = method.fit(toy_context)
    task = toy_context.task
    shown = drawn(task, method.k, seed=0, balanced=True) if name == "few_shot" else []
    asked = [sample for number, sample in enumerate(task.train) if number not in shown]
    rows = [fitted.condition(sample.fields) for sample in asked]
    scores = toy_context.engine.score(rows, [toy_context.encoder.choice_ids()] * len(rows))

    calibrated = np.mean([s.probabilities for s in scores], axis=0) / np.exp(fitted.log_prior)

    np.testing.assert_allclose(calibrated / calibrated.sum(), [0.5, 0.5], atol=1e-9)


def test_few_shot_draws_balanced_demonstrations_by_seed_from_train_only(toy_context):
    def drawn(seed: int) -> list[str]:
        context = dataclasses.replace(toy_context, seed=seed)
        fitted = make_method("few_shot", {"k": 6}).fit(context)
        return [(d.fields["text"], d.answer) for d in fitted.start.demonstrations]

    train = {(s.fields["text"], s.target) for s in toy_context.task.train}
    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    assert set(drawn(0)) <= train
    assert sorted(answer for _, answer in drawn(0)) == ["bad"] * 3 + ["good"] * 3


@pytest.mark.parametrize("name", ["zero_shot", "chain_of_thought"])
def test_a_stop_while_predicting_gives_no_answers_instead_of_cut_ones(name, toy_context):
    fitted = make_method(name, {}).fit(toy_context)
    asked = iter(range(1000))

    with pytest.raises(Interrupted):
        predict(
            toy_context.engine,
            fitted,
            toy_context.task.test,
            should_stop=lambda: next(asked) >= 1,
        )


def test_more_demonstrations_than_training_rows_are_refused(toy_context):
    with pytest.raises(ConfigError) as caught:
        make_method("few_shot", {"k": 25}).fit(toy_context)

    assert str(caught.value) == (
        "k: 25 demonstrations wanted, the training split of 'toy' has 24. Use a smaller k or more "
        "training data."
    )


def test_chain_of_thought_counts_both_extraction_rules(toy_context):
    fitted = make_method("chain_of_thought", {"k": 2, "max_new_tokens": 8}).fit(toy_context)

    predictions = predict(toy_context.engine, fitted, toy_context.task.test)

    for prediction in predictions:
        assert prediction.text is not None
        assert prediction.is_truncated in (True, False)
        assert prediction.generated_tokens <= 8
        assert prediction.strict_answer in (None, prediction.lenient_answer)
