"""Comparisons to open: what is finished and the visitor's, made anew from its runs."""

import json
import os
import shutil
from pathlib import Path

import pytest

from torn import DAMAGES
from visitors import ANNA, BEN, keep_rows, local_workspace, tiny_experiment, visitor
from workbench.analysis.report import write_report
from workbench.errors import StoreError
from workbench.models.adapters.reading import import_adapter
from workbench.runs.experiment import EXPERIMENT_FILE
from workbench.sealed import write_sealed
from workbench.service import jobs
from workbench.service.comparisons import list_comparisons, open_comparison
from workbench.service.profile import LOCAL
from workbench.service.worker import work
from workbench.service.workspace import Workspace
from workbench.serving.desk import ModelDesk

METHODS = {"zero_shot": {}, "few_shot": {"k": 2, "seeds": [0, 1]}}


def rewrite(path: Path, **changes: object) -> None:
    """Change a report as whoever wrote it would have."""
    report = json.loads(path.read_text()) | changes
    report.pop("digest", None)
    write_sealed(path, report)


@pytest.fixture(scope="module")
def place(tiny_folder, tmp_path_factory):
    """Return Anna's workspace with two finished evaluations, a training and a waiting job."""
    root = tmp_path_factory.mktemp("comparisons")
    anna = visitor(root, ANNA)
    key = keep_rows(anna, root / "given")
    desk = ModelDesk(is_direct=True)
    made = {}
    for title, kind, methods in (
        ("first", "evaluate", METHODS),
        ("training", "train", {"few_shot": {"k": 3}}),
        ("second", "evaluate", {"zero_shot": {}}),
        ("waiting", "evaluate", METHODS),
    ):
        experiment = tiny_experiment(anna, tiny_folder, key, methods)
        job = jobs.submit(anna, LOCAL, experiment, kind=kind, title=title)
        made[title] = job.status.job_id
        if title != "waiting":
            work(job.folder, anna.store, open_session=desk.session)
    for seconds, title in enumerate(("first", "training", "second")):
        path = anna.jobs / made[title] / "report.json"
        rewrite(path, created=f"2026-01-01T00:00:0{seconds}+00:00")
    return anna, made


def test_finished_evaluations_are_listed_newest_first(place):
    anna, made = place

    assert [entry.key for entry in list_comparisons(anna)] == [made["second"], made["first"]]


def test_a_title_says_task_rows_and_time(place):
    anna, _ = place

    assert list_comparisons(anna)[1].title == "messages: 4 rows · 2026-01-01 00:00"


def test_another_visitor_sees_none(place):
    anna, made = place
    ben = visitor(anna.root, BEN)

    assert list_comparisons(ben) == []
    with pytest.raises(StoreError) as caught:
        open_comparison(ben, made["first"])
    assert str(caught.value) == (
        f"comparison '{made['first']}': not found among yours. Choose one from the list."
    )


@pytest.mark.parametrize("title", ["training", "waiting"])
def test_what_is_no_finished_evaluation_cannot_be_opened(title, place):
    anna, made = place

    with pytest.raises(StoreError, match="not found among yours"):
        open_comparison(anna, made[title])


@pytest.mark.parametrize("key", ["../x", "", None, 3, ["x"], "x" * 500])
def test_what_is_no_comparison_is_refused(key, place):
    with pytest.raises(StoreError) as caught:
        open_comparison(place[0], key)

    assert len(str(caught.value)) < 300


def test_an_opened_comparison_has_the_rows_of_its_report(place):
    anna, made = place
    comparison, experiment, folder = open_comparison(anna, made["first"])

    report = json.loads((folder / "report.json").read_text())
    assert [(row.row, row.seed) for row in comparison.rows] == [
        (row["row"], row["seed"]) for row in report["rows"]
    ]
    assert list(experiment.methods) == ["zero_shot", "few_shot"]


def test_an_opened_comparison_has_the_figures_of_its_report(place):
    anna, made = place
    comparison, _, folder = open_comparison(anna, made["first"])

    report = json.loads((folder / "report.json").read_text())
    assert [row.metrics["accuracy"].value for row in comparison.rows] == [
        row["metrics"]["accuracy"]["value"] for row in report["rows"]
    ]


def reports_of(workspace: Workspace, desk: ModelDesk, folder: Path, base: Path, lora: Path) -> str:
    """Return all forms of a report on an imported adapter and a row that failed, put together."""
    adapter, _ = import_adapter(lora, workspace.imports)
    rows = {"zero_shot": {}, "mine": {"method": "imported", "adapter": str(adapter)}}
    experiment = tiny_experiment(workspace, base, keep_rows(workspace, folder), rows)
    job = jobs.submit(workspace, LOCAL, experiment, kind="evaluate", title="mine")
    work(job.folder, workspace.store, open_session=desk.session)
    failed = [{"row": "lost", "seed": 0, "reason": f"no file {folder}/rows.csv", "place": ""}]
    rewrite(job.folder / "report.json", failed=failed)
    files = write_report(open_comparison(workspace, job.status.job_id)[0], folder / "written")
    return "".join(path.read_text() for path in files.values())


def test_no_report_of_a_public_page_says_where_things_lie(tiny_folder, lora_export, tmp_path):
    anna, mine = visitor(tmp_path / "a", ANNA), local_workspace(tmp_path / "b")
    desk = ModelDesk(is_direct=True)

    public = reports_of(anna, desk, tmp_path / "a", tiny_folder, lora_export)
    own = reports_of(mine, desk, tmp_path / "b", tiny_folder, lora_export)

    assert str(tmp_path) not in public
    assert str(tiny_folder) not in public
    assert "no file rows.csv" in public
    assert str(mine.imports) in own
    assert f"no file {tmp_path}/b/rows.csv" in own


def test_a_comparison_opened_twice_is_made_once(place):
    anna, made = place

    first, second = (open_comparison(anna, made["first"])[0] for _ in range(2))

    assert first is second


def test_a_report_written_anew_is_read_anew(place):
    anna, made = place
    first, _, folder = open_comparison(anna, made["second"])
    path = folder / "report.json"
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))

    assert open_comparison(anna, made["second"])[0] is not first


GARBAGE = ["", "{", "[]", "{}", '{"rows": 3}', '{"rows": [], "task": 1, "created": 2}', "\ufffd"]


@pytest.mark.parametrize("content", GARBAGE)
def test_a_spoiled_report_is_said_to_be_one(content, tmp_path):
    workspace = local_workspace(tmp_path)
    folder = workspace.jobs / "some-job"
    folder.mkdir(parents=True)
    (folder / EXPERIMENT_FILE).write_text("{}")
    (folder / "report.json").write_text(content)

    (entry,) = list_comparisons(workspace)

    assert entry.title == "some-job: its report is damaged"
    with pytest.raises(StoreError) as caught:
        open_comparison(workspace, "some-job")
    assert str(caught.value) == (
        "comparison 'some-job': its report is damaged. Evaluate the same again: finished runs are "
        "found, and the report is written anew."
    )


@pytest.mark.parametrize("file", ["predictions.jsonl", "record.json"])
def test_a_torn_run_takes_no_other_out_of_its_comparison(file, place, tmp_path):
    shutil.copytree(place[0].root, tmp_path, dirs_exist_ok=True)
    anna = visitor(tmp_path, ANNA)
    report = json.loads((anna.jobs / place[1]["first"] / "report.json").read_text())
    *others, torn = report["rows"]
    path = anna.folder / torn["run_id"] / file
    path.write_bytes(path.read_bytes()[:-9])

    comparison, _, _ = open_comparison(anna, place[1]["first"])

    assert [row.row for row in comparison.rows] == [row["row"] for row in others]
    (failed,) = comparison.failed
    assert (failed.row, failed.seed) == (torn["row"], torn["seed"])
    assert f"run {torn['run_id']}: {file} " in failed.reason


# Of the batch command


@pytest.fixture
def batch(place, tmp_path):
    """Return a function that puts the first comparison where the batch command would."""
    anna, made = place

    def put(name: str) -> Workspace:
        (tmp_path / name).mkdir(parents=True)
        for path in anna.folder.glob("messages_*"):
            (tmp_path / name / path.name).symlink_to(path)
        for name_of_file in (EXPERIMENT_FILE, "report.json"):
            content = (anna.jobs / made["first"] / name_of_file).read_bytes()
            (tmp_path / name / name_of_file).write_bytes(content)
        return local_workspace(tmp_path)

    return put


@pytest.mark.parametrize("name", ["quick", "q1", "my runs", "größer"])
def test_locally_a_comparison_of_the_batch_command_is_opened(name, batch):
    workspace = batch(name)

    (entry,) = list_comparisons(workspace)

    assert entry.title == f"messages: 4 rows · 2026-01-01 00:00 · {name}"
    assert open_comparison(workspace, entry.key)[2] == workspace.root / name


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", [EXPERIMENT_FILE, "report.json"])
def test_a_damaged_comparison_is_said_to_be_one_and_hides_no_other(file, damage, batch, tmp_path):
    batch("whole")
    workspace = batch("torn")
    DAMAGES[damage](tmp_path / "torn" / file)

    keys = [entry.key for entry in list_comparisons(workspace)]

    assert keys[0] == "whole" or file == EXPERIMENT_FILE
    assert "whole" in keys
    if file == EXPERIMENT_FILE and "torn" in keys:  # the figures need only the runs
        assert open_comparison(workspace, "torn")[1] is None
    else:
        with pytest.raises(StoreError, match=r"[Nn]ot found among yours|again"):
            open_comparison(workspace, "torn")
    assert open_comparison(workspace, "whole")[0].rows


def test_every_digit_of_a_report_counts(batch, tmp_path):
    workspace = batch("quick")
    path = tmp_path / "quick" / "report.json"
    text = path.read_text()
    digits = [place for place, letter in enumerate(text) if letter in "02468"]
    for place in digits[:: len(digits) // 8]:
        changed = f"{text[:place]}{int(text[place]) + 1}{text[place + 1 :]}"
        if json.loads(changed) == json.loads(text):
            continue  # the last of more digits than a float has
        path.write_text(changed)

        with pytest.raises(StoreError, match="its report is damaged"):
            open_comparison(workspace, "quick")


def test_a_report_of_an_older_version_is_still_opened(batch, tmp_path):
    workspace = batch("quick")
    for file in (EXPERIMENT_FILE, "report.json"):
        content = json.loads((tmp_path / "quick" / file).read_text())
        del content["digest"]
        (tmp_path / "quick" / file).write_text(json.dumps(content))

    assert open_comparison(workspace, "quick")[0].rows


def test_a_public_page_does_not_open_it(batch):
    root = batch("quick").root

    assert list_comparisons(visitor(root, ANNA)) == []


def test_a_comparison_whose_runs_are_gone_says_so(place, batch, tmp_path):
    workspace = batch("quick")
    for path in (tmp_path / "quick").glob("messages_few_shot_*"):
        path.unlink()

    with pytest.raises(StoreError, match="not found among your runs"):
        open_comparison(workspace, "quick")


def test_the_rows_named_in_a_report_cannot_lead_elsewhere(place, batch, tmp_path):
    workspace = batch("quick")
    path = Path(tmp_path / "quick" / "report.json")
    rows = json.loads(path.read_text())["rows"]
    rewrite(path, rows=[rows[0] | {"run_id": "../../etc"}, *rows[1:]])

    with pytest.raises(StoreError, match="not a name of a run"):
        open_comparison(workspace, "quick")
