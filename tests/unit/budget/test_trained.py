"""Formulas against what methods really train, keep for the backward pass, and write."""

import dataclasses
import subprocess
import sys

import pytest
from test_memory import ON_CPU, counted_activations

from workbench.budget.asked import NUMBERS, ask
from workbench.budget.known import KNOWN_SHAPES, any_gpu
from workbench.budget.memory import Workload, training_memory
from workbench.budget.plan import Question, make_plan, workload_of
from workbench.budget.sources import find_shape
from workbench.budget.trained import RECIPES, UNPLANNED, AdaptOptions, targeted
from workbench.encoding import PromptEncoder
from workbench.errors import ConfigError
from workbench.fitting import learning
from workbench.fitting.base import FitContext
from workbench.methods.catalog import METHODS, make_method, method_class
from workbench.options import declared_options
from workbench.shared_options import TARGETS
from workbench.tasks.catalog import load_task, prompts_folder
from workbench.templates import read_template
from workbench.training import loop as training

OPTIONS = AdaptOptions()
SIZES = {
    name: {"num_virtual_tokens": OPTIONS.num_virtual_tokens}
    for name, recipe in RECIPES.items()
    if "num_virtual_tokens" in recipe.options
}
TRAINED = [name for name, recipe in RECIPES.items() if recipe.trains]


def fields_behind(asked):
    """Return (method, option) of every method's option that a number or a choice stands for."""
    of_all = {name: name for name in ("batch_size", "micro_batch_size", "steps")}
    own = {name: recipe.options.get(asked) for name, recipe in RECIPES.items()}
    if asked in of_all:
        own = dict.fromkeys(TRAINED, of_all[asked])
    return [
        (name, declared_options(method_class(name))[option])
        for name, option in own.items()
        if option is not None
    ]


OWN_QUESTIONS = ("length", "tasks", "versions")  # no method has an option for these
ASKED = dict(NUMBERS) | declared_options(AdaptOptions)


@pytest.mark.parametrize("asked", [name for name in ASKED if name not in OWN_QUESTIONS])
def test_what_the_planner_allows_is_what_the_methods_allow(asked):
    behind = fields_behind(asked)
    allowed = ASKED[asked]

    assert behind
    for name, option in behind:
        if option.kind is not allowed.kind:  # one place or two has a word of its own there
            assert option.choices is not None
            assert len(option.choices) == allowed.maximum
            continue
        found = (option.minimum, option.maximum, option.choices)
        assert found == (allowed.minimum, allowed.maximum, allowed.choices), name
        assert option.default in (None, allowed.default), name


@pytest.mark.parametrize("asked", NUMBERS)
def test_the_planner_refuses_what_is_out_of_bounds(asked):
    shape, bounds = KNOWN_SHAPES["llama-2-7b"], NUMBERS[asked]

    for value in (bounds.minimum - 1, bounds.maximum + 1):
        with pytest.raises(ConfigError) as caught:
            ask(shape, any_gpu(24), numbers={asked: value})
        assert str(caught.value) == (
            f"{asked}: {value} is out of bounds; allowed: {bounds.minimum} to {bounds.maximum:,}"
        )


CHANGED = {
    name: "all_linear" if option.kind is str else option.minimum
    for name, option in declared_options(AdaptOptions).items()
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_follows_the_options_it_names_and_no_others(name):
    recipe, shape = RECIPES[name], KNOWN_SHAPES["smollm2-135m-instruct"]

    def figures(options):
        row = make_plan(Question(shape, any_gpu(24), options=options), (name,)).row(name)
        return row.trained, row.stored_bytes, row.extra_tokens, row.memory

    plain = figures(OPTIONS)
    follows = {
        option
        for option, value in CHANGED.items()
        if figures(dataclasses.replace(OPTIONS, **{option: value})) != plain
    }

    assert follows == set(recipe.options)


def test_no_method_is_named_as_planned_and_unplanned():
    assert set(RECIPES) | set(UNPLANNED) <= set(METHODS)
    assert set(RECIPES) & set(UNPLANNED) == set()


@pytest.mark.parametrize("name", TRAINED)
def test_trained_parameters_are_exact_on_the_tiny_base(toy_context, tiny_folder, name):
    method = make_method(name, SIZES.get(name, {}))

    assert RECIPES[name].trained(find_shape(str(tiny_folder)), OPTIONS) == method.num_trainable(
        toy_context
    )


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("name", ["lora", "dora", "adalora"])
def test_trained_parameters_are_exact_for_all_targets(toy_context, tiny_folder, name, targets):
    options = AdaptOptions(targets=targets, rank=3, init_rank=5)
    changes = {"init_rank": 5, "target_rank": 2} if name == "adalora" else {"rank": 3}
    method = make_method(name, {"targets": targets} | changes)

    assert RECIPES[name].trained(find_shape(str(tiny_folder)), options) == method.num_trainable(
        toy_context
    )


@pytest.fixture
def real_context(real_engine, tmp_path):
    task = load_task("support_intents")
    template = read_template(prompts_folder() / task.name / "plain.yaml")
    encoder = PromptEncoder(real_engine.tokenizer, template, task)
    return FitContext(real_engine, encoder, seed=0, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_trained_parameters_are_exact_on_the_default_base(real_context, name):
    shape = KNOWN_SHAPES["smollm2-135m-instruct"]

    assert RECIPES[name].trained(shape, OPTIONS) == make_method(
        name, SIZES.get(name, {})
    ).num_trainable(real_context)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRAINED if name != "full_fine_tuning"])
def test_the_file_of_a_result_has_the_size_foretold(real_context, tmp_path, name, monkeypatch):
    monkeypatch.setattr(learning, "train", lambda *_, **__: training.TrainingState())
    method = make_method(name, SIZES.get(name, {}))

    method.save(real_context, method.fit(real_context), tmp_path / "adapter")

    written = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    foretold = RECIPES[name].stored_bytes(KNOWN_SHAPES["smollm2-135m-instruct"], OPTIONS)
    assert foretold == pytest.approx(written, rel=0.02)


def measured_step(context, name, options, monkeypatch):
    """Fit for one step; return bytes kept for the backward pass, and the step's workload."""
    found = {}
    real = training.answer_loss

    def watched(engine, prefix, adapter, batch, **options):
        rows = [len(example.token_ids) + len(example.answer_ids) - 1 for example in batch]
        given = prefix.num_tokens - prefix.num_computed
        found["work"] = Workload(
            batch_size=len(batch),
            row_tokens=max(rows) + prefix.num_tokens,
            shared_tokens=prefix.num_computed,
            given_tokens=given,
            answer_tokens=max(len(example.answer_ids) for example in batch),
        )
        found["bytes"] = counted_activations(engine, prefix, adapter, batch)
        return real(engine, prefix, adapter, batch, **options)

    monkeypatch.setattr(training, "answer_loss", watched)
    make_method(name, {"steps": 1, **options}).fit(context)
    return found["bytes"], found["work"]


STEPS = {name: {} for name in TRAINED if name not in ("p_tuning", "adalora")} | {
    "lora": {"targets": "all_linear"}
}


@pytest.mark.parametrize("name", STEPS)
def test_a_method_keeps_what_the_estimate_says(toy_context, tiny_folder, name, monkeypatch):
    options = AdaptOptions(targets=STEPS[name].get("targets", "attention_qv"))

    counted, work = measured_step(
        toy_context, name, STEPS[name] | {"batch_size": 24} | SIZES.get(name, {}), monkeypatch
    )

    shape = find_shape(str(tiny_folder))
    estimate = training_memory(shape, ON_CPU["fp32"], RECIPES[name], options, work)
    assert estimate.activations == pytest.approx(counted, rel=0.12)


def test_lora_of_rank_8_on_a_matrix_of_4096_adds_65536_parameters():
    """Hu et al. 2021, section 4.1: A is r x 4096 and B 4096 x r."""
    shape = KNOWN_SHAPES["llama-2-7b"]
    both = AdaptOptions(rank=8, targets="attention_qv")

    assert {(linear.inputs, linear.outputs) for linear in targeted(shape, both)} == {(4096, 4096)}
    assert RECIPES["lora"].trained(shape, both) == 2 * shape.layers * 65_536


@pytest.mark.parametrize(("rank", "published"), [(1, 4.7e6), (8, 37.7e6)])
def test_lora_on_gpt_3_trains_what_its_authors_say(rank, published):
    """Hu et al. 2021, table 4: queries and values of all 96 layers."""
    trained = RECIPES["lora"].trained(KNOWN_SHAPES["gpt-3-175b"], AdaptOptions(rank=rank))

    assert trained == pytest.approx(published, rel=0.01)


def test_vectors_before_a_row_run_through_the_layers_and_states_do_not():
    question = Question(KNOWN_SHAPES["llama-2-7b"], any_gpu(24))
    plain = question.work.positions

    positions = {name: workload_of(question, RECIPES[name], 8).positions
                 for name in ("lora", "prompt_tuning", "prefix_tuning")}  # fmt: skip

    assert positions == {"lora": plain, "prompt_tuning": plain + 20, "prefix_tuning": plain}


def test_torch_is_not_needed_to_plan():
    code = (
        "import sys, workbench.budget.asked, workbench.budget.advice, workbench.budget.figure\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
