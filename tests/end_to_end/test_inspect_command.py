"""`workbench inspect` from the outside, on the tiny model: runs in, readings, page and data out."""

import csv
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from workbench.cli import app
from workbench.errors import ConfigError, StoreError, WorkbenchError


def inspect(*arguments: object) -> Result:
    """Run the command; an error of ours is kept in the result's `exception`."""
    wide = {"COLUMNS": "200", "TERM": "dumb"}
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)], env=wide)


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory) -> Path:
    """Return a folder with the finished runs of two seeds and a LoRA."""
    folder = tmp_path_factory.mktemp("made")
    rows = folder / "rows.csv"
    with rows.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows([f"{w} {i}", w] for i in range(20) for w in ("good", "bad"))
    settings = (
        "methods.prompt_tuning.steps=4",
        "methods.prompt_tuning.eval_every=2",
        "methods.prompt_tuning.seeds=[0,1]",
        "methods.lora.steps=2",
    )
    quick = [word for setting in settings for word in ("--set", setting)]
    base = ["--model", tiny_folder, "--precision", "fp32"]
    rows_to_run = ["--methods", "zero_shot,prompt_tuning,lora"]
    out = ["--out", folder / "runs" / "mine"]
    asked = ["evaluate", *base, "--train", rows, *rows_to_run, *out, *quick]
    result = CliRunner().invoke(app, list(map(str, asked)))
    assert result.exit_code == 0, result.output
    return folder / "runs"


def run_ids(made: Path, method: str) -> list[str]:
    return sorted(path.name for path in (made / "mine").glob(f"*_{method}_*"))


def test_a_prompt_is_opened_beside_another_and_written_as_a_page(made, tmp_path):
    one, other = run_ids(made, "prompt_tuning")
    page, data = tmp_path / "page.html", tmp_path / "data.json"

    beside = [one, "--against", other, "--runs", made, "--items", "4"]
    files = ["--html", page, "--json", data]
    result = inspect(*beside, *files, "--readings", "nearest,truncation,attention,similarity")

    assert result.exit_code == 0, result.output
    for title in ("Nearest tokens", "How many vectors are needed", "Attention on the prompt",
                  "Similarity of prompts"):  # fmt: skip
        assert title in result.output
    html = page.read_text()
    assert html.count("<section") == 4
    assert html.count("<svg") >= 4
    assert "<script" not in html
    assert re.search(r'(src|href)="(?!#)', html) is None
    readings = json.loads(data.read_text())["readings"]
    assert [reading["name"] for reading in readings] == [
        "nearest", "truncation", "attention", "similarity",
    ]  # fmt: skip
    shown = " ".join(result.output.split())  # the terminal wraps lines
    for reading in readings:
        assert " ".join(reading["verdict"].split()) in shown
    assert len(list((made / "mine" / "readings").glob("*.json"))) == 4


def test_a_run_is_found_by_its_id_its_hash_or_its_folder(made):
    one, _ = run_ids(made, "prompt_tuning")
    names = (one, one.rsplit("_", 1)[1], made / "mine" / one)
    asked = [inspect(name, "--runs", made, "--readings", "nearest") for name in names]

    assert [result.exit_code for result in asked] == [0, 0, 0]
    assert len({result.output for result in asked}) == 1


def test_a_lora_gets_the_reading_of_weights(made, tmp_path):
    (lora,) = run_ids(made, "lora")

    result = inspect(lora, "--runs", made, "--readings", "weights", "--figures", tmp_path)

    assert result.exit_code == 0, result.output
    assert "What the weights learned" in result.output
    forms = {path.suffix for path in tmp_path.iterdir()}
    assert forms == {".json", ".csv", ".tex", ".png", ".svg", ".pdf"}


def test_a_control_is_read_where_a_run_says_the_task(made):
    one, _ = run_ids(made, "prompt_tuning")

    result = inspect("control:random", "--against", one, "--runs", made, "--readings", "nearest")

    assert result.exit_code == 0, result.output
    assert "No better than chance" in result.output


def test_what_no_run_made_is_read_on_what_is_said(made, tiny_folder):
    on = [f"model={tiny_folder}", "precision=fp32", "task.name=support_intents", "template=brief"]
    words = [word for one in on for word in ("--on", one)]
    readings = ["--readings", "nearest", "--items", "4"]

    refused = inspect("control:random", *words, *readings)
    result = inspect("control:random", *words[:-2], *readings)

    assert "this wording has no instruction" in str(refused.exception)
    assert result.exit_code == 0, result.output
    assert "support_intents, first 4 of" in result.output


def test_a_run_is_read_on_its_own_and_nothing_else(made):
    one, _ = run_ids(made, "prompt_tuning")

    result = inspect(one, "--runs", made, "--on", "task.name=sst2")

    assert isinstance(result.exception, ConfigError)
    assert f"--on task.name=sst2: run {one} is read on its own base" in str(result.exception)


def test_the_report_of_a_comparison_has_a_first_look(made):
    html = (made / "mine" / "report.html").read_text()
    markdown = (made / "mine" / "report.md").read_text()

    assert "What the soft prompts read as" in html
    assert html.count('class="reading"') == 2
    assert "Nearest tokens: prompt_tuning, seed 0" in html
    assert "## What the soft prompts read as" in markdown


REFUSED = {
    "no such run": (["nothing-here"], StoreError, "no run or adapter 'nothing-here'"),
    "nothing learned": (["ZERO"], ConfigError, "'zero_shot' learns nothing"),
    "a control alone": (["control:random"], ConfigError, "Add --against RUN"),
    "an unknown reading": (
        ["PROMPT", "--readings", "nearst"], ConfigError, "Did you mean 'nearest'",
    ),
    "a reading of weights": (
        ["PROMPT", "--readings", "weights"], ConfigError, "reads weights, and vectors are given",
    ),
    "no reading": (["PROMPT", "--readings", ","], ConfigError, "none named"),
    "a setting without a reading": (
        ["PROMPT", "--readings", "nearest", "--set", "k=3"], ConfigError, "reading.option=value",
    ),
    "a setting out of bounds": (
        ["PROMPT", "--readings", "nearest", "--set", "nearest.k=1"], ConfigError, "out of bounds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_one_message(made, what):
    arguments, kind, message = REFUSED[what]
    names = {"PROMPT": run_ids(made, "prompt_tuning")[0], "ZERO": run_ids(made, "zero_shot")[0]}

    result = inspect(*(names.get(a, a) for a in arguments), "--runs", made)

    assert isinstance(result.exception, kind)
    assert isinstance(result.exception, WorkbenchError)
    assert message in str(result.exception)


def test_data_that_changed_since_are_said_so(made, tmp_path):
    import shutil

    shutil.copytree(made / "mine", tmp_path / "mine")
    for name in ("experiment.json", "origin.json"):
        for path in (tmp_path / "mine").rglob(name):
            experiment = json.loads(path.read_text())
            experiment["task"]["split_seed"] = 5
            path.write_text(json.dumps(experiment))

    result = inspect(run_ids(made, "prompt_tuning")[0], "--runs", tmp_path)

    assert isinstance(result.exception, StoreError)
    assert "not at hand" in str(result.exception)


def test_the_readings_are_listed_with_their_options():
    listed = CliRunner().invoke(app, ["readings"])
    options = CliRunner().invoke(app, ["readings", "nearest"])

    assert listed.exit_code == 0
    assert "verbalisation" in listed.output
    assert "How many tokens are listed for each vector." in options.output


def test_an_adapter_of_another_kind_is_refused_in_words(made, tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "IA3"}')

    result = inspect(tmp_path, "--runs", made)

    assert isinstance(result.exception, ConfigError)
    assert "an adapter that cannot be opened. Soft prompts" in str(result.exception)
