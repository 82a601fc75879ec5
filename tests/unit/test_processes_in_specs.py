"""How many processes share a training: part of the spec of what is trained, and of nothing else."""

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from specs import spec_of
from workbench.methods.catalog import make_method
from workbench.runs.experiment import Experiment
from workbench.runs.runner import requests_of
from workbench.runs.session import Session
from workbench.runs.spec import RunSpec
from workbench.training.parts import part_seed
from workbench.training.ranks import Ranks


def test_the_spec_of_one_process_is_what_it_was_before_there_were_several():
    spec = spec_of("lora", options={"rank": 8}, seed=3)

    assert "processes" not in spec.model_dump(mode="json")
    assert RunSpec(**json.loads(spec.model_dump_json())) == spec
    assert spec.digest == "412ee3f5a2af"  # by the code before


def test_another_number_of_processes_is_another_run():
    one = spec_of("lora")
    two = one.model_copy(update={"processes": 2})

    assert two.model_dump(mode="json")["processes"] == 2
    assert len({one.digest, two.digest, two.model_copy(update={"processes": 3}).digest}) == 3
    assert RunSpec(**json.loads(two.model_dump_json())) == two


def test_no_process_at_all_is_no_spec():
    with pytest.raises(ValidationError):
        RunSpec(**spec_of("lora").model_dump(), processes=0)


def test_what_trains_nothing_is_the_same_run_on_any_number_of_processes(tiny_engine, toy_encoder):
    alone = Session(tiny_engine, toy_encoder)
    shared = replace(alone, ranks=Ranks(4))

    for name in ("zero_shot", "few_shot", "instruction_search"):
        method = make_method(name, {})
        assert shared.spec_of(method, 0).digest == alone.spec_of(method, 0).digest
    trained = make_method("lora", {})
    assert shared.spec_of(trained, 0).processes == 4
    assert shared.spec_of(trained, 0).digest != alone.spec_of(trained, 0).digest


def test_an_experiment_keeps_its_processes_and_has_one_unless_it_says_so():
    assert Experiment().processes == 1
    asked = Experiment(processes="2", methods={"lora": {}, "zero_shot": {}}, reference="lora")

    assert Experiment(**json.loads(asked.model_dump_json())).processes == 2
    assert len(requests_of(asked)) == 2


def test_each_part_of_each_step_draws_from_a_seed_of_its_own():
    seeds = {
        part_seed(seed, step, part) for seed in range(4) for step in range(20) for part in range(8)
    }

    assert len(seeds) == 4 * 20 * 8
    assert all(0 <= one < 2**63 for one in seeds)
