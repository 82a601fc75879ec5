"""The run store: atomic, readable, honest about what it cannot read."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from pydantic import ValidationError

from specs import BASE, TASK, TEMPLATE, spec_of
from workbench.errors import ConfigError, StoreError
from workbench.fitting.prediction import Prediction
from workbench.runs.experiment import EXPERIMENT_FILE, read_experiment, store_experiment
from workbench.runs.folder_lock import alone_in
from workbench.runs.run_cost import RunCost
from workbench.runs.spec import RunSpec
from workbench.runs.store import RunRecord, RunStore, check_adapter


def test_a_digest_is_the_hash_of_the_plain_json():
    """Runs are found by it, so types in the code must not change it."""
    plain = {
        "schema_version": 3,
        "base": BASE,
        "task": TASK,
        "template": TEMPLATE | {"chat": True},
        "method": "lora",
        "options": {"rank": 8, "learning_rate": 1e-30, "targets": "ü\u2028中", "steps": None},
        "seed": 3,
    }
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False)

    found = RunSpec(**plain)

    assert found.model_dump(mode="json") == plain
    assert found.digest == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert found.run_id == f"toy_task_lora_s3_{found.digest}"


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("task", TASK | {"num_train": "20"}, "task.num_train: Input should be a valid integer"),
        ("template", TEMPLATE | {"chat": 0}, "template.chat: Input should be a valid boolean"),
        ("base", BASE | {"dtype": "x"}, "base.dtype: Extra inputs are not permitted"),
        ("task", {"name": "toy_task"}, "task.digest: Field required"),
    ],
)
def test_a_part_of_a_spec_is_never_turned_into_another(tmp_path, part, content, message):
    store, asked = RunStore(tmp_path), spec_of()
    with store.working_on(asked) as folder:
        store.write_record(record(asked.run_id))
    stored = asked.model_dump(mode="json") | {part: content}
    (folder / "spec.json").write_text(json.dumps(stored))

    with pytest.raises(StoreError) as caught:
        store.find(asked.run_id)

    assert str(caught.value) == (
        f"run {asked.run_id}: spec.json cannot be read ({message}). Make it again with evaluate, "
        "or delete it."
    )


def test_a_record_holds_the_costs_it_was_given_and_no_others(tmp_path):
    store, asked = RunStore(tmp_path), spec_of()
    cost = {"trained_parameters": 4, "dev_loss": None, "watt_hours": 1.5}
    with store.working_on(asked) as folder:
        store.write_record(record(asked.run_id).model_copy(update={"cost": RunCost(**cost)}))

    found = store.find(asked.run_id).record.cost

    assert json.loads((folder / "record.json").read_text())["cost"] == cost
    assert found.figures == cost
    assert (found.trained_parameters, found.train_seconds) == (4, None)
    with pytest.raises(ValidationError, match="watt_hours"):
        RunCost(watt_hours="many")


def record(run_id: str) -> RunRecord:
    return RunRecord(
        run_id=run_id, row="zero_shot", status="finished", source="made", started="2026-01-01"
    )


def test_the_same_spec_has_the_same_run_and_any_change_another():
    assert spec_of().run_id == spec_of().run_id
    others = [
        spec_of(seed=1),
        spec_of(options={"calibrate": True}),
        spec_of(base={"identity": "y"}),
        spec_of(task={"digest": "e"}),
        spec_of(template={"version": 2}),
    ]
    assert len({other.digest for other in others} | {spec_of().digest}) == 6


def test_a_run_is_read_back_as_it_was_written(tmp_path):
    store, asked = RunStore(tmp_path), spec_of()
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
    store, asked = RunStore(tmp_path), spec_of()

    with (
        store.working_on(asked),
        pytest.raises(StoreError, match="another process is working on it"),
        RunStore(tmp_path).working_on(asked),
    ):
        pass


def test_a_folder_in_the_place_of_the_lock_lets_nobody_in_twice(tmp_path):
    (tmp_path / ".experiment.lock").mkdir()
    (tmp_path / ".experiment.lock" / "kept").write_text("x")

    with (
        alone_in(tmp_path),
        pytest.raises(StoreError, match="another process is working in it"),
        alone_in(tmp_path),
    ):
        pass

    assert [path.read_text() for path in tmp_path.rglob("kept")] == ["x"]


@pytest.mark.parametrize(
    ("number", "is_writable", "said"),
    [
        (errno.EROFS, True, ""),
        (errno.EACCES, False, ""),
        (errno.EACCES, True, "cannot be written. Permission denied"),
        (errno.ENOSPC, True, "cannot be written. No space is left there"),
    ],
)
def test_only_where_nothing_can_be_written_nothing_is_held(
    number, is_writable, said, tmp_path, monkeypatch
):
    def refuse(lock: FileLock) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    monkeypatch.setattr(os, "access", lambda *_: is_writable)
    found = ""

    try:
        with alone_in(tmp_path):
            pass
    except StoreError as error:
        found = str(error)

    assert (said in found) if said else found == ""


def test_a_lock_that_leads_nowhere_is_made_anew(tmp_path):
    folder = RunStore(tmp_path).folder(spec_of())
    folder.mkdir()
    (folder / ".lock").symlink_to(tmp_path / "nowhere")

    with RunStore(tmp_path).working_on(spec_of()):
        assert not (folder / ".lock").is_symlink()


def test_links_that_lead_nowhere_in_the_place_of_folders_are_removed(tmp_path):
    folder = RunStore(tmp_path).folder(spec_of())
    folder.mkdir()
    for name in ("adapter", "path", "member_0"):
        (folder / name).symlink_to(tmp_path / "nowhere")

    with RunStore(tmp_path).working_on(spec_of()):
        for name in ("adapter", "path", "member_0"):
            (folder / name).mkdir()


def test_a_name_that_no_folder_can_have_is_no_run(tmp_path):
    assert RunStore(tmp_path).look("x" * 300) is None
    assert RunStore(tmp_path).look("x\0") is None


@pytest.fixture
def locked() -> Iterator[Path]:
    """Return a folder of runs with one that nobody may look into, as a user whom that stops."""
    with tempfile.TemporaryDirectory() as name:
        root, user = Path(name), os.geteuid()
        root.chmod(0o777)
        (root / "lost+found").mkdir(mode=0)
        try:
            if user == 0:
                os.seteuid(65534)  # what is forbidden is not forbidden to root
            yield root
        finally:
            os.seteuid(user)
            (root / "lost+found").chmod(0o700)


def test_a_folder_that_nobody_may_look_into_is_no_run(locked):
    store, asked = RunStore(locked), spec_of()
    with store.working_on(asked):
        store.write_record(record(asked.run_id))

    assert [run.record.run_id for run in store.runs()] == [asked.run_id]
    assert store.broken() == []
    assert store.look("lost+found") is None
    check_adapter(locked / "lost+found" / "adapter")


def test_what_is_shared_or_edited_in_a_run_is_no_damage(tmp_path):
    """A link is taken back, and a card is for the Hub."""
    store, asked = RunStore(tmp_path), spec_of()
    with store.working_on(asked) as folder:
        (folder / "adapter").mkdir()
        for name in ("link-key", "adapter/README.md", "adapter/w.txt"):
            (folder / name).write_text("x")
        store.write_predictions(asked.run_id, [])
        store.write_record(record(asked.run_id))
    found = store.find(asked.run_id)
    assert set(found.files) == {"spec.json", "predictions.jsonl", "adapter/w.txt"}


def test_an_unreadable_record_says_what_to_do(tmp_path):
    store, asked = RunStore(tmp_path), spec_of()
    with store.working_on(asked):
        store.write_record(record(asked.run_id))
    (tmp_path / asked.run_id / "record.json").write_text('{"run_id": 3')

    with pytest.raises(StoreError, match="Make it again with evaluate, or delete it"):
        store.find(asked.run_id)


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError) as caught, RunStore(tmp_path / "file").working_on(spec_of()):
        pass

    assert "cannot be written" in str(caught.value)
    assert "--out" in str(caught.value)


def test_deleting_removes_the_folder_and_an_unknown_id_is_refused(tmp_path):
    store, asked = RunStore(tmp_path), spec_of()
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


@pytest.mark.parametrize("name", ["experiment.json", "mine.json"])
def test_a_kept_experiment_can_be_asked_for_again(tmp_path, name):
    asked = read_experiment(None, ["methods.lora.learning_rate=1e-5", "template=café"])
    store_experiment(tmp_path, asked)
    path = (tmp_path / EXPERIMENT_FILE).rename(tmp_path / name)

    assert read_experiment(path) == asked
    assert read_experiment(path, ["seeds=[4]"]).seeds == (4,)
    path.write_text(path.read_text().replace("café", "cave"))
    with pytest.raises(ConfigError) as caught:
        read_experiment(path)
    assert str(caught.value) == (
        f"{path}: is damaged or was edited: its digest does not fit. If it says what you mean, "
        "take the line with the digest out."
    )


def test_one_method_can_have_several_rows():
    experiment = read_experiment(None, ["methods={eight: {method: few_shot, k: 8}}"])

    assert experiment.method_of("eight") == ("few_shot", {"k": 8})


def test_records_hold_no_nan_as_json_would_not(tmp_path):
    store, asked = RunStore(tmp_path), spec_of()
    with store.working_on(asked) as folder:
        store.write_record(record(asked.run_id))

    assert json.loads((folder / "record.json").read_text())["metrics"] == {}
