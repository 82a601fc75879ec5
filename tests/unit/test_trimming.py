"""What a run leaves on the disk: on a shared server no more than something shows."""

import json
from dataclasses import dataclass

import pytest

from visitors import ANNA, keep_rows, local_workspace, store_run, tiny_experiment, visitor
from workbench.comparing import run_comparison
from workbench.errors import RoomError
from workbench.room import Room, bound_room
from workbench.runs.checks import check_experiment
from workbench.runs.execute import find_run
from workbench.runs.runner import requests_of
from workbench.runs.session import open_session
from workbench.runs.store import RunStore
from workbench.runs.trimming import clear_for_others, trim_finished
from workbench.service.workspace import VISITORS

QUICK = {"steps": 2, "batch_size": 2, "eval_every": 1}


class Unwatched:
    """Looks at nothing."""

    def __getattr__(self, name):
        return lambda *_, **__: None


@dataclass
class Place:
    workspace: object
    folder: object
    tiny: object
    scratch: object

    def run(self, methods, **more):
        task = keep_rows(self.workspace, self.scratch)
        experiment = tiny_experiment(self.workspace, self.tiny, task, methods, **more)
        session = open_session(experiment, check_experiment(experiment).task)
        made = run_comparison(
            session,
            experiment,
            store=self.workspace.store,
            folder=self.folder,
            watcher=Unwatched(),
        )
        return session, experiment, made

    def files(self, pattern):
        return sorted(path.name for path in self.workspace.folder.glob(pattern))


@pytest.fixture
def shared(tmp_path, tiny_folder):
    """Return a visitor's place on a shared server."""
    anna = visitor(tmp_path, ANNA)
    bound_room([Room(folder=tmp_path / VISITORS, each_bytes=50_000_000, total_bytes=100_000_000)])
    yield Place(anna, anna.jobs / "job", tiny_folder, tmp_path)
    bound_room(())


@pytest.fixture
def home(tmp_path, tiny_folder):
    own = local_workspace(tmp_path / "home")
    return Place(own, own.jobs / "job", tiny_folder, tmp_path)


SEARCHED = {"lora": {**QUICK, "learning_rates": [0.001, 0.002, 0.004], "seeds": [0]}}


def quality(comparison, name):
    return next(row.metrics["accuracy"].value for row in comparison.rows if row.row == name)


def trained(place):
    """Return (status, whether there is an adapter) of every run of LoRA."""
    runs = [run for run in RunStore(place.workspace.folder).runs() if run.spec.method == "lora"]
    return sorted((run.record.status, run.adapter_folder.is_dir()) for run in runs)


def test_a_trial_that_lost_leaves_its_figures_alone(shared):
    shared.run(SEARCHED)

    assert {had for status, had in trained(shared) if status == "trained"} == {False}
    assert {had for status, had in trained(shared) if status == "finished"} == {True}


def test_at_home_a_trial_that_lost_can_be_opened(home):
    home.run(SEARCHED)

    assert {had for _, had in trained(home)} == {True}


def test_a_trial_whose_adapter_is_gone_is_trained_again_when_it_is_asked_for(shared, home):
    shared.run(SEARCHED)
    rate = next(
        run.spec.options["learning_rate"]
        for run in RunStore(shared.workspace.folder).runs()
        if run.record.status == "trained"
    )
    asked = {"lora": {**QUICK, "learning_rate": rate, "seeds": [0]}}

    _, _, again = shared.run(asked)

    _, _, expected = home.run(asked)
    assert again.failed == expected.failed == ()
    assert quality(again, "lora") == quality(expected, "lora")


def test_members_of_an_ensemble_leave_their_adapters_alone(shared):
    session, experiment, _ = shared.run({"prompt_ensemble": {**QUICK, "members": 2}})

    run = find_run(session, shared.workspace.store, requests_of(experiment)[0].method, 0)
    assert sorted(path.name for path in run.adapter_folder.glob("member_*")) == [
        "member_0",
        "member_1",
    ]
    assert list(run.folder.glob("member_*")) == []
    assert run.history()


def test_at_home_an_ensembles_members_keep_their_paths(home):
    home.run({"prompt_ensemble": {**QUICK, "members": 2}})

    assert home.files("*/member_0/path/*.safetensors")


def test_the_path_of_a_soft_prompt_stays_because_readings_draw_it(shared):
    shared.run({"prompt_tuning": QUICK})

    assert shared.files("*prompt_tuning*/path/*.safetensors")
    assert not shared.files("*prompt_tuning*/checkpoint*")


@pytest.mark.parametrize(
    ("place", "forms"), [("shared", {"json"}), ("home", {"json", "html", "tex"})]
)
def test_a_report_lies_on_a_shared_server_in_the_form_that_is_read(place, forms, request):
    found = request.getfixturevalue(place)
    found.run({"zero_shot": {}})

    kept = {path.suffix[1:] for path in found.folder.glob("report.*")}
    assert kept & {"json", "html", "tex"} == forms


def test_nothing_half_written_stays_in_a_finished_run(tmp_path):
    for name in ("checkpoint.writing", ".adapter_model.safetensors.12.34", "keep.safetensors"):
        (tmp_path / "run" / "adapter").mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / "adapter" / name).write_bytes(b"x")

    trim_finished(tmp_path / "run")

    assert [path.name for path in (tmp_path / "run" / "adapter").iterdir()] == ["keep.safetensors"]


def test_a_run_without_room_keeps_what_was_asked(tmp_path):
    run = tmp_path / store_run(tmp_path)
    (run / "adapter").mkdir()
    (run / "adapter" / "w.safetensors").write_bytes(b"x")
    (run / "checkpoint.safetensors").write_bytes(b"x")

    clear_for_others(run)

    assert {path.name for path in run.iterdir()} - {".lock"} == {"record.json", "spec.json"}


def test_a_row_without_room_fails_alone_and_can_be_made_later(shared, tmp_path):
    # The first checkpoint fits, and the second does not fit beside it.
    small = Room(folder=tmp_path / VISITORS, each_bytes=2_000_000, total_bytes=100_000_000)
    bound_room([small])
    methods = {"zero_shot": {}, "full_fine_tuning": QUICK, "few_shot": {"k": 2}}

    _, _, made = shared.run(methods)

    (failed,) = made.failed
    assert failed.row == "full_fine_tuning"
    assert failed.reason.startswith("space: ")
    rows = {row.row for row in made.rows}
    assert {"zero_shot", "few_shot"} <= rows
    records = [json.loads(p.read_text()) for p in shared.workspace.folder.glob("*/record.json")]
    assert [r["status"] for r in records if r["row"] == "full_fine_tuning"] == ["failed"]
    assert shared.files("*full_fine_tuning*/**/*.safetensors") == []

    bound_room([Room(folder=tmp_path / VISITORS, each_bytes=9_000_000, total_bytes=100_000_000)])
    _, _, again = shared.run(methods)

    assert again.failed == ()


def test_no_room_is_a_kind_of_trouble_with_the_store():
    from workbench.errors import StoreError

    assert issubclass(RoomError, StoreError)
