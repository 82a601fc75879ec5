"""The whole of an experiment: what takes a day or does not fit is refused before it waits."""

import shutil
from dataclasses import replace

import pytest

from specs import spec_of
from visitors import ANNA, visitor
from workbench.errors import ConfigError, StoreError
from workbench.methods.catalog import METHODS, make_method, method_class, resolved_options
from workbench.runs.experiment import Experiment
from workbench.runs.store import RunRecord, RunStore
from workbench.service import jobs
from workbench.service.allowance import check_allowance
from workbench.service.profile import CPU_SPACE, GPU_SPACE, LOCAL, ZERO_GPU
from workbench.ui.train import PRESETS, preset_options, trained_methods

MODEL = CPU_SPACE.models[0]
PUBLIC = (CPU_SPACE, GPU_SPACE, ZERO_GPU)
STORES_MUCH = "full_fine_tuning"


@pytest.fixture
def anna(tmp_path):
    return visitor(tmp_path, ANNA)


def asked(methods, **more):
    return Experiment(model=MODEL, methods=methods, reference=next(iter(methods)), **more)


@pytest.mark.parametrize("profile", PUBLIC, ids=lambda profile: profile.name)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", [name for name in trained_methods() if name != STORES_MUCH])
def test_every_preset_of_every_method_is_allowed(anna, profile, preset, method):
    experiment = asked({method: preset_options(profile, preset)})

    profile.check(experiment)
    check_allowance(anna, profile, experiment)


@pytest.mark.parametrize("profile", PUBLIC, ids=lambda profile: profile.name)
def test_what_a_page_offers_without_training_is_allowed_at_once(anna, profile):
    rows = {
        offer.name: {"method": name, **offer.options}
        for name in METHODS
        for offer in method_class(name).offers
    }

    check_allowance(anna, profile, asked(rows))


def test_numbers_within_their_bounds_may_be_too_much_together(anna):
    rows = {f"row_{n}": {"method": "lora", "steps": 400, "batch_size": 16} for n in range(8)}
    experiment = asked(rows, seeds=(0, 1, 2), search={"learning_rates": 5})
    CPU_SPACE.check(experiment)

    with pytest.raises(ConfigError) as caught:
        check_allowance(anna, CPU_SPACE, experiment)

    assert str(caught.value).startswith("time: what is asked would take about ")
    assert "hours here, row_0 " in str(caught.value)
    assert "a job may take 20 minutes. Ask for fewer rows, seeds" in str(caught.value)


@pytest.mark.parametrize(
    "more", [{"eval_every": 1, "dev_items": 1000}, {"learning_rates": 5}, {"seeds": [0, 1, 2]}]
)
def test_whatever_multiplies_the_work_is_counted(anna, more):
    row = {"method": "lora", "steps": 400, "batch_size": 16}
    check_allowance(anna, CPU_SPACE, asked({"a": row, "b": row}))

    with pytest.raises(ConfigError, match="time: "):
        check_allowance(anna, CPU_SPACE, asked({"a": row | more, "b": row | more}))


def test_long_answers_to_many_items_are_counted(anna):
    rows = {f"row_{n}": {"method": "self_consistency", "k": 16} for n in range(8)}

    with pytest.raises(ConfigError, match="time: "):
        check_allowance(anna, CPU_SPACE, asked(rows, seeds=(0, 1, 2)))


@pytest.mark.parametrize("profile", PUBLIC, ids=lambda profile: profile.name)
def test_what_a_visitor_has_no_room_for_is_refused(anna, profile):
    with pytest.raises(StoreError) as caught:
        check_allowance(anna, profile, asked({"zero_shot": {}, STORES_MUCH: {}}))

    assert str(caught.value) == (
        "space: the runs asked for store about 212 MB, full_fine_tuning 212 MB of it, and 199 of "
        "your 200 MB are left. Ask for fewer runs or for a method that stores less, such as lora, "
        "or delete runs or files under Runs."
    )


def test_what_is_stored_already_counts(anna):
    caps = replace(CPU_SPACE.caps, stored_bytes=4_000_000)
    profile, experiment = replace(CPU_SPACE, caps=caps), asked({"lora": {}})
    check_allowance(anna, profile, experiment)
    anna.folder.mkdir(parents=True)
    (anna.folder / "rows").write_bytes(b"x" * 2_000_000)

    with pytest.raises(StoreError, match="2 of your 4 MB are left"):
        check_allowance(anna, profile, experiment)


def test_each_seed_each_trial_and_each_member_is_stored(anna):
    caps = replace(CPU_SPACE.caps, stored_bytes=8_000_000, minutes=None)
    profile = replace(CPU_SPACE, caps=caps)
    check_allowance(anna, profile, asked({"lora": {"seeds": [0, 1, 2]}}))

    with pytest.raises(StoreError, match="about 13 MB"):
        check_allowance(anna, profile, asked({"lora": {"seeds": [0], "learning_rates": 5}}))


def test_a_run_that_is_there_costs_nothing(anna):
    method = make_method(STORES_MUCH, {})
    spec = spec_of(method=STORES_MUCH, options=resolved_options(method), seed=0)
    with RunStore(anna.folder).working_on(spec):
        RunStore(anna.folder).write_record(
            RunRecord(
                run_id=spec.run_id,
                row=STORES_MUCH,
                status="finished",
                source="made for tests",
                started="2026-01-01T00:00:00",
            )
        )

    check_allowance(anna, CPU_SPACE, asked({STORES_MUCH: {"seeds": [0]}}))

    with pytest.raises(StoreError):
        check_allowance(anna, CPU_SPACE, asked({STORES_MUCH: {"seeds": [1]}}))
    shutil.rmtree(anna.folder)
    with pytest.raises(StoreError):
        check_allowance(anna, CPU_SPACE, asked({STORES_MUCH: {"seeds": [0]}}))


def test_ones_own_machine_takes_anything(anna):
    check_allowance(anna, LOCAL, asked({STORES_MUCH: {"seeds": list(range(10))}}))


def test_a_job_that_is_too_much_is_never_made(anna):
    with pytest.raises(StoreError, match="space: the runs asked for"):
        jobs.submit(anna, CPU_SPACE, asked({STORES_MUCH: {}}), kind="train", title="x")

    assert jobs.list_jobs(anna) == []
