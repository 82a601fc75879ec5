"""Estimates: parameters are those really trained, and seconds follow from steps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from visitors import keep_rows, local_workspace, tiny_experiment
from workbench.errors import ConfigError
from workbench.methods.catalog import make_method
from workbench.models.base import GenerationOptions
from workbench.runs.experiment import Experiment
from workbench.runs.session import Session
from workbench.service.estimate import StepCost, estimate_training, measure_step
from workbench.serving.desk import ModelDesk

STEP = StepCost(seconds_per_token=0.001, tokens_per_example=20.0, item_seconds=0.01)

METHODS = {
    "vectors in place of the instruction": ("prompt_tuning", {}),
    "five vectors": ("prompt_tuning", {"num_virtual_tokens": 5}),
    "many vectors": ("prompt_tuning", {"num_virtual_tokens": 200}),
    "vectors from a text": ("prompt_tuning", {"init": "text", "init_text": "Say it."}),
    "random vectors": ("prompt_tuning", {"init": "random", "num_virtual_tokens": 3}),
    "vectors from the labels": ("prompt_tuning", {"init": "labels"}),
    "small matrices": ("lora", {"rank": 2}),
    "matrices": ("lora", {}),
    "matrices everywhere": ("lora", {"rank": 3, "targets": "all_linear"}),
}


@pytest.fixture(scope="module")
def experiment(tiny_folder, tmp_path_factory) -> Experiment:
    root = tmp_path_factory.mktemp("estimate")
    workspace = local_workspace(root)
    key = keep_rows(workspace, root / "given")
    return tiny_experiment(workspace, tiny_folder, key, {"zero_shot": {}})


@pytest.fixture(scope="module")
def session(experiment) -> Session:
    """Return a session for looking only."""
    return ModelDesk(is_direct=True).session(experiment)


@pytest.fixture
def fresh(experiment) -> Session:
    """Return a session on a base of its own, to put adapters on."""
    return ModelDesk(is_direct=True).session(experiment)


@pytest.mark.parametrize("case", METHODS)
def test_the_parameters_are_those_that_are_trained(case, fresh, tmp_path):
    name, options = METHODS[case]
    method = make_method(name, options | {"steps": 1})
    context = fresh.context(0, tmp_path)
    fitted = method.fit(context)
    method.save(context, fitted, tmp_path / "adapter")
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", framework="pt") as stored:
        counted = sum(stored.get_tensor(key).numel() for key in stored.keys())  # noqa: SIM118

    estimated = estimate_training(fresh, STEP, make_method(name, options)).trained_parameters

    assert estimated == fitted.cost.trained_parameters
    assert estimated == counted


@pytest.mark.parametrize("targets", ["all_linear", "attention_qv"])
def test_an_adapter_on_the_base_changes_no_estimate(targets, fresh, tmp_path):
    before = estimate_training(fresh, STEP, make_method("lora", {"targets": targets}))

    make_method("lora", {"steps": 1, "targets": "all_linear"}).fit(fresh.context(0, tmp_path))

    assert estimate_training(fresh, STEP, make_method("lora", {"targets": targets})) == before


@pytest.mark.parametrize("name", ["prompt_tuning", "lora"])
def test_twice_the_steps_take_twice_the_time(name, session):
    once, twice, thrice = (
        estimate_training(
            session, STEP, make_method(name, {"steps": steps, "eval_every": 25})
        ).seconds
        for steps in (100, 200, 300)
    )

    assert once > 0
    assert (twice, thrice) == (pytest.approx(2 * once), pytest.approx(3 * once))


def test_seconds_are_tokens_of_all_steps_and_the_evaluations(session):
    options = {"steps": 100, "batch_size": 4, "eval_every": 30}
    start = session.encoder.start()
    shared = len(start.head_ids + start.shared_ids)

    found = estimate_training(session, STEP, make_method("lora", options)).seconds
    few = estimate_training(session, STEP, make_method("lora", options | {"dev_items": 3})).seconds

    steps = 100 * (shared + 4 * 20.0) * 0.001
    assert found == pytest.approx(steps + 4 * len(session.task.dev) * 0.01)
    assert few == pytest.approx(steps + 4 * 3 * 0.01)


def test_a_slower_machine_takes_longer(session):
    slower = replace(STEP, seconds_per_token=0.002, item_seconds=0.02)

    found, expected = (
        estimate_training(session, s, make_method("lora", {})).seconds for s in (slower, STEP)
    )

    assert found == pytest.approx(2 * expected)


def test_memory_is_the_base_and_four_numbers_per_parameter(session):
    cost = estimate_training(session, STEP, make_method("lora", {}))

    assert cost.memory_bytes == session.engine.info.footprint_bytes + 16 * cost.trained_parameters
    assert cost.restored_bytes == session.engine.info.restored_bytes


def test_epochs_are_examples_seen_by_rows(session):
    options = {"steps": 10, "batch_size": 3}

    cost = estimate_training(session, STEP, make_method("lora", options))

    assert cost.epochs == pytest.approx(30 / len(session.task.train))


@pytest.mark.parametrize("name", ["zero_shot", "few_shot", "chain_of_thought", "imported"])
def test_what_trains_nothing_has_no_estimate(name, session):
    with pytest.raises(ConfigError) as caught:
        estimate_training(session, STEP, make_method(name, {}))

    assert str(caught.value) == (f"methods: '{name}' trains nothing. Choose a trained method.")


# The measurement


def test_a_measured_step_costs_something(session):
    step = measure_step(session)

    assert step.seconds_per_token > 0
    assert step.item_seconds > 0


def test_the_tokens_of_an_example_are_its_own_and_its_answers(session):
    encoder = session.encoder
    start = encoder.start()
    words = dict(zip(session.task.labels, encoder.choice_ids(), strict=True))
    lengths = [
        len(encoder.own_ids(sample.fields, start)) + len(words[sample.target])
        for sample in session.task.train
    ]

    assert measure_step(session).tokens_per_example == pytest.approx(sum(lengths) / len(lengths))


def test_a_measurement_changes_neither_base_nor_answers(session, tmp_path):
    model = session.engine.forward.model
    fitted = make_method("zero_shot", {}).fit(session.context(0, tmp_path))
    row = fitted.condition(session.task.test[0].fields)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    answers = session.engine.generate([row], GenerationOptions(max_new_tokens=5))

    measure_step(session)

    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert session.engine.generate([row], GenerationOptions(max_new_tokens=5)) == answers


def test_a_measurement_leaves_no_gradient(session):
    measure_step(session)

    assert all(p.grad is None for p in session.engine.forward.model.parameters())


def test_a_measurement_writes_nothing(session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    measure_step(session)

    assert list(Path().iterdir()) == []


def test_an_ensemble_takes_as_long_as_its_members_together(session):
    one = estimate_training(session, STEP, make_method("prompt_tuning", {"num_virtual_tokens": 5}))

    several = make_method("prompt_ensemble", {"num_virtual_tokens": 5, "members": 4})
    four = estimate_training(session, STEP, several)

    assert four.seconds == pytest.approx(4 * one.seconds)
    assert four.trained_parameters == 4 * one.trained_parameters
