"""Profiles: where the workbench runs is found out, and nobody gets more than it allows there."""

import math
from dataclasses import replace

import pytest

from workbench.errors import ConfigError
from workbench.methods.catalog import METHODS, method_class
from workbench.options import declared_options
from workbench.runs.experiment import Experiment
from workbench.service.profile import (
    CPU_SPACE,
    GPU_SPACE,
    LOCAL,
    ZERO_GPU,
    Caps,
    Profile,
    detect_profile,
)

PUBLIC = Profile("tests", is_public=True, models=("one", "two"), caps=Caps(options={"steps": 100}))

PROFILES = (LOCAL, CPU_SPACE, GPU_SPACE, ZERO_GPU)

PLACES = {
    "own machine": ({}, LOCAL),
    "own machine made public": ({"WORKBENCH_PUBLIC": "1"}, CPU_SPACE),
    "public switched off": ({"WORKBENCH_PUBLIC": "0"}, LOCAL),
    "Space": ({"SPACE_ID": "me/app"}, CPU_SPACE),
    "Space on a CPU": ({"SPACE_ID": "me/app", "ACCELERATOR": "none"}, CPU_SPACE),
    "Space that names its CPU": ({"SPACE_ID": "me/app", "ACCELERATOR": "CPU"}, CPU_SPACE),
    "Space on a GPU": ({"SPACE_ID": "me/app", "ACCELERATOR": "t4"}, GPU_SPACE),
    "ZeroGPU": ({"SPACE_ID": "me/app", "SPACES_ZERO_GPU": "true"}, ZERO_GPU),
    "ZeroGPU by number": ({"SPACE_ID": "me/app", "SPACES_ZERO_GPU": "1"}, ZERO_GPU),
    "ZeroGPU wins over the accelerator": (
        {"SPACE_ID": "me/app", "ACCELERATOR": "a10g", "SPACES_ZERO_GPU": "true"},
        ZERO_GPU,
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_profile_follows_from_the_environment(place):
    environment, expected = PLACES[place]

    assert detect_profile(environment) is expected


@pytest.mark.parametrize("profile", [CPU_SPACE, GPU_SPACE, ZERO_GPU], ids=lambda p: p.name)
def test_a_public_job_has_an_end(profile):
    assert profile.is_public
    assert profile.caps.minutes is not None


def test_only_the_local_page_takes_any_base_model():
    LOCAL.check_model("someone/some-model")

    with pytest.raises(ConfigError) as caught:
        PUBLIC.check_model("someone/some-model")

    assert str(caught.value) == (
        "base model 'someone/some-model': this public page offers one, two. For another one, run "
        "the workbench on your own machine or duplicate the Space."
    )


def test_a_long_name_of_a_base_model_is_cut_in_the_message():
    with pytest.raises(ConfigError) as caught:
        PUBLIC.check_model("x" * 5000)

    assert len(str(caught.value)) < 300


def test_every_excess_is_said_at_once():
    caps = replace(PUBLIC.caps, methods=1, seeds=2)
    experiment = Experiment(
        model="one",
        revision="main",
        seeds=(0, 1, 2),
        methods={
            "lora": {"steps": 101},
            "prompt_tuning": {"init": "text", "init_text": "x" * 2001},
        },
    )

    with pytest.raises(ConfigError) as caught:
        replace(PUBLIC, caps=caps).check(experiment)

    assert str(caught.value).splitlines() == [
        "revision: not offered on a public page. Leave it out.",
        "2 rows; at most 1 here.",
        "3 seeds; at most 2 here.",
        "lora.steps: 101; at most 100 here.",
        "prompt_tuning.init_text: 2001 characters; at most 2000 here.",
    ]


def test_a_row_with_seeds_of_its_own_gets_no_more_of_them():
    experiment = Experiment(model="one", methods={"few_shot": {"seeds": list(range(11))}})

    with pytest.raises(ConfigError, match=r"^11 seeds; at most 10 here\.$"):
        PUBLIC.check(experiment)


def test_what_is_just_allowed_is_allowed():
    most = Experiment(
        model="two",
        seeds=tuple(range(10)),
        methods={"lora": {"steps": 100, "schedule": "x" * 2000}},
    )

    PUBLIC.check(most)


def test_a_revision_is_allowed_on_the_own_machine():
    LOCAL.check(Experiment(revision="main"))


@pytest.mark.parametrize("value", [math.nan, math.inf, 100.5])
def test_a_number_that_is_no_amount_is_an_excess(value):
    with pytest.raises(ConfigError, match=r"lora\.steps"):
        PUBLIC.check(Experiment(model="one", methods={"lora": {"steps": value}}))


def test_a_row_under_another_name_has_the_same_caps():
    experiment = Experiment(model="one", methods={"mine": {"method": "lora", "steps": 101}})

    with pytest.raises(ConfigError, match=r"^mine\.steps: 101; at most 100 here\.$"):
        PUBLIC.check(experiment)


@pytest.mark.parametrize("value", [True, "many", None, [1000]])
def test_what_is_no_number_is_left_to_the_check_of_options(value):
    PUBLIC.check(Experiment(model="one", methods={"lora": {"steps": value}}))


CAPPED = [(profile, name) for profile in PROFILES for name in profile.caps.options]


@pytest.mark.parametrize(("profile", "name"), CAPPED, ids=lambda one: getattr(one, "name", one))
def test_what_is_capped_is_an_option_that_could_be_larger(profile, name):
    most = profile.caps.options[name]
    found = [declared_options(method_class(method)).get(name) for method in METHODS]
    capped = [option for option in found if option is not None]

    assert capped, (
        f"workbench/service/profile.py: caps {name!r}, which no method has as an option. Name an "
        "option of a method, or leave the cap out."
    )
    for option in capped:
        assert option.kind in (int, float)
        assert option.default is None or option.default <= most
        assert option.maximum is None or option.maximum > most
