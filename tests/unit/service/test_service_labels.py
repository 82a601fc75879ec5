"""Names and notes that visitors give, through the service layer."""

import pytest

from specs import spec_of
from visitors import ANNA, local_workspace, visitor
from workbench.errors import ConfigError, StoreError
from workbench.runs.labels import Label, run_title, write_label
from workbench.runs.store import RunRecord, RunStore
from workbench.service.labels import (
    label_job,
    label_of_job,
    label_of_run,
    label_run,
    name_of_training,
    name_trained,
    run_labels,
)


def made_in(workspace, seed=0):
    store, spec = RunStore(workspace.folder), spec_of(seed=seed)
    with store.working_on(spec):
        record = RunRecord(
            run_id=spec.run_id, row="zero_shot", status="finished", source="s", started="2026"
        )
        store.write_record(record)
    return spec.run_id


def test_a_visitor_names_her_own_runs(tmp_path):
    anna = visitor(tmp_path, ANNA)
    first, second = made_in(anna), made_in(anna, seed=1)

    assert label_run(anna, first, " best ", "a note") == Label("best", "a note")

    assert run_labels(anna) == {first: Label("best", "a note")}
    assert label_of_run(anna, first).name == "best"
    assert run_title(anna.run(first)).startswith("best · zero_shot · seed 0 · ")
    assert run_title(anna.run(second)).startswith("zero_shot · seed 1 · ")
    with pytest.raises(StoreError, match="is the name of run"):
        label_run(anna, second, "best", "")
    assert label_run(anna, first, "", "") == Label()
    assert run_labels(anna) == {}


def test_nobody_names_what_is_not_theirs(tmp_path):
    anna, home = visitor(tmp_path, ANNA), local_workspace(tmp_path)
    run_id = made_in(home)

    with pytest.raises(StoreError, match="not found among your runs"):
        label_run(anna, run_id, "mine", "")
    with pytest.raises(StoreError, match="not a name of a run"):
        label_run(anna, "../workspace", "mine", "")
    with pytest.raises(StoreError, match="not found among your jobs"):
        label_of_job(anna, "nothing")


@pytest.mark.parametrize(("name", "note"), [(None, ""), ("x", 3), ("x", "y" * 3000), ("<b>", "")])
def test_what_is_no_text_of_a_name_is_refused(tmp_path, name, note):
    anna = visitor(tmp_path, ANNA)
    run_id = made_in(anna)

    with pytest.raises(ConfigError):
        label_run(anna, run_id, name, note)
    assert label_of_run(anna, run_id) == Label()


def test_a_job_has_a_name_too(tmp_path):
    anna = visitor(tmp_path, ANNA)
    (anna.jobs / "job-1").mkdir(parents=True)

    assert label_job(anna, "job-1", "monday", "first try") == Label("monday", "first try")
    assert label_of_job(anna, "job-1").note == "first try"


def test_a_training_takes_no_name_that_a_run_has(tmp_path):
    anna = visitor(tmp_path, ANNA)
    label_run(anna, made_in(anna), "taken", "")

    assert name_of_training(anna, " free ") == "free"
    assert name_of_training(anna, "") == ""
    with pytest.raises(StoreError, match="is the name of run"):
        name_of_training(anna, "taken")
    with pytest.raises(ConfigError):
        name_of_training(anna, 3)


def test_the_run_of_a_training_gets_its_name_and_keeps_its_note(tmp_path):
    anna = visitor(tmp_path, ANNA)
    first, second = made_in(anna), made_in(anna, seed=1)
    label_run(anna, first, "", "a note")
    (anna.jobs / "job-1").mkdir(parents=True)
    write_label(anna.jobs / "job-1", Label("monday"))

    assert name_trained(anna, anna.jobs / "job-1", [first]) == ""
    assert label_of_run(anna, first) == Label("monday", "a note")

    told = name_trained(anna, anna.jobs / "job-1", [second])
    assert told.startswith("the run is finished and has no name: name 'monday': is the name of run")
    assert label_of_run(anna, second) == Label()


def test_a_run_that_a_training_found_keeps_the_name_that_it_has(tmp_path):
    anna = visitor(tmp_path, ANNA)
    run = made_in(anna)
    label_run(anna, run, "best one", "")
    (anna.jobs / "job-1").mkdir(parents=True)
    write_label(anna.jobs / "job-1", Label("monday"))

    told = name_trained(anna, anna.jobs / "job-1", [run])

    assert "keeps the name that it has: best one" in told
    assert label_of_run(anna, run) == Label("best one", "")
