"""Python from the outside, on the tiny model: the runs and numbers of the commands, and back."""

import html
import json
import os
import re
import signal
import warnings
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import workbench
from visitors import write_rows
from workbench.cli import app
from workbench.errors import ConfigError, StoreError, TaskError
from workbench.progress import ProgressEvent
from workbench.watching import RunProgress

DOCUMENT = Path(workbench.__file__).parents[1] / "docs" / "python.md"
COLUMNS = {"text_column": "message", "label_column": "intent"}
ROWS = {"zero_shot": {}, "few_shot": {"k": 2}, "prompt_tuning": {"steps": 4}, "lora": {"steps": 4}}
TIMES = re.compile(r"seconds|milliseconds|memory")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return an empty folder to work in, its rows in it."""
    place = tmp_path_factory.mktemp("python")
    write_rows(place / "rows.csv")
    return place


@pytest.fixture(autouse=True)
def _own_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def base(tiny_folder):
    return workbench.open_base(tiny_folder, precision="fp32", progress=False)


@pytest.fixture(scope="module")
def task(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return workbench.open_task(Path("rows.csv"), **COLUMNS)


@pytest.fixture(scope="module")
def results(base, task, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return workbench.compare(base, task, ROWS, out="python", progress=False)


def command(*words: object) -> None:
    done = CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "200"})
    assert done.exit_code == 0, (done.output, done.exception)


def report(folder: Path) -> list[dict[str, object]]:
    """Return the rows of a report without what no two runs share: how long they took."""
    rows = json.loads((folder / "report.json").read_text())["rows"]
    for row in rows:
        row["run_id"] = row["run_id"][-6:]
        row["cost"] = {name: one for name, one in row["cost"].items() if not TIMES.search(name)}
    return rows


def test_a_comparison_is_that_of_the_command(results, tiny_folder):
    command(
        "evaluate", "--model", tiny_folder, "--precision", "fp32", "--train", "rows.csv",
        "--text-column", "message", "--label-column", "intent", "--out", "command",
        "--methods", "zero_shot,few_shot,prompt_tuning,lora", "--set", "methods.few_shot.k=2",
        "--set", "methods.prompt_tuning.steps=4", "--set", "methods.lora.steps=4",
    )  # fmt: skip

    assert report(Path("python")) == report(Path("command"))
    made = {place: {p.name for p in Path(place).glob("*_*_*")} for place in ("python", "command")}
    assert {name[-6:] for name in made["python"]} == {name[-6:] for name in made["command"]}
    for ours in Path("python").glob("*/adapter/*.safetensors"):
        (theirs,) = Path("command").glob(f"*{ours.parent.parent.name[-6:]}/adapter/{ours.name}")
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_training_of_the_command_is_found(base, task, tiny_folder, capfd, monkeypatch):
    columns = ("task.text_column=message", "task.label_column=intent")
    settings = ("precision=fp32", "task.train=rows.csv", *columns, "methods.prompt_tuning.steps=4")
    words = [word for setting in settings for word in ("--set", setting)]
    command("train", "prompt_tuning", "--model", tiny_folder, "--out", "trained", *words)
    (made,) = Path("trained").glob("*prompt_tuning*/predictions.jsonl")
    before = made.stat().st_mtime_ns
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a notebook's kernel does

    run = workbench.train(base, task, "prompt_tuning", steps=4, out="trained")

    assert made == run.folder / made.name
    assert made.stat().st_mtime_ns == before
    said = capfd.readouterr().err
    assert "(found, nothing to do)" in said
    assert "\x1b" not in said


def test_a_reading_is_that_of_the_command_and_found_by_it(results, base):
    run = results.run("prompt_tuning")

    reading = workbench.read(base, run, "nearest", k=3, progress=False)

    (kept,) = Path("python/readings").glob("nearest-*.json")
    before = kept.stat().st_mtime_ns
    words = ("--readings", "nearest", "--set", "nearest.k=3", "--json", "read.json")
    command("inspect", run.folder, *words)
    assert [kept] == list(Path("python/readings").glob("nearest-*.json"))
    assert kept.stat().st_mtime_ns == before
    said = json.loads(Path("read.json").read_text())["readings"]
    assert said == [reading.reading.model_dump(mode="json")]
    assert reading.verdict in html.unescape(reading._repr_html_())
    assert [len(table) for table in reading.tables().values()] == [
        len(table["rows"]) for table in said[0]["tables"]
    ]


def test_a_comparison_is_tables_figures_and_runs(results):
    table, answers = results.table(), results.answers()
    written = pd.read_csv("python/report.csv")

    pd.testing.assert_frame_equal(table, written, check_dtype=False, check_exact=False)
    run = results.run("lora", seed=0)
    assert list(run.answers()["answer"]) == list(answers["lora"])
    right = (answers["lora"] == answers["target"]).mean()
    assert right == pytest.approx(run.metrics().loc["accuracy", "value"])
    assert len(run.history()) >= 4
    assert (run.adapter / "adapter_config.json").is_file()
    assert results.run("zero_shot").adapter is None
    assert results.report.is_file()
    figure = results.figures()[0]
    picture, size = figure._repr_png_()
    assert picture.startswith(b"\x89PNG")
    assert size["width"] > 0
    shown = results._repr_html_()
    assert shown.count("<tr") == 1 + len(table)
    assert results.headline in repr(results)


def test_a_figure_is_kept_as_a_picture(results, tmp_path):
    figure = results.figures()[0]

    for form in ("png", "svg", "pdf"):
        figure.save(tmp_path / f"quality.{form}")

    assert (tmp_path / "quality.png").read_bytes() == figure._repr_png_()[0]
    assert (tmp_path / "quality.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in (tmp_path / "quality.svg").read_bytes()
    with pytest.raises(ConfigError, match="is no name of a picture"):
        figure.save(tmp_path / "quality.gif")


def test_one_text_is_answered_as_the_rows_answer_items(results, base, task):
    """A text of the test split gets the probabilities that its item got in the comparison."""
    item = task.task.test[0]

    answers = workbench.ask(base, task, item.fields["text"], ROWS, out="python", max_new_tokens=2)

    table = answers.table().set_index("way")
    assert list(table.index) == list(ROWS)
    for row in ROWS:
        given = results.run(row).answers().set_index("sample_id").loc[item.id]
        assert table.loc[row, "p(praise)"] == pytest.approx(given["p(praise)"], abs=1e-5)
        assert table.loc[row, "answer"] == given["answer"]
    assert item.fields["text"] in answers.prompts()["zero_shot"]
    assert "learned vectors]" in answers.prompts()["prompt_tuning"]
    kept = workbench.ask(base, task, item.fields["text"], out="python", max_new_tokens=2)
    assert list(kept.table()["way"]) == list(ROWS)


def test_a_way_without_a_run_is_named_and_the_others_answer(results, base, task, tmp_path):
    run = results.run("lora")

    answers = workbench.ask(
        base, task, "lovely", ["zero_shot", "lora"], runs=[run], max_new_tokens=1, out=tmp_path
    )

    assert list(answers.table()["way"]) == ["zero_shot", f"lora, seed 0, {run.digest[:4]}"]
    assert [one.label for one in answers.left_out] == ["lora"]
    assert "lora: left out: not trained yet in" in answers._repr_html_()
    with pytest.raises(ConfigError, match=r"ask: no way can answer\. lora: not trained yet"):
        workbench.ask(base, task, "lovely", "lora", out=tmp_path)


def test_a_row_that_fails_is_a_warning_and_the_others_are_kept(base, task, tmp_path, monkeypatch):
    def fails(self, context):
        raise ConfigError("methods.few_shot.k: too many.")

    monkeypatch.setattr("workbench.methods.few_shot.FewShot.fit", fails)

    with pytest.warns(RuntimeWarning, match=r"few_shot, seed 0: failed.*too many"):
        found = workbench.compare(
            base, task, ["zero_shot", "few_shot"], out=tmp_path, progress=False
        )

    assert "zero_shot" in list(found.table()["row"])
    assert found.table()["failed"].dropna().tolist() == ["methods.few_shot.k: too many."]


def test_ctrl_c_leaves_a_checkpoint_and_the_same_call_goes_on(
    base, task, tmp_path, monkeypatch, capfd
):
    seen: list[ProgressEvent] = []
    show = RunProgress.progressed

    def interrupted(self, run_id, event):
        show(self, run_id, event)
        seen.append(event)
        if event.stage == "train" and event.done == 3 and len(seen) < 10:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunProgress, "progressed", interrupted)
    options = {"steps": 6, "batch_size": 4, "out": tmp_path}
    with pytest.raises(KeyboardInterrupt, match="Finished work is kept; the same call goes on"):
        workbench.train(base, task, "prompt_tuning", **options)
    assert list(tmp_path.glob("*/checkpoint*"))
    first = len(seen)

    run = workbench.train(base, task, "prompt_tuning", **options)

    assert next(one.done for one in seen[first:] if one.stage == "train") > 3
    assert run.status == "finished"
    whole = workbench.train(base, task, "prompt_tuning", **options | {"out": tmp_path / "whole"})
    assert whole.answers().equals(run.answers())


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda base, task: workbench.compare(base, task, {"lora": {"rnak": 8}}), ConfigError,
         "Did you mean 'rank'?"),
        (lambda base, task: workbench.compare(base, task, ["lorra"]), ConfigError,
         "Did you mean 'lora'?"),
        (lambda base, task: workbench.compare(base, task, ["lora"], reference="few"), ConfigError,
         "reference: unknown row 'few'. Known: lora."),
        (lambda base, task: workbench.compare(base, task, ["lora"], seeds=[-1]), ConfigError,
         "a list of numbers from 0 up is needed"),
        (lambda base, task: workbench.train(base, task, "lora", stepz=3), ConfigError,
         "Did you mean 'steps'?"),
        (lambda base, task: workbench.ask(base, task, {"texts": "a"}), ConfigError,
         "ask: task 'rows' has the fields text, each a text; given: {'texts': 'a'}. "
         "Give {\"text\": \"…\"}."),
        (lambda base, task: workbench.ask(base, task, {"text": 3}), ConfigError, "each a text"),
        (lambda base, task: workbench.compare(base, task, 3), ConfigError, "compare, methods"),
        (lambda base, task: workbench.compare(base, task, {"lora": 3}), ConfigError,
         "compare, methods.lora"),
        (lambda base, task: workbench.ask(base, task, "a", "zero_shot", max_new_tokens=0),
         ConfigError, "ask: max_new_tokens is 0; 1 to 4,096 can be."),
        (lambda base, task: workbench.open_run("nothing"), StoreError,
         "open_run: no run 'nothing' (looked below runs)."),
        (lambda base, task: workbench.read(base, "nothing"), StoreError,
         "no run or adapter 'nothing'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_message(base, task, call, kind, message):
    with pytest.raises(kind) as found:
        call(base, task)

    assert message in str(found.value)


def test_a_reading_of_another_kind_is_refused(results, base):
    run = results.run("lora")

    with pytest.raises(ConfigError, match="read: 'nearest' reads vectors, and weights are given"):
        workbench.read(base, run, "nearest")
    with pytest.raises(ConfigError, match="learns nothing that could be opened"):
        workbench.read(base, results.run("zero_shot"))


def test_data_that_changed_meanwhile_are_refused(base, tmp_path):
    file = write_rows(tmp_path / "rows.csv")
    task = workbench.open_task(file, **COLUMNS)
    file.write_text(file.read_text().replace("number 3", "number three"))

    with pytest.raises(TaskError, match="its data are not those that open_task read"):
        workbench.compare(base, task, ["zero_shot"], out=tmp_path, progress=False)


def test_a_base_that_is_not_there_is_one_message(tmp_path):
    with pytest.raises(ConfigError, match="open_base, precision"):
        workbench.open_base(tmp_path, precision=3)


def test_every_example_of_the_document_runs(base, tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    assert "workbench.open_base()" in blocks[0]
    monkeypatch.setattr(workbench, "open_base", lambda: base, raising=False)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in blocks:
            exec(compile(block, DOCUMENT.name, "exec"), names)

    used = {name for name in workbench.__all__ if f"workbench.{name}" in "".join(blocks)}
    assert used == set(workbench.__all__)
    assert "Did you mean 'rank'?" in capsys.readouterr().out
