"""One run that cannot be read hides no other: each list shows the others and names it once."""

import json
import os
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from damages import DAMAGES
from visitors import keep_rows, local_workspace, store_run, tiny_experiment
from workbench.cli import app
from workbench.errors import StoreError
from workbench.models.catalog import DEFAULT_BASE_MODEL
from workbench.runs.experiment import EXPERIMENT_FILE
from workbench.service import jobs
from workbench.service.command_line import evaluate_command
from workbench.service.profile import LOCAL, Profile
from workbench.ui.api import Endpoints
from workbench.ui.app import make_context
from workbench.ui.runs import run_table

BASE = {"name": DEFAULT_BASE_MODEL, "precision": "nf4", "device": "cpu"}
TORN = [(file, damage) for file in ("record.json", "spec.json") for damage in DAMAGES]


@pytest.fixture(params=TORN, ids="-".join)
def torn(request, tmp_path) -> tuple[Path, str, list[str]]:
    """Return a page's root, the id of a torn run, and those of whole ones."""
    file, damage = request.param
    folder = local_workspace(tmp_path).folder
    ids = [store_run(folder, seed=seed, base=BASE, method="lora") for seed in range(3)]
    DAMAGES[damage](folder / ids[1] / file)
    if damage == "missing" and file == "record.json":  # not just beginning
        os.utime(folder / ids[1] / "spec.json", (0, 0))
    return tmp_path, ids.pop(1), ids


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "400"})
    assert done.exception is None, done.output
    return done.output


def test_every_list_shows_the_others_and_names_it_once(torn):
    root, broken, ids = torn
    context = make_context(root, Profile("tests"))
    way_out = "Make it again with evaluate, or delete it."

    listed = printed("runs", str(root))
    assert all(name in listed for name in ids)
    assert listed.count(broken) == listed.count(way_out) == 1

    planned = printed("plan", "--device", "cpu", "--runs", str(root))
    assert "(2 runs)" in planned
    assert planned.count(broken) == planned.count(way_out) == 1

    table = run_table(context, None)
    assert set(table["run"]) == {broken, *ids}
    (line,) = table[table["run"] == broken].to_dict("records")
    assert line["status"].startswith("damaged: ")

    answered = json.loads(json.dumps(Endpoints(context).list_runs()))
    assert [run["run_id"] for run in answered] == [*ids, broken]
    assert answered[-1]["status"] == "damaged"
    assert way_out in answered[-1]["reason"]


def test_a_list_reads_each_run_once(tmp_path, monkeypatch):
    folder = local_workspace(tmp_path).folder
    ids = [store_run(folder, seed=seed, base=BASE, method="lora") for seed in range(3)]
    DAMAGES["half"](folder / ids[1] / "record.json")
    context, opened, seen = make_context(tmp_path, Profile("tests")), Path.open, []

    def counted(path, *arguments, **options):
        seen.append(path.parent.name)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", counted)
    tables = [run_table(context, None)["run"].tolist()]
    tables.append([run["run_id"] for run in Endpoints(context).list_runs()])

    assert sorted(seen) == sorted((ids[0], ids[0], ids[1], ids[2], ids[2]) * 2)
    assert tables == [[ids[2], ids[0], ids[1]], [ids[0], ids[2], ids[1]]]


def test_the_command_that_a_job_shows_leaves_the_job_whole(tmp_path, tiny_folder, monkeypatch):
    workspace = local_workspace(tmp_path / "runs")
    task = keep_rows(workspace, tmp_path)
    methods = {"few_shot": {"k": 2, "calibrate": False}, "zero_shot": {}}
    asked = tiny_experiment(workspace, tiny_folder, task, methods)
    job = jobs.submit(workspace, LOCAL, asked, kind="evaluate", title="mine")
    content = (job.folder / EXPERIMENT_FILE).read_bytes()
    monkeypatch.chdir(tmp_path)
    line = evaluate_command(asked, job.folder)
    assert "--train runs/" in line

    printed(*shlex.split(line)[1:])
    with pytest.raises(StoreError) as caught:
        CliRunner().invoke(
            app, [*shlex.split(line)[1:], "--set", "seeds=[5]"], catch_exceptions=False
        )

    assert (job.folder / EXPERIMENT_FILE).read_bytes() == content
    assert jobs.read_job(workspace, job.status.job_id).status.state == "queued"
    assert str(caught.value) == (
        f"{job.folder.relative_to(tmp_path)}: a job of the page keeps another experiment here. Use "
        "another folder with --out."
    )


def test_it_can_be_deleted_at_each_door(torn):
    root, broken, ids = torn
    workspace = local_workspace(root)
    with pytest.raises(StoreError, match="Make it again with evaluate, or delete it"):
        workspace.run(broken)

    if len(broken) % 2:
        printed("runs", str(root), "--delete", broken)
    else:
        workspace.delete_run(broken)

    assert [run.record.run_id for run in workspace.runs()] == ids
    assert workspace.broken_runs() == []


def test_what_names_it_says_what_is_wrong_in_a_sentence(torn):
    root, broken, _ = torn

    for command in (
        ("inspect", broken, "--runs", str(root)),
        ("merge", broken, "--runs", str(root), "--out", str(root / "merged")),
    ):
        done = CliRunner().invoke(app, list(command))
        assert isinstance(done.exception, StoreError)
        assert str(done.exception).startswith(f"run {broken}: ")
        assert "Make it again with evaluate, or delete it." in str(done.exception)
