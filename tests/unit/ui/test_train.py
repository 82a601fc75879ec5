"""The tab that trains: every option of every method, its bounds, its cost, and the job it makes."""

import dataclasses
import math
from dataclasses import replace
from typing import Any

import pytest

from pages import Page, Seen, is_problem, said
from workbench.errors import ConfigError
from workbench.methods.catalog import METHODS, make_method, method_class
from workbench.options import declared_options
from workbench.runs.experiment import Experiment
from workbench.runs.labels import run_title
from workbench.service import jobs
from workbench.service.profile import CPU_SPACE, LOCAL
from workbench.training.options import TrainingOptions
from workbench.ui.train import (
    PRESETS,
    on_asked,
    on_estimate,
    on_preset,
    on_train,
    option_fields,
    options_of,
    preset_options,
    trained_methods,
)

TRAINED = (
    *("adalora", "bitfit", "bottleneck_adapter", "dora", "full_fine_tuning", "ia3", "lora"),
    *("hard_prompt", "p_tuning", "prefix_tuning", "prompt_ensemble", "prompt_tuning"),
)


def raw(method: str, **options: object) -> dict[str, object]:
    """Return options as the page's components give them."""
    return {f"{method}__{name}": value for name, value in options.items()}


def train(page: Page, method: object = "lora", seed: object = 0, **changes: Any) -> list[Any]:
    """Return what the page shows after the click, the last state."""
    options = {key: changes.pop(key) for key in list(changes) if "__" in key}
    values = {**options, **page.values(**changes)}
    return list(on_train(page.context, method=method, seed=seed, **values))[-1]


def made(page: Page) -> list[jobs.Job]:
    return jobs.list_jobs(page.workspace)


# Options


def test_the_trained_methods_are_those_whose_result_is_stored():
    assert sorted(trained_methods()) == sorted(TRAINED)


@pytest.mark.parametrize("method", METHODS)
def test_every_option_of_a_method_is_a_field_once(method):
    expected = {field.name for field in dataclasses.fields(method_class(method))}
    names = [option.name for option in option_fields(method)]

    assert sorted(names) == sorted(expected)


@pytest.mark.parametrize("method", METHODS)
def test_every_option_has_help_and_a_kind(method):
    for option in option_fields(method):
        assert option.help
        assert option.kind in (int, float, bool, str)


@pytest.mark.parametrize("method", METHODS)
def test_fields_left_alone_are_the_methods_own_defaults(method):
    values = raw(method, **{option.name: option.default for option in option_fields(method)})

    assert options_of(method, values) == {}


@pytest.mark.parametrize("method", METHODS)
def test_fields_left_empty_are_the_defaults_too(method):
    values = raw(method, **{option.name: None for option in option_fields(method)})

    assert make_method(method, options_of(method, values)) == make_method(method, {})


@pytest.mark.parametrize("method", METHODS)
def test_a_changed_field_reaches_the_method_in_its_own_type(method):
    for option in option_fields(method):
        value = other_value(option)
        found = options_of(method, raw(method, **{option.name: value}))
        assert found == {option.name: value}
        assert type(found[option.name]) is option.kind
        assert getattr(make_method(method, found), option.name) == value


def other_value(option: Any) -> Any:
    """Return an allowed value that is not the default."""
    if option.kind is bool:
        return not option.default
    if option.choices:
        return next(choice for choice in option.choices if choice != option.default)
    if option.kind is str:
        return "a text"
    low = option.minimum if option.minimum is not None else 0
    value = option.kind(low + 1 if option.kind is int else max(low, 1e-8) * 2)
    return value if value != option.default else option.kind(value * 2)


@pytest.mark.parametrize("method", TRAINED)
def test_a_methods_own_options_come_before_those_all_share(method):
    names = [option.name for option in option_fields(method)]

    shared = [name for name in names if name in declared_options(TrainingOptions)]
    assert shared == names[-len(shared) :]


def test_numbers_may_be_typed_as_text():
    values = raw("lora", steps="60", learning_rate=" 1e-3 ", rank=4.0)

    assert options_of("lora", values) == {"steps": 60, "learning_rate": 0.001, "rank": 4}


def test_values_of_another_method_are_not_looked_at():
    assert options_of("lora", raw("prompt_tuning", steps=-5)) == {}


BAD = {
    "negative": (-1, "methods.lora.steps: -1 is out of bounds; allowed: 1 to 1,000,000"),
    "zero": (0, "methods.lora.steps: 0 is out of bounds"),
    "huge": (10**9, "methods.lora.steps: 1000000000 is out of bounds"),
    "endless": (math.inf, "methods.lora.steps: inf is a float, int is needed"),
    "no number": (math.nan, "methods.lora.steps: nan is a float, int is needed"),
    "half": (1.5, "methods.lora.steps: 1.5 is a float, int is needed"),
    "text": ("many", "methods.lora.steps: 'many' is a str, int is needed"),
    "text of NaN": ("nan", "methods.lora.steps: 'nan' is a str, int is needed"),
    "list": ([60], "methods.lora.steps: [60] is a list, int is needed"),
    "mapping": ({"a": 1}, "methods.lora.steps: {'a': 1} is a dict, int is needed"),
    "true": (True, "methods.lora.steps: True is a bool, int is needed"),
    "long digits": ("9" * 5000, "is a str, int is needed"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_value_that_is_no_option_is_refused(case):
    value, expected = BAD[case]

    with pytest.raises(ConfigError) as caught:
        options_of("lora", raw("lora", steps=value))

    assert expected in str(caught.value)


def test_every_wrong_value_is_said_at_once():
    values = raw("lora", steps=0, rank="x", schedule="wavy", learning_rate=math.nan)

    with pytest.raises(ConfigError) as caught:
        options_of("lora", values)

    assert len(str(caught.value).splitlines()) == 4


# Presets


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", TRAINED)
def test_every_preset_is_made_of_options_the_method_has(preset, method):
    assert make_method(method, dict(PRESETS[preset]))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", TRAINED)
def test_every_preset_may_be_trained_on_a_public_page(preset, method):
    rows = {method: preset_options(CPU_SPACE, preset)}

    CPU_SPACE.check(Experiment(model=CPU_SPACE.models[0], methods=rows))


@pytest.mark.parametrize("preset", [*PRESETS, "unknown", None])
def test_a_preset_sets_the_options_of_the_chosen_method_alone(preset, page):
    shown = on_preset(page.context, preset, "lora")

    names = [(name, option) for name in trained_methods() for option in option_fields(name)]
    assert len(shown) == len(names)
    for (name, option), value in zip(names, shown, strict=True):
        is_touched = name == "lora" and option.name in ("steps", "eval_every", "patience")
        assert is_touched == (not isinstance(value, dict))
        if is_touched:
            assert value == PRESETS.get(preset, {}).get(option.name, option.default)


# Costs


def estimate(page: Page, method: object = "lora", seed: object = 0, **changes: Any) -> str:
    options = {key: changes.pop(key) for key in list(changes) if "__" in key}
    values = {**options, **page.values(**changes)}
    return on_estimate(page.context, method=method, seed=seed, **values)


def test_the_cost_of_a_training_is_said(page):
    text = Seen(estimate(page, "prompt_tuning", prompt_tuning__num_virtual_tokens=5)).text

    assert "trains 320 parameters" in text  # 5 vectors of width 64
    assert "each training row" in text


def test_the_cost_follows_the_options(page):
    assert (
        "trains 640 parameters"
        in Seen(estimate(page, "prompt_tuning", prompt_tuning__num_virtual_tokens="10")).text
    )


BAD_TRAININGS = {
    "a method that trains nothing": ({"method": "zero_shot"}, "method: 'zero_shot' trains nothing"),
    "an unknown method": ({"method": "magic"}, "method: 'magic' trains nothing"),
    "no method": ({"method": None}, "method: 'None' trains nothing"),
    "a list as method": ({"method": ["lora"]}, "trains nothing. Choose one from the list."),
    "a mapping as method": ({"method": {"a": 1}}, "trains nothing. Choose one from the list."),
    "a negative seed": ({"seed": -1}, "seed: -1; a number from 0 up is needed."),
    "a huge seed": ({"seed": 10**400}, "a number from 0 up is needed."),
    "an endless seed": ({"seed": math.inf}, "seed: inf; a number from 0 up is needed."),
    "a seed that is no number": ({"seed": math.nan}, "seed: nan; a number from 0 up is needed."),
    "half a seed": ({"seed": 1.5}, "seed: 1.5; a number from 0 up is needed."),
    "a seed as text": ({"seed": "1"}, "seed: 1; a number from 0 up is needed."),
    "no seed": ({"seed": None}, "seed: None; a number from 0 up is needed."),
    "a true seed": ({"seed": True}, "seed: True; a number from 0 up is needed."),
    "wrong options": ({"lora__rank": -3}, "methods.lora.rank: -3 is out of bounds"),
    "an option as list": ({"lora__rank": [3]}, "methods.lora.rank: [3] is a list, int is needed"),
    "an unknown task": ({"task": "sst3"}, "unknown task 'sst3'. Did you mean 'sst2'?"),
    "an upload of nobody": ({"task": "upload:0123456789ab"}, "not found among your files"),
    "a path as wording": ({"wording": "../x"}, "not a name of a wording"),
}


@pytest.mark.parametrize("case", BAD_TRAININGS)
def test_what_cannot_be_trained_is_one_message_and_no_job(case, empty_page):
    changes, expected = BAD_TRAININGS[case]

    shown = train(empty_page, **changes)

    assert is_problem(shown[-1])
    assert expected in said(shown[-1])
    assert made(empty_page) == []


@pytest.mark.parametrize("case", BAD_TRAININGS)
def test_what_cannot_be_trained_has_no_cost(case, page):
    changes, expected = BAD_TRAININGS[case]

    html = estimate(page, **changes)

    assert is_problem(html)
    assert expected in said(html)


def test_a_cost_says_of_which_method_it_is_and_none_stands_for_another(page):
    first = on_asked("lora")

    assert "Estimating what lora would cost" in Seen(first).text
    assert "prompt_tuning trains" in Seen(estimate(page, "prompt_tuning")).text


# Jobs


def test_a_training_becomes_a_job_with_what_was_asked_for(empty_page):
    train(empty_page, "lora", 7, **raw("lora", steps=5, rank="4"))

    (job,) = made(empty_page)
    experiment = job.experiment
    assert (job.status.kind, job.status.title) == ("train", "lora on messages")
    assert experiment.methods == {"lora": {"steps": 5, "rank": 4}}
    assert (experiment.seeds, experiment.reference) == ((7,), "lora")
    assert experiment.task.name == "messages"


def test_a_started_training_is_shown_in_the_panel(empty_page):
    choice, view, *_, trouble = train(empty_page)

    (job,) = made(empty_page)
    assert choice.value == job.status.job_id
    assert "lora on messages" in Seen(view).text
    assert trouble == ""


def test_a_named_training_gives_its_name_to_job_and_run(chunk_page):
    few = {"lora__steps": 4, "lora__eval_every": 2}

    shown = train(chunk_page, name=" first try ", **few)

    assert "first try · lora on messages" in Seen(shown[1]).text
    (run,) = [run for run in chunk_page.workspace.runs() if run.spec.method == "lora"]
    assert run_title(run).startswith("first try · lora · seed 0")
    again = train(chunk_page, name="first try", seed=1, **few)
    assert "name 'first try': is the name of run" in said(again[-1])
    assert "A name begins with a letter" in said(train(chunk_page, name="<b>", **few)[-1])
    assert len(made(chunk_page)) == 1


def test_what_is_left_alone_on_the_page_is_not_written_down(empty_page):
    values = {option.name: option.default for option in option_fields("lora")}

    train(empty_page, "lora", **raw("lora", **values))

    assert made(empty_page)[0].experiment.methods == {"lora": {}}


def test_a_public_page_trains_only_within_its_caps(chunk_page):
    shown = train(chunk_page, "lora", **raw("lora", steps=401))

    assert said(shown[-1]) == "lora.steps: 401; at most 400 here."


def test_a_public_page_refuses_another_base(chunk_page):
    shown = train(chunk_page, model="someone/some-model")

    assert "this public page offers" in said(shown[-1])


def test_too_many_jobs_are_one_message(empty_page):
    profile = replace(LOCAL, caps=replace(LOCAL.caps, jobs=0))
    page = replace(empty_page, context=replace(empty_page.context, profile=profile))

    assert "jobs: you have 0 unfinished, at most 0 are allowed" in said(train(page)[-1])
