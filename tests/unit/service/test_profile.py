"""Profiles: where the workbench runs is found out, and nobody gets more than it allows there."""

import math
from dataclasses import replace

import pytest

from workbench.errors import ConfigError
from workbench.methods.catalog import METHODS, method_class
from workbench.options import FREE, Option, declared_options
from workbench.readings.catalog import READERS, reader_class
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

PUBLIC = Profile("tests", is_public=True, models=("one", "two"), caps=Caps(size="small"))

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
            "lora": {"steps": 401},
            "prompt_tuning": {"init": "text", "init_text": "x" * 2001},
        },
    )

    with pytest.raises(ConfigError) as caught:
        replace(PUBLIC, caps=caps).check(experiment)

    assert str(caught.value).splitlines() == [
        "revision: not offered on a public page. Leave it out.",
        "2 rows; at most 1 here.",
        "3 seeds; at most 2 here.",
        "lora.steps: 401; at most 400 here.",
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
        methods={"lora": {"steps": 400, "schedule": "x" * 2000}},
    )

    PUBLIC.check(most)


def test_a_revision_is_allowed_on_the_own_machine():
    LOCAL.check(Experiment(revision="main"))


def test_a_public_page_decides_itself_what_it_keeps_in_memory():
    asked = Experiment(model="one", methods={"lora": {}}, weights_in_memory="restored")

    with pytest.raises(ConfigError) as caught:
        PUBLIC.check(asked)

    assert str(caught.value) == (
        "weights_in_memory: a public page decides itself what it keeps in memory. Leave it out; "
        "the numbers are the same."
    )
    LOCAL.check(asked)
    PUBLIC.check(asked.model_copy(update={"weights_in_memory": "packed"}))


@pytest.mark.parametrize("value", [math.nan, math.inf, 400.5, 10**400, "401", "4e3"])
def test_a_number_that_is_no_amount_is_an_excess(value):
    with pytest.raises(ConfigError, match=r"lora\.steps"):
        PUBLIC.check(Experiment(model="one", methods={"lora": {"steps": value}}))


def test_a_row_under_another_name_has_the_same_caps():
    experiment = Experiment(model="one", methods={"mine": {"method": "lora", "steps": 401}})

    with pytest.raises(ConfigError, match=r"^mine\.steps: 401; at most 400 here\.$"):
        PUBLIC.check(experiment)


@pytest.mark.parametrize("value", [True, "many", None, [1000]])
def test_what_is_no_number_is_left_to_the_check_of_options(value):
    PUBLIC.check(Experiment(model="one", methods={"lora": {"steps": value}}))


def _declared() -> dict[str, Option]:
    """Return every option of every method and reading by its place."""
    found = {f"methods.{name}": method_class(name) for name in METHODS}
    found |= {f"readings.{name}": reader_class(name) for name in READERS}
    return {
        f"{place}.{option.name}": option
        for place, one in found.items()
        for option in declared_options(one).values()
    }


BOUNDED = {
    place: option
    for place, option in _declared().items()
    if option.public is not None and option.public != FREE and option.kind is not str
}


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("place", BOUNDED)
def test_what_a_method_takes_by_default_is_allowed_everywhere(place, size):
    option = BOUNDED[place]
    most = option.public.on(size)

    assert option.default is None or option.default <= most
    assert option.maximum is None or most < option.maximum or size == "large"
    assert option.minimum is None or option.minimum <= most


@pytest.mark.parametrize("place", BOUNDED)
def test_no_number_goes_beyond_what_its_option_declares(place):
    kind, name, option = place.split(".")
    most = BOUNDED[place].public.small
    asked = {option: most + 1}

    def check(profile: Profile) -> None:
        if kind == "methods":
            profile.check(Experiment(model=CPU_SPACE.models[0], methods={name: asked}))
        else:
            profile.check_options(reader_class(name), asked, where=f"readings.{name}")

    with pytest.raises(ConfigError) as caught:
        check(CPU_SPACE)

    assert str(caught.value).endswith(f"{option}: {most + 1}; at most {most} here.")
    check(LOCAL)


@pytest.mark.parametrize("place", BOUNDED)
def test_the_page_shows_the_bound_that_counts(place):
    option = BOUNDED[place]

    assert CPU_SPACE.bounded(option).bounds.endswith(f"{option.public.small:,}")
    assert LOCAL.bounded(option) == option


SEARCHES = {
    "for all rows": {"search": {"learning_rates": 7}},
    "of a row by number": {"methods": {"lora": {"learning_rates": 7}}},
    "of a row by list": {"methods": {"lora": {"learning_rates": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}}},
    "that grows": {"search": {"extend": 5}},
}


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_is_no_longer_than_a_shared_server_allows(search):
    asked = {"methods": {"lora": {}}} | SEARCHES[search]

    with pytest.raises(
        ConfigError, match=r"(learning_rates: [67]; at most 5|extend: 5; at most 1) "
    ):
        CPU_SPACE.check(Experiment(model=CPU_SPACE.models[0], reference="lora", **asked))


PLACES_OF_SPACE = {"20": 20_000_000, "0.5": 500_000, "1e3": 1_000_000_000}


@pytest.mark.parametrize("asked", PLACES_OF_SPACE)
def test_whoever_runs_a_server_says_how_much_space_a_visitor_has(asked):
    environment = {"WORKBENCH_PUBLIC": "1", "WORKBENCH_VISITOR_MB": asked}

    assert detect_profile(environment).caps.stored_bytes == PLACES_OF_SPACE[asked]
    assert detect_profile({"WORKBENCH_VISITOR_MB": asked}) is LOCAL


@pytest.mark.parametrize("asked", ["0", "-1", "much", "nan", "1e30"])
def test_a_space_that_is_none_is_refused(asked):
    with pytest.raises(ConfigError, match=r"WORKBENCH_VISITOR_MB: .* such as 200\.$"):
        detect_profile({"WORKBENCH_PUBLIC": "1", "WORKBENCH_VISITOR_MB": asked})
