"""Inspecting: what a visitor's runs learned, read once, kept, and left when asked."""

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from torn import DAMAGES
from visitors import keep_rows, local_workspace, tiny_experiment
from workbench.errors import ConfigError
from workbench.presentation.reading import Reading
from workbench.progress import Interrupted, ProgressEvent
from workbench.readings import clusters
from workbench.readings.catalog import readers_of
from workbench.readings.inspector import (
    INSTRUCTION,
    RANDOM,
    Inspector,
    controls,
    learned_adapters,
    learned_runs,
)
from workbench.runs.experiment import Experiment
from workbench.runs.store import RunStore, StoredRun
from workbench.service import jobs
from workbench.service.profile import Profile
from workbench.service.worker import work
from workbench.service.workspace import Workspace
from workbench.serving.desk import ModelDesk

METHODS = {
    "prompt_tuning": {"steps": 4, "eval_every": 2, "seeds": [0, 1]},
    "lora": {"steps": 2, "eval_every": 2},
    "zero_shot": {},
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return local_workspace(tmp_path_factory.mktemp("inspect") / "root")


@pytest.fixture(scope="module")
def experiment(workspace, tiny_folder, tmp_path_factory) -> Experiment:
    """Return an experiment whose runs are finished."""
    key = keep_rows(workspace, tmp_path_factory.mktemp("rows"))
    asked = tiny_experiment(workspace, tiny_folder, key, METHODS)
    job = jobs.submit(workspace, Profile("tests"), asked, kind="evaluate", title="inspect")
    assert work(job.folder, workspace.store).state == "finished"
    return asked


@pytest.fixture(scope="module")
def desk():
    desk = ModelDesk()
    yield desk
    desk.close()


@pytest.fixture
def inspector(desk) -> Inspector:
    return Inspector(desk, num_items=4)


def runs_of(workspace: Workspace) -> list[StoredRun]:
    return workspace.runs()


def learned(workspace: Workspace):
    runs = runs_of(workspace)
    (base,) = {run.spec.base for run in runs}
    return learned_runs(runs, base)


def test_only_finished_runs_that_learned_something_can_be_read(workspace, experiment):
    found = learned(workspace)

    kinds = sorted((one.run.spec.method, one.kind) for one in found)
    assert kinds == [
        ("lora", "weights"), ("prompt_tuning", "vectors"), ("prompt_tuning", "vectors"),
    ]  # fmt: skip
    assert all(one.key == f"run:{one.run.record.run_id}" for one in found)
    other_base = found[0].run.spec.base.model_copy(update={"identity": "x"})
    assert learned_runs(runs_of(workspace), other_base) == []


def test_a_prompt_comes_with_its_start_and_path(workspace, experiment, inspector):
    one, other = (found for found in learned(workspace) if found.kind == "vectors")

    subject = inspector.subject(experiment, one, [other])

    assert [step for step, _ in subject.prompt.path] == [0, 2, 4]
    np.testing.assert_array_equal(subject.prompt.start, subject.prompt.path[0][1])
    best = [vectors for _, vectors in subject.prompt.path]
    assert any(np.array_equal(subject.prompt.vectors, vectors) for vectors in best)
    assert [prompt.name for prompt in subject.others] == [other.title]


def test_the_start_is_found_again_without_a_path(workspace, experiment, inspector, tmp_path):
    import shutil

    (one, *_) = (found for found in learned(workspace) if found.kind == "vectors")
    shutil.copytree(one.run.folder, tmp_path / one.run.record.run_id)
    shutil.rmtree(tmp_path / one.run.record.run_id / "path")
    RunStore(tmp_path).write_record(one.run.record)  # as of a run that kept none
    copied = RunStore(tmp_path).find(one.run.record.run_id)
    (bare,) = learned_runs([copied], copied.spec.base)

    found = inspector.subject(experiment, bare).prompt

    assert found.path == ()
    np.testing.assert_allclose(found.start, inspector.subject(experiment, one).prompt.start)


def test_a_reading_is_made_once_and_found_again(workspace, experiment, inspector, tmp_path):
    (one, *_) = (found for found in learned(workspace) if found.kind == "vectors")
    subject = inspector.subject(experiment, one)

    first = list(inspector.stream(subject, "truncation", {}, folder=tmp_path))
    again = list(inspector.stream(subject, "truncation", {}, folder=tmp_path))

    assert isinstance(first[-1], Reading)
    assert all(isinstance(step, ProgressEvent) for step in first[:-1])
    assert len(first) > 2
    assert again == first[-1:]
    assert len(list(tmp_path.glob("truncation-*.json"))) == 1


def test_anything_that_decides_a_reading_makes_another(workspace, experiment, desk, tmp_path):
    one, other = (found for found in learned(workspace) if found.kind == "vectors")
    inspector = Inspector(desk, num_items=4)
    subjects = [
        (inspector.subject(experiment, one), {}),
        (inspector.subject(experiment, other), {}),
        (inspector.subject(experiment, one, [other]), {}),
        (inspector.subject(experiment, one), {"k": 3}),
        (Inspector(desk, num_items=3).subject(experiment, one), {}),
    ]

    for subject, options in subjects:
        inspector.read(subject, "nearest", options, folder=tmp_path)

    assert len(list(tmp_path.glob("*.json"))) == len(subjects)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_reading_is_made_again(
    damage, workspace, experiment, inspector, tmp_path, caplog
):
    """Also one whose figures still are figures: a flipped bit makes another digit of a digit."""
    (one, *_) = (found for found in learned(workspace) if found.kind == "vectors")
    subject = inspector.subject(experiment, one)
    first = inspector.read(subject, "nearest", {}, folder=tmp_path)
    (file,) = tmp_path.glob("*.json")
    whole = file.read_bytes()
    DAMAGES[damage](file)

    assert inspector.read(subject, "nearest", {}, folder=tmp_path) == first
    assert file.read_bytes() == whole
    assert not file.is_symlink()
    said = sum("made again" in message for message in caplog.messages)
    assert said == (0 if damage == "missing" else 1)


def test_every_digit_of_a_kept_reading_counts(workspace, experiment, inspector, tmp_path):
    (one, *_) = (found for found in learned(workspace) if found.kind == "vectors")
    subject = inspector.subject(experiment, one)
    first = inspector.read(subject, "nearest", {}, folder=tmp_path)
    (file,) = tmp_path.glob("*.json")
    text = file.read_text()
    digits = [place for place, letter in enumerate(text) if letter in "02468"]
    for place in digits[:: len(digits) // 6]:
        file.write_text(f"{text[:place]}{int(text[place]) + 1}{text[place + 1 :]}")

        assert inspector.read(subject, "nearest", {}, folder=tmp_path) == first


def test_a_reading_under_another_one_s_name_is_not_that_one(
    workspace, experiment, inspector, tmp_path
):
    one, other = (found for found in learned(workspace) if found.kind == "vectors")
    made = [inspector.subject(experiment, found) for found in (one, other)]
    first, second = (inspector.read(s, "nearest", {}, folder=tmp_path) for s in made)
    (file, another) = sorted(tmp_path.glob("*.json"))
    shutil.copy(file, another)

    again = [inspector.read(subject, "nearest", {}, folder=tmp_path) for subject in made]

    assert again == [first, second]
    assert first != second


def test_what_killed_processes_left_beside_readings_is_cleared(
    workspace, experiment, inspector, tmp_path
):
    (one, *_) = (found for found in learned(workspace) if found.kind == "vectors")
    old, new = tmp_path / ".nearest-0a.json.1.2.writing", tmp_path / ".nearest-0b.json.1.2.writing"
    for left in (old, new):
        left.write_text("half")
    os.utime(old, (0, 0))

    inspector.read(inspector.subject(experiment, one), "nearest", {}, folder=tmp_path)

    assert (old.exists(), new.exists()) == (False, True)


def test_leaving_a_reading_ends_it_and_frees_the_model(workspace, experiment, inspector, tmp_path):
    (one, *_) = (found for found in learned(workspace) if found.kind == "vectors")
    subject = inspector.subject(experiment, one)

    steps = inspector.stream(subject, "ablation", {}, folder=tmp_path)
    assert isinstance(next(steps), ProgressEvent)
    steps.close()

    free = threading.Event()
    threading.Thread(target=lambda: inspector.subject(experiment, one) and free.set()).start()
    assert free.wait(20)
    assert list(tmp_path.glob("*.json")) == []


def test_closing_ends_a_reading_that_nobody_left(workspace, experiment, inspector, tmp_path):
    (one, *_) = (found for found in learned(workspace) if found.kind == "vectors")
    steps = inspector.stream(inspector.subject(experiment, one), "ablation", {}, folder=tmp_path)
    next(steps)

    inspector.close()

    with pytest.raises(Interrupted):
        list(steps)
    assert list(tmp_path.glob("*.json")) == []


def test_an_error_of_a_reading_reaches_who_asked(workspace, experiment, inspector, tmp_path):
    (one, *_) = (found for found in learned(workspace) if found.kind == "vectors")
    subject = inspector.subject(experiment, one)

    with pytest.raises(ConfigError, match=r"unknown reading 'nearst'\. Did you mean 'nearest'"):
        inspector.read(subject, "nearst", {}, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"readings\.nearest\.k: 1 is out of bounds"):
        inspector.read(subject, "nearest", {"k": 1}, folder=tmp_path)
    with pytest.raises(ConfigError, match="reads weights, and vectors are given"):
        inspector.read(subject, "weights", {}, folder=tmp_path)


def test_weights_are_read_beside_weights(workspace, experiment, inspector, tmp_path):
    found = learned(workspace)
    (change,) = (one for one in found if one.kind == "weights")
    prompts = [one for one in found if one.kind == "vectors"]

    subject = inspector.subject(experiment, change, [*prompts, change])
    reading = inspector.read(subject, "weights", {}, folder=tmp_path)

    assert subject.prompt is None
    assert len(subject.other_weights) == 1
    assert reading.tables


def test_the_controls_are_the_instruction_and_random_vectors_of_its_norms(experiment, inspector):
    by_key = {one.key: inspector.subject(experiment, one) for one in controls()}

    subject = by_key[INSTRUCTION]
    table, ids = subject.vocabulary.embeddings, list(subject.instruction_ids)
    np.testing.assert_array_equal(subject.prompt.vectors, table[ids])
    random = by_key[RANDOM].prompt.vectors
    np.testing.assert_allclose(
        np.linalg.norm(random, axis=1), np.linalg.norm(table[ids], axis=1), rtol=1e-5
    )
    cosines = np.sum(random * table[ids], axis=1) / np.linalg.norm(table[ids], axis=1) ** 2
    assert abs(cosines).max() < 0.6


def test_adapters_from_elsewhere_are_read_too(experiment, inspector, tiny_folder, tmp_path):
    from toys import export_prompt

    folder = export_prompt(tiny_folder, tmp_path / "theirs")
    (found,) = learned_adapters({"import:x": ("theirs", folder)})

    subject = inspector.subject(experiment, found)

    assert found.kind == "vectors"
    assert subject.prompt.vectors.shape == (5, 64)
    assert subject.prompt.start is None


def test_a_run_on_other_weights_is_refused(workspace, experiment, inspector):
    (one, *_) = (found for found in learned(workspace) if found.kind == "vectors")
    base = one.run.spec.base.model_copy(update={"identity": "something else"})
    spec = one.run.spec.model_copy(update={"base": base})

    with pytest.raises(ConfigError, match="A soft prompt means nothing on another base"):
        inspector.subject(experiment, replace(one, run=replace(one.run, spec=spec)))


def test_a_stopped_reading_says_so(workspace, experiment, inspector, tmp_path, monkeypatch):
    (one, *_) = (found for found in learned(workspace) if found.kind == "vectors")
    subject = inspector.subject(experiment, one)
    monkeypatch.setattr(Inspector, "stream", lambda *a, **k: iter(()))

    with pytest.raises(Interrupted, match="reading 'nearest' stopped"):
        inspector.read(subject, "nearest", {}, folder=tmp_path)


def test_equal_weights_of_another_base_are_read_with_its_name(
    experiment, inspector, lora_export, tmp_path
):
    cautions = []
    for base in ("acme/base-one", "acme/base-two"):
        theirs = tmp_path / base
        shutil.copytree(lora_export, theirs)
        config = json.loads((theirs / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = base
        (theirs / "adapter_config.json").write_text(json.dumps(config))
        (found,) = learned_adapters({"import:x": ("theirs", theirs)})
        subject = inspector.subject(experiment, found)
        reading = inspector.read(subject, "weights", {}, folder=tmp_path / "readings")
        cautions.append(reading.notes[0])

    assert ["acme/base-one" in caution for caution in cautions] == [True, False]
    assert ["acme/base-two" in caution for caution in cautions] == [False, True]


def test_readings_lie_where_they_are_asked_for(workspace, experiment, inspector, tmp_path):
    (one, *_) = (found for found in learned(workspace) if found.kind == "vectors")
    folder: Path = tmp_path / "new" / "place"

    inspector.read(inspector.subject(experiment, one), "nearest", {}, folder=folder)

    assert [path.name.split("-")[0] for path in folder.iterdir()] == ["nearest"]


@pytest.mark.parametrize(
    "config", ["", "{", "[]", "{}", '{"peft_type": "IA3"}', '{"peft_type": ["LORA"]}']
)
def test_one_adapter_that_cannot_be_opened_does_not_hide_the_others(config, tiny_folder, tmp_path):
    from toys import export_prompt

    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "adapter_config.json").write_text(config)
    whole = export_prompt(tiny_folder, tmp_path / "whole")

    found = learned_adapters({"import:b": ("b", broken), "import:w": ("w", whole)})

    assert [(one.key, one.kind) for one in found] == [("import:w", "vectors")]


@pytest.mark.parametrize("name", readers_of("vectors"))
def test_every_reading_can_be_made_as_the_page_makes_it(
    name, workspace, experiment, inspector, tmp_path, monkeypatch
):
    monkeypatch.setattr(clusters, "find_sentence_encoder", lambda: None)
    one, other = (found for found in learned(workspace) if found.kind == "vectors")
    subject = inspector.subject(experiment, one, [other])
    quick = {"map": {"method": "pca"}, "interpolation": {"points": 3}}

    found = inspector.read(subject, name, quick.get(name, {}), folder=tmp_path)

    assert found.name == name
