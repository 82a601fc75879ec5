"""A stored run meets another setting than its own: it is read in its own, or refused."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pages import Page, Seen, is_problem, said
from visitors import keep_rows
from workbench.cli import app
from workbench.errors import ConfigError, StoreError
from workbench.presentation.reading import Reading
from workbench.readings.inspector import RANDOM
from workbench.readings.opening import opened
from workbench.runs.experiment import store_experiment, stored_experiment
from workbench.runs.origin import own_experiment
from workbench.service.profile import Caps, Profile
from workbench.service.uploads import ColumnChoice, keep_upload
from workbench.service.wordings import keep_wording
from workbench.ui.app import make_context
from workbench.ui.context import SettingValues
from workbench.ui.inspect import on_read
from workbench.ui.question import Question, stream_columns
from workbench.ui.reading_view import verdict_html
from workbench.ui.readings import Asked, reading_steps

TRAINED = {
    "prompt_tuning": {"steps": 4, "eval_every": 2, "num_virtual_tokens": 6, "init": "random"},
    "lora": {"steps": 4, "eval_every": 2},
}
WORDING = (
    "version: 1\ninstruction: Say praise or complaint.\ninput: 'M: {text} ->'\nseparator: ' ;'\n"
)


@pytest.fixture(scope="module")
def own(tiny_folder, tmp_path_factory) -> Page:
    """Return a page with two trained runs of an upload and of an edited wording."""
    root = tmp_path_factory.mktemp("own")
    context = make_context(root, Profile("tests", models=(str(tiny_folder),)))
    key = keep_rows(context.workspace(None), root / "given")
    values = SettingValues(task=key, model=str(tiny_folder))
    task = context.desk.task(context.experiment(values)[1].task)
    wording = keep_wording(context.workspace(None), WORDING, task)
    setting = {
        "token": None, "task": key, "wording": wording,
        "model": str(tiny_folder), "precision": "fp32", "chat": False,
    }  # fmt: skip
    return Page(context, setting).evaluated(tiny_folder, key, TRAINED)


@pytest.fixture
def prompt(own) -> str:
    return f"run:{own.rows['prompt_tuning']}"


def read(page: Page, what: str, *against: str, **changes: Any) -> Reading:
    """Return the reading of truncation that the page makes with its setting changed."""
    asked = Asked(what, list(against), "truncation", {"points": 2})
    steps = list(reading_steps(page.context, SettingValues(**page.values(**changes)), asked))
    assert isinstance(steps[-1], Reading)
    return steps[-1]


def in_terminal(page: Page, run_id: str, tmp_path: Path) -> dict[str, Any]:
    """Return what `workbench inspect` says about a run."""
    data = tmp_path / "read.json"
    words = ["inspect", run_id, "--runs", page.context.root, "--readings", "truncation"]
    words += ["--set", "truncation.points=2", "--json", data]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.exception
    (found,) = json.loads(data.read_text())["readings"]
    return found


def other_task(page: Page, folder: Path) -> str:
    """Upload other rows of the same labels."""
    rows = folder / "others.csv"
    rows.write_text("message,intent\n" + "".join(
        f"{text} {number},{label}\n"
        for number in range(30)
        for text, label in (("the rain was broken", "praise"), ("what a sun", "complaint"))
    ))  # fmt: skip
    return keep_upload(page.workspace, Caps(), rows, "others", ColumnChoice("message", "intent"))[0]


@pytest.mark.parametrize(
    "changes",
    [{"task": "support_intents"}, {"task": "other"}, {"wording": "plain"}, {"chat": True}],
    ids=["another task", "other rows of its labels", "another wording", "the chat template"],
)
def test_a_run_is_read_in_its_own_setting_whatever_the_first_row_says(
    own, prompt, changes, tmp_path
):
    if changes == {"task": "other"}:
        changes = {"task": other_task(own, tmp_path)}
    mine = read(own, prompt)

    assert read(own, prompt, **{"wording": "plain", **changes}) == mine
    run = own.workspace.run(prompt.removeprefix("run:"))
    assert run.spec.task.name in mine.setting
    assert run.spec.template.name in mine.setting
    assert mine.setting in Seen(verdict_html(mine)).text


def test_both_doors_say_the_same(own, prompt, tmp_path):
    shown = read(own, prompt, task="support_intents", wording="plain")

    assert in_terminal(own, prompt.removeprefix("run:"), tmp_path) == shown.model_dump(mode="json")


def test_a_control_beside_a_run_is_read_where_the_run_was_made(own, prompt):
    assert read(own, RANDOM, prompt, task="support_intents", wording="plain").setting == (
        read(own, prompt).setting
    )


def test_the_setting_of_a_control_alone_is_that_of_the_first_row(own):
    assert "support_intents" in read(own, RANDOM, task="support_intents", wording="plain").setting


def test_a_run_of_another_precision_is_refused(own, prompt):
    steps = partial(reading_steps, own.context)
    shown = list(
        on_read(steps, what=prompt, against=[], reading="nearest", **own.values(precision="bf16"))
    )

    assert is_problem(shown[-1][0])
    assert "was made in fp32" in said(shown[-1][0])
    assert "bf16" in said(shown[-1][0])


def test_products_that_no_row_of_the_page_can_choose_are_not_advised_to_be_chosen(
    own, prompt, tiny_folder, monkeypatch
):
    run = own.workspace.run(prompt.removeprefix("run:"))
    base = run.spec.base.model_copy(update={"compute_dtype": "bfloat16"})
    there = run.spec.setting.model_copy(update={"base": base})
    ours, theirs = run.spec.setting, there.model_copy()

    (differing,) = ours.differences(theirs)
    assert differing == "in fp32 (products in bfloat16)"
    advice = ours.advice(theirs)
    assert "Choose" not in advice
    assert "products in bfloat16" in advice
    assert "compute_dtype: bfloat16" in advice
    assert "train it again" in advice
    assert "Choose its base" in ours.advice(
        there.model_copy(update={"base": base.model_copy(update={"precision": "nf4"})})
    )

    info = own.context.desk.info(own.context.experiment(SettingValues(**own.setting))[1])
    other = replace(info, compute_dtype="bfloat16")
    monkeypatch.setattr(own.context.desk, "info", lambda _: other)
    steps = partial(reading_steps, own.context)
    shown = list(on_read(steps, what=prompt, against=[], reading="nearest", **own.values()))
    assert "products in bfloat16" in said(shown[-1][0])
    assert "Choose the run's precision" not in said(shown[-1][0])
    assert f"workbench inspect {run.record.run_id}" in said(shown[-1][0])


def test_what_lies_beside_says_that_it_was_made_elsewhere(own, prompt, tiny_folder, tmp_path):
    key = other_task(own, tmp_path)
    elsewhere = Page(own.context, own.values(wording="plain")).evaluated(
        tiny_folder, key, {"prompt_tuning": TRAINED["prompt_tuning"]}
    )
    other = f"run:{elsewhere.rows['prompt_tuning']}"

    found = read(own, prompt, other, task=key, wording="plain")

    assert found.setting == read(own, prompt).setting
    assert any("others" in note and "made on" in note for note in found.notes)
    assert not any("made on" in note for note in read(own, prompt, RANDOM).notes)


def test_rows_that_are_gone_are_said_once_and_nothing_is_read(own, tiny_folder, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(own.context.root, root)
    context = make_context(root, own.context.profile)
    page = Page(context, own.values(task="support_intents", wording="plain"))
    for file in root.rglob("messages.csv"):
        file.write_text(file.read_text().replace("lovely", "boring"))
    run = own.rows["prompt_tuning"]
    for path in root.rglob("*.json"):  # the copy names its own files
        path.write_text(path.read_text().replace(str(own.context.root), str(root)))

    with pytest.raises(StoreError, match=f"run {run}: .*'messages'.*not at hand"):
        read(page, f"run:{run}")
    with pytest.raises(StoreError, match=f"run {run}: .*'messages'.*not at hand"):
        opened(run, [], root)


def test_the_wording_is_the_runs_own_where_a_later_experiment_lies_beside(own, tmp_path):
    folder = tmp_path / "mine"
    run = own.workspace.run(own.rows["prompt_tuning"])
    shutil.copytree(run.folder, folder / run.record.run_id)
    made = own_experiment(run)
    store_experiment(folder, made.model_copy(update={"template": "plain", "chat": True}))
    copied, *_ = opened(run.record.run_id, [], tmp_path)

    assert stored_experiment(folder) != copied
    assert (copied.template, copied.chat) == (made.template, False)


def test_ask_refuses_a_run_that_was_made_with_other_words(own, tmp_path):
    question = Question(("lovely sun", ""), [f"run:{own.rows['lora']}"])

    assert list(stream_columns(own.context, SettingValues(**own.setting), question))
    for changes in ({"wording": "plain"}, {"task": other_task(own, tmp_path), "wording": "plain"}):
        values = SettingValues(**own.values(**changes))
        with pytest.raises(ConfigError, match=r"run .*_lora_.*: was made (on|with)"):
            list(stream_columns(own.context, values, question))
