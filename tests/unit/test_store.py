"""The run store: atomic, readable, honest about what it cannot read."""

import json

import pytest

from workbench.errors import StoreError
from workbench.fitting.prediction import Prediction
from workbench.runs.experiment import read_experiment
from workbench.runs.spec import RunSpec
from workbench.runs.store import RunRecord, RunStore


def spec(**changes: object) -> RunSpec:
    content = {
        "base": {"name": "tiny", "identity": "x"},
        "task": {"name": "toy", "digest": "d"},
        "template": {"name": "plain", "version": 1},
        "method": "zero_shot",
        "options": {"calibrate": False},
        "seed": 0,
    }
    return RunSpec(**(content | changes))


def record(run_id: str) -> RunRecord:
    return RunRecord(
        run_id=run_id, row="zero_shot", status="finished", source="made", started="2026-01-01"
    )


def test_the_same_spec_has_the_same_run_and_any_change_another():
    assert spec().run_id == spec().run_id
    others = [
        spec(seed=1),
        spec(options={"calibrate": True}),
        spec(base={"name": "tiny", "identity": "y"}),
        spec(task={"name": "toy", "digest": "e"}),
        spec(template={"name": "plain", "version": 2}),
    ]
    assert len({other.digest for other in others} | {spec().digest}) == 6


def test_a_run_is_read_back_as_it_was_written(tmp_path):
    store, asked = RunStore(tmp_path), spec()
    predictions = [
        Prediction("a", "good", "good", text="line\u2028break \u0085 and\nnew"),
        Prediction("b", "bad", None, reason="no answer in the output"),
    ]
    with store.working_on(asked):
        store.write_predictions(asked.run_id, predictions)
        store.write_record(record(asked.run_id))

    found = store.find(asked.run_id)

    assert found.spec == asked
    assert found.record == record(asked.run_id)
    assert [p["text"] for p in found.predictions()] == ["line\u2028break \u0085 and\nnew", None]
    assert store.runs() == [found]


def test_an_unknown_run_is_none_and_a_path_is_not_followed(tmp_path):
    (tmp_path / "record.json").write_text("{}")

    assert RunStore(tmp_path / "runs").find("missing") is None
    assert RunStore(tmp_path / "runs").find("..") is None


def test_two_processes_on_one_run_are_refused(tmp_path):
    store, asked = RunStore(tmp_path), spec()

    with (
        store.working_on(asked),
        pytest.raises(StoreError, match="another process is working on it"),
        RunStore(tmp_path).working_on(asked),
    ):
        pass


def test_an_unreadable_record_says_what_to_do(tmp_path):
    store, asked = RunStore(tmp_path), spec()
    with store.working_on(asked):
        store.write_record(record(asked.run_id))
    (tmp_path / asked.run_id / "record.json").write_text('{"run_id": 3')

    with pytest.raises(StoreError, match="Delete the folder to run it again"):
        store.find(asked.run_id)


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError) as caught, RunStore(tmp_path / "file").working_on(spec()):
        pass

    assert "cannot be written" in str(caught.value)
    assert "--out" in str(caught.value)


def test_deleting_removes_the_folder_and_an_unknown_id_is_refused(tmp_path):
    store, asked = RunStore(tmp_path), spec()
    with store.working_on(asked):
        store.write_record(record(asked.run_id))

    store.delete(asked.run_id)

    assert not (tmp_path / asked.run_id).exists()
    with pytest.raises(StoreError, match="not found"):
        store.delete(asked.run_id)


def test_settings_and_options_change_an_experiment(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text("task: sst2\nmethods: [zero_shot, lora]\nseeds: [3]\n")

    experiment = read_experiment(
        path,
        ["methods.lora.rank=16", "task.limit_test=5"],
        {"precision": "fp32", "model": None, "task.train": None},
    )

    assert experiment.methods == {"zero_shot": {}, "lora": {"rank": 16}}
    assert experiment.task.name == "sst2"
    assert experiment.task.limit_test == 5
    assert experiment.precision == "fp32"
    assert experiment.seeds == (3,)


def test_one_method_can_have_several_rows():
    experiment = read_experiment(None, ["methods={eight: {method: few_shot, k: 8}}"])

    assert experiment.method_of("eight") == ("few_shot", {"k": 8})


def test_records_hold_no_nan_as_json_would_not(tmp_path):
    store, asked = RunStore(tmp_path), spec()
    with store.working_on(asked) as folder:
        store.write_record(record(asked.run_id))

    assert json.loads((folder / "record.json").read_text())["metrics"] == {}
