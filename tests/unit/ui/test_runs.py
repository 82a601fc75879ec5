"""The tab of runs: look at them, share, download and delete them, and import adapters."""

import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from pages import HOSTILE, Page, Seen, dangers, is_problem, said
from toys import export_prompt
from visitors import store_run
from workbench.runs.store import RunStore
from workbench.service.ways import imported_folders, way_choices
from workbench.ui.app import make_context
from workbench.ui.comparison_view import on_export
from workbench.ui.context import SettingValues
from workbench.ui.readings import things_to_open
from workbench.ui.runs import (
    on_delete,
    on_download,
    on_import,
    on_label,
    on_name,
    on_open,
    on_push,
    on_refresh,
    on_select,
    on_share,
    on_unshare,
    run_table,
)

RECORDS = Path(__file__).parents[2] / "records"


def open_run(page: Page, run_id: object, other: object = None) -> str:
    return on_open(page.context, page.setting["token"], run_id, other)


# The table


def test_every_run_is_a_line_with_its_accuracy(page):
    table = run_table(page.context, None)

    lines = {line["run"]: line for line in table.to_dict("records")}
    for row, run_id in page.rows.items():
        accuracy = page.workspace.run(run_id).record.metrics["accuracy"].value
        assert (lines[run_id]["row"], lines[run_id]["task"]) == (row, "messages")
        assert lines[run_id]["test figure"] == f"{100 * accuracy:.1f} %"


def test_the_newest_run_comes_first(empty_page):
    ids = [store_run(empty_page.workspace.folder, seed=seed) for seed in (1, 3, 2)]

    assert run_table(empty_page.context, None)["run"].tolist() == [ids[1], ids[2], ids[0]]


def test_an_unfinished_run_has_no_accuracy(empty_page):
    store_run(empty_page.workspace.folder, status="interrupted")

    (line,) = run_table(empty_page.context, None).to_dict("records")
    assert (line["test figure"], line["status"]) == ("–", "interrupted")


def test_a_run_of_an_older_version_says_that_it_is_made_anew(empty_page):
    older = next((RECORDS / "spec_version_1").iterdir())
    shutil.copytree(older, empty_page.workspace.folder / older.name)

    (line,) = run_table(empty_page.context, None).to_dict("records")

    assert line["status"] == "finished (older version, made anew when asked for)"


def test_without_runs_the_place_says_what_to_do(empty_page):
    table, runs, others, hint = on_refresh(empty_page.context, None)

    assert table.visible is False
    assert Seen(hint).text.startswith("No run yet.")
    assert (runs.choices, others.choices) == ([], [("none", "")])


def test_runs_can_be_chosen_by_titles_that_differ(page):
    table, runs, others, hint = on_refresh(page.context, None)

    assert table.visible
    assert hint == ""
    titles = [title for title, _ in runs.choices]
    assert len(set(titles)) == len(titles) >= 4
    assert others.choices == [("none", ""), *runs.choices]


def test_another_visitors_runs_are_not_listed(chunk_page):
    store_run(chunk_page.workspace.folder)

    assert len(run_table(chunk_page.context, "another-another-another")) == 0


def test_a_clicked_line_chooses_its_run():
    event = SimpleNamespace(row_value=["task", "row", 0, "50.0 %", "finished", "then", "the_run"])

    assert on_select(event) == "the_run"
    assert on_select(SimpleNamespace(row_value=None)) == gr.skip()


# Names


def test_a_name_is_given_changed_and_taken_away(empty_page):
    context, run_id = empty_page.context, store_run(empty_page.workspace.folder)

    table, runs, others, _, *fields, told = on_name(context, None, run_id, " best ", "rank 8")

    assert table.value["data"][0][0] == "best"
    assert runs.choices[0][0].startswith("best · ")
    assert others.choices[1:] == runs.choices
    assert (fields, Seen(told).text) == (["best", "rank 8"], "Its name is best.")
    *parts, said = on_label(context, None, run_id)
    assert [part.value for part in parts[:2]] == ["best", "rank 8"]
    assert {part.interactive for part in parts} == {True}
    assert said == ""
    *parts, _ = on_label(context, None, None)
    assert {part.interactive for part in parts} == {False}
    assert "best · zero_shot" in Seen(open_run(empty_page, run_id)).text

    *_, name, remark, told = on_name(context, None, run_id, "", "")

    assert (name, remark, Seen(told).text) == ("", "", "It has no name.")
    assert run_table(context, None)["name"].tolist() == [""]


def test_a_refused_name_changes_nothing_and_is_one_message(empty_page):
    first, second = (store_run(empty_page.workspace.folder, seed=seed) for seed in (0, 1))
    on_name(empty_page.context, None, first, "best", "")

    for run_id, name, remark in (
        (second, "best", ""), (second, HOSTILE[0], ""), (second, None, ""),
        (second, "x", "y" * 9000), (None, "x", ""), ("../x", "x", ""), (["x"], "x", ""),
    ):  # fmt: skip
        *kept, told = on_name(empty_page.context, None, run_id, name, remark)
        assert kept == [gr.skip()] * 6
        assert is_problem(told)
        assert "on our side" not in said(told)
        assert dangers(told) == []
    assert run_table(empty_page.context, None)["name"].tolist() == ["", "best"]


def test_another_visitors_run_is_not_named(chunk_page):
    run_id = store_run(chunk_page.workspace.folder)

    *_, told = on_name(chunk_page.context, "another-another-another", run_id, "mine", "")

    assert "not found among your runs" in said(told)
    *parts, note = on_label(chunk_page.context, "another-another-another", run_id)
    assert [part.value for part in parts[:2]] == ["", ""]
    assert {part.interactive for part in parts} == {False}
    assert note == ""


def test_a_hostile_note_is_shown_as_text(empty_page):
    run_id = store_run(empty_page.workspace.folder)
    on_name(empty_page.context, None, run_id, "", "".join(HOSTILE))

    html = open_run(empty_page, run_id)

    assert not is_problem(html)
    assert dangers(html) == []


def test_a_named_run_is_called_so_wherever_it_can_be_chosen(page, tmp_path):
    shutil.copytree(page.context.root, tmp_path / "root")
    context = make_context(tmp_path / "root", page.context.profile, page.context.desk)
    on_name(context, None, page.rows["lora"], "first try", "")
    values = SettingValues(**page.setting)
    workspace, experiment = context.experiment(values)

    ways = dict(map(reversed, way_choices(workspace, context.desk, experiment)))
    opened = {one.key: one.listed for one in things_to_open(context, values)[1]}
    both = on_open(context, None, page.rows["prompt_tuning"], page.rows["lora"])

    key = f"run:{page.rows['lora']}"
    assert ways[key].startswith("first try · lora")
    assert opened[key].startswith("first try · messages · lora")
    assert "first try" in Seen(both).text
    files = on_export(
        context, token=None, key=page.job_id, mode="disagree", row=None, against=None,
        cost="trained_parameters", quality="accuracy",
    )  # fmt: skip
    report = next(file["path"] for file in files.value if "report.json" in file["path"])
    named = {row["row"]: row["name"] for row in json.loads(Path(report).read_text())["rows"]}
    assert named["lora"] == "first try"


# One run, and two


def test_no_run_chosen_says_what_to_do(page):
    assert "Choose a run in the list" in Seen(open_run(page, None)).text


@pytest.mark.parametrize("row", ["zero_shot", "few_shot", "prompt_tuning", "lora"])
def test_a_run_shows_what_was_asked_and_what_came_out(row, page):
    text = Seen(open_run(page, page.rows[row])).text

    assert page.rows[row] in text
    assert "finished" in text
    assert "accuracy" in text


def test_a_trained_run_shows_its_curve(page):
    assert "svg" in Seen(open_run(page, page.rows["lora"])).tags
    assert "svg" not in Seen(open_run(page, page.rows["zero_shot"])).tags


def test_two_runs_show_what_differs(page):
    text = Seen(open_run(page, page.rows["lora"], page.rows["prompt_tuning"])).text

    assert "Side by side" in text
    assert "options.rank" in text
    assert "method" in text


def test_a_run_beside_itself_is_one_run(page):
    run_id = page.rows["lora"]

    assert open_run(page, run_id, run_id) == open_run(page, run_id)


@pytest.mark.parametrize("other", [None, "", 0, []])
def test_no_other_run_shows_one(other, page):
    run_id = page.rows["lora"]

    assert open_run(page, run_id, other) == open_run(page, run_id)


BAD_IDS = ["missing_run", "../x", "/etc/passwd", "x" * 5000, "<b>", "\0", 3, ["x"], {"a": 1}, 1.5]


@pytest.mark.parametrize("run_id", BAD_IDS, ids=range(len(BAD_IDS)))
@pytest.mark.parametrize("place", ["first", "second"])
def test_what_is_no_run_is_one_message(place, run_id, page):
    known = page.rows["lora"]

    html = open_run(page, run_id) if place == "first" else open_run(page, known, run_id)

    assert is_problem(html)
    assert "on our side" not in said(html)
    assert dangers(html) == []


def test_a_hostile_run_is_shown_as_text(hostile_page):
    first, second = hostile_page.rows.values()

    for html in (open_run(hostile_page, first), open_run(hostile_page, first, second)):
        assert not is_problem(html)
        assert dangers(html) == []


def test_a_hostile_error_of_a_run_is_shown_as_text(empty_page):
    folder = empty_page.workspace.folder
    run_id = store_run(folder, status="failed")
    failed = empty_page.workspace.run(run_id).record
    RunStore(folder).write_record(failed.model_copy(update={"error": "\n".join(HOSTILE)}))

    html = open_run(empty_page, run_id)

    assert not is_problem(html)
    assert dangers(html) == []


# Share


def test_locally_a_link_names_the_run(page):
    html = on_share(page.context, None, page.rows["lora"])

    assert ("a", "href", f"?run={page.rows['lora']}&tab=runs") in Seen(html).attributes
    assert "key=" not in html


def test_on_a_public_page_a_link_has_the_key_of_the_run(chunk_page):
    run_id = store_run(chunk_page.workspace.folder)

    html = on_share(chunk_page.context, chunk_page.setting["token"], run_id)

    key = chunk_page.workspace.share(run_id)
    assert ("a", "href", f"?run={run_id}&key={key}") in Seen(html).attributes


def test_another_visitors_run_is_not_shared(chunk_page):
    run_id = store_run(chunk_page.workspace.folder)

    html = on_share(chunk_page.context, "another-another-another", run_id)

    assert "not found among your runs" in said(html)


def test_sharing_is_taken_back_by_its_owner_alone(chunk_page):
    run_id = store_run(chunk_page.workspace.folder)
    on_share(chunk_page.context, chunk_page.setting["token"], run_id)

    others = on_unshare(chunk_page.context, "another-another-another", run_id)
    said_to_owner = [
        said(on_unshare(chunk_page.context, chunk_page.setting["token"], run_id)) for _ in range(2)
    ]

    assert "not found among your runs" in said(others)
    assert said_to_owner == ["Its link no longer opens it.", "It was not shared."]


@pytest.mark.parametrize("run_id", [None, *BAD_IDS], ids=range(len(BAD_IDS) + 1))
def test_what_is_no_run_is_not_shared(run_id, page):
    html = on_share(page.context, None, run_id)

    assert is_problem(html)
    assert "on our side" not in said(html)


# Delete


def test_a_run_is_deleted_only_when_it_is_confirmed(empty_page):
    run_id = store_run(empty_page.workspace.folder)

    for is_sure in (False, None, 1, "yes", [True]):
        *kept, note, sure = on_delete(empty_page.context, None, run_id, is_sure)
        assert kept == [gr.skip()] * 4
        assert said(note) == "delete: tick 'Yes, delete it' first. A deleted run is gone."
        assert sure is False
    assert empty_page.workspace.run(run_id)


def test_a_deleted_run_leaves_the_lists(empty_page):
    first, second = (store_run(empty_page.workspace.folder, seed=seed) for seed in (0, 1))

    _, runs, others, _, note, sure = on_delete(empty_page.context, None, first, True)

    assert [key for _, key in runs.choices] == [second]
    assert runs.value is None
    assert [key for _, key in others.choices] == ["", second]
    assert Seen(note).text == f"Deleted {first}."
    assert sure is False


def test_the_last_run_deleted_leaves_the_hint(empty_page):
    run_id = store_run(empty_page.workspace.folder)

    table, _, _, hint, *_ = on_delete(empty_page.context, None, run_id, True)

    assert table.visible is False
    assert "No run yet." in hint


@pytest.mark.parametrize("run_id", [None, *BAD_IDS], ids=range(len(BAD_IDS) + 1))
def test_what_is_no_run_is_not_deleted(run_id, empty_page):
    kept = store_run(empty_page.workspace.folder)

    *_, note, _ = on_delete(empty_page.context, None, run_id, True)

    assert is_problem(note)
    assert "on our side" not in said(note)
    assert empty_page.workspace.run(kept)


# Download


def download(page: Page, row: str) -> Path:
    file, note = on_download(page.context, None, page.rows[row])
    assert note == ""
    return Path(file.value["path"])


@pytest.mark.parametrize("row", ["prompt_tuning", "lora"])
def test_an_adapter_is_downloaded_with_its_card(row, page):
    with zipfile.ZipFile(download(page, row)) as archive:
        names = {Path(name).name for name in archive.namelist()}

    assert names == {"adapter_config.json", "adapter_model.safetensors", "README.md"}


@pytest.mark.parametrize("row", ["prompt_tuning", "lora"])
def test_a_downloaded_adapter_loads_with_plain_peft_and_changes_the_base(row, page, tmp_path):
    with zipfile.ZipFile(download(page, row)) as archive:
        archive.extractall(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(page.setting["model"])
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        before = base(ids).logits[0, -1]

        model = PeftModel.from_pretrained(base, tmp_path / page.rows[row])

        assert not torch.allclose(model(ids).logits[0, -1], before)


@pytest.mark.parametrize("row", ["zero_shot", "few_shot"])
def test_a_run_without_an_adapter_has_no_download(row, page):
    _, note = on_download(page.context, None, page.rows[row])

    assert f"has no adapter; {row} stores none" in said(note)


@pytest.mark.parametrize("run_id", [None, *BAD_IDS], ids=range(len(BAD_IDS) + 1))
def test_what_is_no_run_has_no_download(run_id, page):
    _, note = on_download(page.context, None, run_id)

    assert is_problem(note)
    assert "on our side" not in said(note)


# Import


def zipped(folder: Path, path: Path, **more: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            if file.name in ("adapter_config.json", "adapter_model.safetensors"):
                archive.write(file, f"my_adapter/{file.name}")
        for name, content in more.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def exports(tiny_folder, lora_export, tmp_path_factory) -> dict[str, Path]:
    """Return archives of adapters made elsewhere."""
    root = tmp_path_factory.mktemp("exports")
    prompt = export_prompt(tiny_folder, root / "prompt")
    return {
        "lora": zipped(lora_export, root / "lora.zip"),
        "prompt": zipped(prompt, root / "prompt.zip"),
    }


@pytest.mark.parametrize(
    ("name", "expected"), [("lora", "LoRA, "), ("prompt", "5 vectors of width 64")]
)
def test_an_imported_adapter_says_what_it_is(name, expected, exports, empty_page):
    html = on_import(empty_page.context, None, str(exports[name]))

    assert not is_problem(html)
    assert expected in " ".join(Seen(html).text.split())


def test_an_imported_adapter_is_among_the_ways(exports, empty_page):
    html = on_import(empty_page.context, None, str(exports["lora"]))

    (key,) = imported_folders(empty_page.workspace)
    assert "Imported as lora\n" in Seen(html).text
    assert f"import:{key}" in Seen(html).text


def test_an_imported_adapter_is_called_as_asked(exports, empty_page):
    html = on_import(empty_page.context, None, str(exports["lora"]), " my tone ")

    assert "Imported as my tone\n" in Seen(html).text
    refused = on_import(empty_page.context, None, str(exports["lora"]), HOSTILE[0])
    assert is_problem(refused)
    assert dangers(refused) == []


def test_what_was_downloaded_can_be_imported(page, empty_page):
    html = on_import(empty_page.context, None, str(download(page, "lora")))

    assert "LoRA" in Seen(html).text


def test_no_file_is_one_message(page):
    assert said(on_import(page.context, None, None)) == (
        "import: choose a zip file with the two files of a PEFT adapter."
    )


BAD_FILES = {
    "no zip": b"text",
    "empty": b"",
    "zip of nothing": b"PK\x05\x06" + b"\0" * 18,
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_is_no_adapter_is_one_message(case, empty_page, tmp_path):
    path = tmp_path / "adapter.zip"
    path.write_bytes(BAD_FILES[case])

    html = on_import(empty_page.context, None, str(path))

    assert is_problem(html)
    assert "on our side" not in said(html)
    assert str(tmp_path) not in html


def test_an_archive_that_would_leave_its_folder_is_refused(empty_page, lora_export, tmp_path):
    path = zipped(lora_export, tmp_path / "adapter.zip", **{"../../evil.txt": b"x"})

    html = on_import(empty_page.context, None, str(path))

    assert is_problem(html)
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_hostile_name_of_the_base_is_shown_as_text(empty_page, lora_export, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    for file in lora_export.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = HOSTILE[0]
    (folder / "adapter_config.json").write_text(json.dumps(config))

    html = on_import(empty_page.context, None, str(zipped(folder, tmp_path / "a.zip")))

    assert dangers(html) == []
    assert HOSTILE[0] in Seen(html).text


@pytest.mark.parametrize("token", [None, "short", 3])
def test_on_a_public_page_an_import_needs_its_owner(token, chunk_page, exports):
    html = on_import(chunk_page.context, token, str(exports["lora"]))

    assert "needs the token it gave your browser" in said(html)


# Push


def test_pushing_needs_a_login(page):
    html = on_push(page.context, None, page.rows["lora"], "me/my-adapter", None)

    assert said(html) == "push: log in to the Hub with the button first."


def test_pushing_says_what_the_hub_says_and_not_the_token(page, caplog):
    login: Any = SimpleNamespace(token="hf_secretsecret")

    html = on_push(page.context, None, page.rows["lora"], " me/my-adapter ", login)

    assert "the Hub refused" in said(html)  # it is switched off in tests
    assert "hf_secret" not in html + caplog.text


@pytest.mark.parametrize("repo_id", ["", "x", "a/b/c", None, 3, ["a"], "<b>/x", "x" * 5000])
def test_what_is_no_repository_is_one_message(repo_id, page):
    login: Any = SimpleNamespace(token="hf_secretsecret")

    html = on_push(page.context, None, page.rows["lora"], repo_id, login)

    assert is_problem(html)
    assert "repository" in said(html)
    assert len(html) < 1500
