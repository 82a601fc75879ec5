"""Torn files of runs: made again and said so, or named with the way out; never a wrong number."""

import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from damages import DAMAGES, flip
from toys import TOY_TEMPLATE, make_toy_task, open_tiny
from workbench.encoding import PromptEncoder
from workbench.errors import DamagedFile, StoreError
from workbench.methods.catalog import make_method
from workbench.models.engine import Engine
from workbench.progress import ProgressEvent
from workbench.readings.loading import load_weights
from workbench.readings.opening import opened
from workbench.runs.baselines import COPY, MAJORITY, NEAREST
from workbench.runs.execute import RunRequest, execute, execute_baseline, restore
from workbench.runs.experiment import Experiment
from workbench.runs.origin import has_origin, keep_origin
from workbench.runs.run_files import CARD
from workbench.runs.runner import run_experiment
from workbench.runs.session import Session
from workbench.runs.store import RunStore, StoredRun
from workbench.service.publishing import adapter_archive

QUICK = {"steps": 6, "batch_size": 4, "eval_every": 2}
OPTIONS = {
    "zero_shot": {},
    "lora": QUICK,
    "prompt_tuning": QUICK,
    "prompt_ensemble": QUICK | {"members": 2},
    "instruction_search": {"budget": 2},
    "adalora": QUICK | {"init_rank": 4, "target_rank": 2},
}
CONFIG, WEIGHTS = "adapter/adapter_config.json", "adapter/adapter_model.safetensors"
ALWAYS = ("spec.json", "record.json", "predictions.jsonl", ".lock")
FILES = {
    "zero_shot": ("spec.json", "record.json", "predictions.jsonl", ".lock"),
    "lora": (CONFIG, WEIGHTS, "history.jsonl"),
}
OTHERS = {
    "prompt_tuning": (WEIGHTS, "path/0000002.safetensors"),
    "prompt_ensemble": (
        "member_1/history.jsonl",
        "member_1/path/0000004.safetensors",
        "adapter/member_1/adapter_config.json",
        "adapter/member_1/adapter_model.safetensors",
    ),
    "instruction_search": ("search.json", "prompt.txt"),
    "adalora": ("ranks.json", CONFIG),
}
"""Files of a finished run, each with a method that has them."""


@pytest.fixture(scope="module")
def session(tiny_folder) -> Session:
    base = open_tiny(tiny_folder)
    task = make_toy_task(12, 4, 6)
    return Session(Engine(base), PromptEncoder(base.tokenizer, TOY_TEMPLATE, task))


def request_of(method: str, *, is_trial: bool = False) -> RunRequest:
    return RunRequest(method, make_method(method, OPTIONS[method]), 0, is_trial=is_trial)


@pytest.fixture(scope="module")
def whole(session, tmp_path_factory) -> dict[str, StoredRun]:
    """Return a run of each method that nothing happened to."""
    store = RunStore(tmp_path_factory.mktemp("whole"))
    return {name: execute(session, store, request_of(name)) for name in OPTIONS}


def contents(run: StoredRun) -> dict[str, bytes]:
    """Return the files that decide or show numbers, by name; times are in none of them."""
    files = (path for path in run.folder.rglob("*") if path.is_file())
    found = {path.relative_to(run.folder).as_posix(): path for path in files}
    timed = ("record.json", "origin.json", ".lock")
    return {
        name: b"" if name.endswith("history.jsonl") else path.read_bytes()
        for name, path in found.items()
        if name not in timed and "seconds" not in name
    }


def steps_of(run: StoredRun) -> list[dict[str, float]]:
    return [
        {name: value for name, value in entry.items() if name != "seconds"}
        for entry in run.history()
    ]


def assert_same(found: StoredRun, expected: StoredRun) -> None:
    assert found.spec == expected.spec
    assert found.record.status == expected.record.status
    assert found.record.metrics == expected.record.metrics
    assert contents(found) == contents(expected)
    assert steps_of(found) == steps_of(expected)


CASES = [
    *((method, file, damage) for method in FILES for file in FILES[method] for damage in DAMAGES),
    *((method, file, "bit in the middle") for method in OTHERS for file in OTHERS[method]),
]


@pytest.mark.parametrize(("method", "file", "damage"), CASES)
def test_a_torn_finished_run_is_made_again_and_says_so(
    method, file, damage, session, whole, tmp_path
):
    expected = whole[method]
    folder = tmp_path / expected.folder.name
    shutil.copytree(expected.folder, folder)
    DAMAGES[damage](folder / file)
    store, events = RunStore(tmp_path), []

    found = execute(session, store, request_of(method), progress=events.append)

    assert_same(found, expected)
    if file == ".lock":
        assert events == []
        return
    (said,) = {event.note for event in events if event.note}
    assert Path(file).name in said
    assert said in found.record.warnings or file == "spec.json"
    again: list[ProgressEvent] = []
    assert execute(session, store, request_of(method), progress=again.append) == found
    assert again == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_a_run_comes_from_is_written_again(damage, session, tmp_path):
    session, store = replace(session, experiment=Experiment()), RunStore(tmp_path)
    expected = execute(session, store, request_of("zero_shot"))
    path = expected.folder / "origin.json"
    content = path.read_bytes()
    DAMAGES[damage](path)

    assert not has_origin(expected)
    assert execute(session, store, request_of("zero_shot")) == expected
    assert path.read_bytes() == content
    assert has_origin(expected)


@pytest.mark.parametrize("damage", ["missing", "a folder"])
def test_a_model_card_that_is_gone_is_written_again(damage, session, whole, tmp_path):
    expected = whole["lora"]
    folder = tmp_path / expected.folder.name
    shutil.copytree(expected.folder, folder)
    DAMAGES[damage](folder / CARD)
    run, events = RunStore(tmp_path).find(folder.name), []
    with pytest.raises(StoreError, match=r"README.md is not there. .* writes it anew"):
        adapter_archive(run, tmp_path / "zips")

    found = execute(session, RunStore(tmp_path), request_of("lora"), progress=events.append)

    assert events == []
    assert_same(found, expected)


def test_an_edited_model_card_is_kept_and_leaves_as_it_is(session, whole, tmp_path):
    expected = whole["lora"]
    folder = tmp_path / expected.folder.name
    shutil.copytree(expected.folder, folder)
    (folder / CARD).write_text("# Mine")
    events = []

    found = execute(session, RunStore(tmp_path), request_of("lora"), progress=events.append)

    assert events == []
    assert found.damaged() == []
    with zipfile.ZipFile(adapter_archive(found, tmp_path / "zips")) as archive:
        assert archive.read(f"{folder.name}/README.md") == b"# Mine"


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_an_older_trained_run_with_a_torn_adapter_is_made_again(file, session, whole, tmp_path):
    store, events = RunStore(tmp_path), []
    trial = execute(session, store, request_of("lora", is_trial=True))
    record = json.loads((trial.folder / "record.json").read_text())
    del record["digest"], record["files"]
    (trial.folder / "record.json").write_text(json.dumps(record))
    DAMAGES["half"](trial.folder / file)

    found = execute(session, store, request_of("lora"), progress=events.append)

    assert_same(found, whole["lora"])
    (said,) = {event.note for event in events if event.note}
    assert "what it learned cannot be read" in said
    assert said in found.record.warnings


@pytest.mark.parametrize("damage", ["half", "a folder", "missing"])
def test_an_older_run_without_its_answers_is_made_again(damage, session, whole, tmp_path):
    expected = whole["zero_shot"]
    folder = tmp_path / expected.folder.name
    shutil.copytree(expected.folder, folder)
    record = json.loads((folder / "record.json").read_text())
    del record["digest"], record["files"]
    (folder / "record.json").write_text(json.dumps(record))
    store, events = RunStore(tmp_path), []
    assert_same(execute(session, store, request_of("zero_shot"), progress=events.append), expected)
    assert events == []
    DAMAGES[damage](folder / "predictions.jsonl")

    found = execute(session, store, request_of("zero_shot"), progress=events.append)

    assert_same(found, expected)
    assert "predictions.jsonl" in events[0].note


# What is read is never another number


@pytest.mark.parametrize("file", ["record.json", "spec.json", "predictions.jsonl", "history.jsonl"])
def test_no_flipped_bit_is_read_as_another_value(file, whole, tmp_path):
    expected = whole["lora"]
    folder = tmp_path / expected.folder.name
    shutil.copytree(expected.folder, folder)
    content, store = (folder / file).read_bytes(), RunStore(tmp_path)
    figures = expected.record.metrics, expected.record.cost, expected.spec
    noticed, said = 0, set()

    for place in range(0, len(content), 1 + len(content) // 200):
        torn = bytearray(content)
        torn[place] ^= 1 << (place % 7)
        (folder / file).write_bytes(torn)
        try:
            found = store.find(folder.name)
            read = found.predictions(), found.history()
        except DamagedFile as error:
            said.add(str(error).partition(": ")[2].partition(" ")[0])
            noticed += 1
        else:
            assert (found.record.metrics, found.record.cost, found.spec) == figures
            assert read == (expected.predictions(), expected.history())
    assert noticed > 80
    assert said == {file}


def test_a_torn_adapter_is_not_loaded_exported_or_started_from(session, whole, tmp_path):
    expected = whole["lora"]
    folder = tmp_path / expected.folder.name
    shutil.copytree(expected.folder, folder)
    config = folder / "adapter" / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 16.0', '"lora_alpha": 17.0'))
    run = RunStore(tmp_path).find(folder.name)
    named = make_method("imported", {"adapter": str(folder / "adapter")})

    for door in (
        lambda: restore(session, run),
        lambda: load_weights(session, run, "it"),
        lambda: adapter_archive(run, tmp_path / "zips"),
        lambda: session.spec_of(named, 0),
        lambda: opened(folder.name, [], tmp_path),
        lambda: opened(str(folder / "adapter"), [], tmp_path),
    ):
        with pytest.raises(DamagedFile) as caught:
            door()
        assert str(caught.value) == (
            f"run {folder.name}: adapter/adapter_config.json is damaged: it is not what was "
            "written. Make it again with evaluate, or delete it."
        )


# Unfinished runs


class Unwatched:
    """Looks at nothing."""

    def __getattr__(self, name):
        return lambda *_, **__: None


class Killed(BaseException):
    """Ends a run as a kill does: nobody catches it."""


def kill_at(session: Session, root: Path, method: str, *, number: int) -> Path:
    """Run a method until its event of that number; return the folder it leaves."""
    seen = []

    def progress(event: ProgressEvent) -> None:
        seen.append(event)
        if len(seen) == number:
            raise Killed

    with pytest.raises(Killed):
        execute(session, RunStore(root), request_of(method), progress=progress)
    (folder,) = root.iterdir()
    return folder


LAST, BEFORE = "checkpoint.safetensors", "checkpoint_before.safetensors"
FROM_2, ANEW = "the training went on from step 2", "the training began anew"
KILLED = [
    ("lora", 5, (LAST,), FROM_2),
    ("lora", 5, (LAST, BEFORE), ANEW),
    ("lora", 5, (BEFORE,), ""),
    ("lora", 5, ("history.jsonl",), ""),
    ("lora", 5, ("record.json",), "record.json"),
    ("lora", 5, ("spec.json",), "spec.json"),
    ("lora", 5, (".lock",), ""),
    ("lora", 6, ("record.json", LAST), "the training went on from step 4"),
    ("adalora", 5, (LAST,), FROM_2),
    ("prompt_tuning", 5, ("path/0000002.safetensors",), ANEW),
    ("prompt_tuning", 5, ("path/0000004.safetensors",), FROM_2),
    ("prompt_ensemble", 11, (f"member_1/{LAST}",), FROM_2),
    ("prompt_ensemble", 11, ("member_0/history.jsonl",), ""),
    ("prompt_ensemble", 11, (f"member_0/{LAST}", f"member_0/{BEFORE}"), ANEW),
]


@pytest.mark.parametrize("damage", ["bit in the middle", "a folder"])
@pytest.mark.parametrize(("method", "number", "files", "note"), KILLED)
def test_a_killed_and_torn_run_ends_as_an_unbroken_one(
    method, number, files, note, damage, session, whole, tmp_path
):
    folder = kill_at(session, tmp_path, method, number=number)
    for file in files:
        DAMAGES[damage](folder / file)
    events = []

    found = execute(session, RunStore(tmp_path), request_of(method), progress=events.append)

    assert_same(found, whole[method])
    assert list(folder.rglob("checkpoint*")) == []
    said = " ".join(event.note for event in events)
    if not (damage == "a folder" and any("checkpoint" in file for file in files)):  # it is gone
        assert note in said
    assert all(event.note in found.record.warnings for event in events if event.note)


@pytest.mark.parametrize("experiment", [None, Experiment()])
def test_a_kill_before_the_first_record_is_no_damage(experiment, session, whole, tmp_path):
    session, store = replace(session, experiment=experiment), RunStore(tmp_path)
    spec = session.spec_of(request_of("zero_shot").method, 0)
    with store.working_on(spec) as folder:
        if experiment is not None:
            keep_origin(store, spec.run_id, experiment)
        (folder / ".record.json.1.2.writing").write_bytes(b"half")
    events = []

    found = execute(session, store, request_of("zero_shot"), progress=events.append)

    assert not any(event.note for event in events)
    assert found.record.warnings == whole["zero_shot"].record.warnings


def test_a_kill_between_two_checkpoints_is_no_damage(session, whole, tmp_path):
    """Where a checkpoint takes the place of another, the name of the last is free for a moment."""
    folder = kill_at(session, tmp_path, "lora", number=5)
    (folder / LAST).unlink()
    assert (folder / BEFORE).is_file()
    events = []

    found = execute(session, RunStore(tmp_path), request_of("lora"), progress=events.append)

    assert not any(event.note for event in events)
    assert_same(found, whole["lora"])
    assert found.record.warnings == whole["lora"].record.warnings


def test_a_baseline_at_work_is_a_run_in_every_list(session, tmp_path):
    store, seen = RunStore(tmp_path), []

    class Encoder:
        def encode(self, texts):
            (folder,) = tmp_path.iterdir()
            os.utime(folder / "spec.json", (0, 0))  # begun long ago
            seen.append(([run.record.status for run in store.runs()], store.broken()))
            return np.eye(len(texts), 40)

    made = execute_baseline(session, store, NEAREST, Encoder())

    assert seen == [(["running"], [])] * 2
    assert made.record.status == "finished"
    assert execute_baseline(session, store, COPY, Encoder()) is None
    assert store.runs() == [made]


def test_a_baseline_that_cannot_be_written_leaves_the_rows(session, tmp_path):
    store = RunStore(tmp_path)

    with store.working_on(session.spec(MAJORITY, {}, 0)):
        made = run_experiment(session, store, [request_of("zero_shot")], watcher=Unwatched())

    assert [row.row for row in made.rows][-1] == "zero_shot"
    (failed,) = made.failed
    assert failed.row == MAJORITY
    assert "another process is working on it" in failed.reason


def test_a_checkpoint_of_another_run_is_not_gone_on_from(session, whole, tmp_path):
    theirs = kill_at(session, tmp_path / "theirs", "lora", number=5)
    other = RunRequest("lora", make_method("lora", QUICK), 1)
    expected = execute(session, RunStore(tmp_path / "whole"), other)
    mine = tmp_path / "mine" / expected.folder.name
    mine.mkdir(parents=True)
    for name in (LAST, BEFORE):
        (mine / name).write_bytes((theirs / name).read_bytes())
    events = []

    found = execute(session, RunStore(tmp_path / "mine"), other, progress=events.append)

    assert_same(found, expected)
    assert f"{LAST} is of another training" in events[0].note


def test_a_torn_trial_is_made_again(session, tmp_path):
    store, trial = RunStore(tmp_path), request_of("lora", is_trial=True)
    expected = execute(session, store, trial)
    weights = expected.adapter_folder / "adapter_model.safetensors"
    content = weights.read_bytes()
    flip(0.5)(weights)
    events = []

    found = execute(session, store, trial, progress=events.append)

    assert weights.read_bytes() == content
    assert found.record.cost.dev_loss == expected.record.cost.dev_loss
    assert "adapter/adapter_model.safetensors" in events[0].note
    flip(0.5)(weights)
    assert_same(
        execute(session, store, request_of("lora")),
        execute(session, RunStore(tmp_path / "whole"), request_of("lora")),
    )


def test_checkpoints_that_a_kill_left_beside_a_finished_run_are_removed(session, tmp_path):
    store = RunStore(tmp_path)
    run = execute(session, store, request_of("zero_shot"))
    (run.folder / LAST).write_bytes(b"of the training before")

    assert execute(session, store, request_of("zero_shot")) == run
    assert list(run.folder.glob("checkpoint*")) == []


def test_what_a_killed_process_left_half_written_is_removed(session, tmp_path):
    folder = kill_at(session, tmp_path, "lora", number=5)
    scratch = folder / "adapter" / ".adapter_model.safetensors.123.456.writing"
    scratch.parent.mkdir()
    scratch.write_bytes(b"half")

    execute(session, RunStore(tmp_path), request_of("lora"))

    assert list(folder.rglob("*.writing")) == []
