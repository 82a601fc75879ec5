"""Many processes and one store: each run is made once, and a kill anywhere costs no result."""

import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from stores.workers import (
    METHODS,
    ended,
    execute_when_free,
    request_of,
    session_of,
    started,
    store_of,
)
from workbench.progress import ProgressEvent
from workbench.runs.execute import execute
from workbench.runs.session import Session
from workbench.runs.spec import RunSpec
from workbench.runs.store import RunStore, StoredRun


@pytest.fixture(scope="module")
def session(tiny_folder) -> Session:
    return session_of(tiny_folder)


@pytest.fixture(scope="module")
def whole(session, tmp_path_factory) -> dict[str, StoredRun]:
    """Return the runs as one process makes them in a folder of its own."""
    store = RunStore(tmp_path_factory.mktemp("whole"))
    return {method: execute(session, store, request_of(method)) for method in METHODS}


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path) -> str:
    """Return a place of each kind that machines share."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/runs"
    return str(tmp_path / "shared")


def results(run: StoredRun) -> dict[str, object]:
    """Return what a run came to, to the last bit; times are left out."""
    adapter = (
        sorted(run.adapter_folder.rglob("*.safetensors")) if run.adapter_folder.is_dir() else []
    )
    steps = [{k: v for k, v in step.items() if k != "seconds"} for step in run.history()]
    return {
        "status": run.record.status,
        "metrics": run.record.metrics,
        "predictions": run.predictions(),
        "history": steps,
        "adapter": [path.read_bytes() for path in adapter],
    }


def test_two_drivers_at_once_make_each_run_once(place, tiny_folder, session, whole, tmp_path):
    locals_ = [tmp_path / "one", tmp_path / "two"]
    drivers = [
        started(tiny_folder, place, local, machine=local.name, methods=order)
        for local, order in zip(locals_, (list(METHODS), list(METHODS)[::-1]), strict=True)
    ]
    assert [ended(driver) for driver in drivers] == [0, 0]

    made = [(local / "made.txt").read_text().split() for local in locals_]
    assert sorted(made[0] + made[1]) == sorted(METHODS)
    events: list[ProgressEvent] = []
    third = store_of(place, tmp_path / "three")
    for method, expected in whole.items():
        found = execute(session, third, request_of(method), progress=events.append)
        assert results(found) == results(expected)
    assert events == []


def test_what_another_ended_while_one_waited_is_found_and_not_made_again(
    session, tmp_path, monkeypatch
):
    """Between the look at a run and holding it, somebody else may have held it."""
    working_on = RunStore.working_on
    others: list[StoredRun] = []

    def after_another(self: RunStore, spec: RunSpec) -> AbstractContextManager[Path]:
        monkeypatch.setattr(RunStore, "working_on", working_on)
        others.append(execute(session, RunStore(tmp_path), request_of("lora")))
        return working_on(self, spec)

    monkeypatch.setattr(RunStore, "working_on", after_another)
    events: list[ProgressEvent] = []
    found = execute(session, RunStore(tmp_path), request_of("lora"), progress=events.append)

    assert [found] == others
    assert events == []


def left_elsewhere(tmp_path: Path, tiny_folder: Path, place: str, **options: object) -> None:
    """Have a process of another machine make a run and be killed; its disk is lost with it."""
    local = tmp_path / "lost"
    child = started(tiny_folder, place, local, methods=["lora"], **options)
    assert ended(child) == -9
    shutil.rmtree(local)


@pytest.mark.parametrize("machine", ["this", "another"])
def test_a_training_goes_on_where_a_killed_one_was(
    machine, place, tiny_folder, session, whole, tmp_path
):
    named = {} if machine == "this" else {"machine": machine}
    left_elsewhere(tmp_path, tiny_folder, place, kill="training", **named)
    events: list[ProgressEvent] = []

    found = execute_when_free(
        session, store_of(place, tmp_path / "new"), request_of("lora"), progress=events.append
    )

    assert results(found) == results(whole["lora"])
    steps = [event.done for event in events if event.stage == "train"]
    assert steps[0] >= 3  # there is a checkpoint of step 2, if not of 4
    assert [event.note for event in events if event.note] == []


def test_a_kill_between_the_adapter_and_the_record_costs_no_result(
    place, tiny_folder, session, whole, tmp_path
):
    left_elsewhere(tmp_path, tiny_folder, place, kill="adapter")
    store = store_of(place, tmp_path / "new")
    before = store.find(whole["lora"].record.run_id)

    found = execute_when_free(session, store, request_of("lora"))

    assert before is None or before.record.status == "running"
    assert results(found) == results(whole["lora"])


@pytest.mark.parametrize("write", [1, 3, 5, 99])
def test_a_kill_in_the_middle_of_the_last_upload_costs_no_result(
    write, bucket, tiny_folder, session, whole, tmp_path
):
    place = f"{bucket}/runs"
    left_elsewhere(tmp_path, tiny_folder, place, kill=write)
    store = store_of(place, tmp_path / "new")
    is_there = store.address.read(f"{whole['lora'].record.run_id}/record.json") is not None

    found = execute_when_free(session, store, request_of("lora"))

    assert is_there == (write == 99)
    assert results(found) == results(whole["lora"])
    assert found.damaged() == []
    listed = json.loads(store.address.read(f"{found.record.run_id}/files.json"))["files"]
    contents = store.address.names(f"{found.record.run_id}/files")
    assert set(contents) == set(listed.values()) or write == 99
