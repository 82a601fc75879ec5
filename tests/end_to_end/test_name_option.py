"""`--name` of `train` and `evaluate`: what is named, what keeps a name, and what is refused."""

import json
from pathlib import Path

import pytest

from terminal import call, write_experiment

METHODS = """
  zero_shot: {}
  lora: {steps: 4, eval_every: 2}
"""


@pytest.fixture
def experiment(tmp_path, tiny_folder) -> Path:
    return write_experiment(tmp_path, METHODS, f"model: {tiny_folder}")


def names(out: Path) -> dict[str, str]:
    """Return the name of each named run of a report by its row and seed."""
    rows = json.loads((out / "report.json").read_text())["rows"]
    return {f"{row['row']} {row['seed']}": row["name"] for row in rows if row["name"]}


def test_a_training_names_its_run_and_its_report(experiment, tmp_path, monkeypatch, capfd):
    out = tmp_path / "out"
    arguments = ("train", "lora", "--experiment", experiment, "--out", out, "--name")

    code, said, errors = call(monkeypatch, capfd, *arguments, " four steps ")

    assert code == 0, errors
    assert said.endswith(": four steps\n")
    listed = call(monkeypatch, capfd, "runs", out)[1]
    assert " four steps " in listed
    assert call(monkeypatch, capfd, *arguments, "four steps")[0] == 0  # the same run again
    report = json.loads((out / "report.json").read_text())
    assert report["name"] == "four steps"
    assert names(out) == {"lora 0": "four steps"}
    assert "<title>four steps · mine" in (out / "report.html").read_text()
    assert (out / "report.md").read_text().startswith("# four steps · ")

    before = sorted(out.glob("*/record.json"))
    other = ("--set", "methods.lora.rank=2")
    code, _, errors = call(monkeypatch, capfd, *arguments, "four steps", *other)

    assert code == 2
    assert "name 'four steps': is the name of run" in errors
    assert sorted(out.glob("*/record.json")) == before  # said before anything was trained


def test_a_name_is_free_only_if_no_run_of_the_store_has_it(
    experiment, tmp_path, monkeypatch, capfd
):
    shared = ("--store", tmp_path / "shared", "--experiment", experiment, "--name", "mine")
    first = call(monkeypatch, capfd, "train", "lora", *shared, "--out", tmp_path / "first")
    other = ("--out", tmp_path / "other", "--set", "methods.lora.rank=2")

    code, _, errors = call(monkeypatch, capfd, "train", "lora", *shared, *other)

    assert first[0] == 0, first[2]
    assert code == 2
    assert "name 'mine': is the name of run" in errors


def test_the_runs_of_several_seeds_have_their_seeds_in_their_names(
    experiment, tmp_path, monkeypatch, capfd
):
    out = tmp_path / "out"

    code, _, errors = call(
        monkeypatch, capfd, "train", "lora", "--experiment", experiment, "--out", out,
        "--seeds", "0,3", "--name", "short",
    )  # fmt: skip

    assert code == 0, errors
    shown = call(monkeypatch, capfd, "name", "short (seed 3)", "--runs", out)[1]
    assert shown.endswith(": short (seed 3)\n")
    assert "short (seed 0)" in call(monkeypatch, capfd, "runs", out)[1]


def test_an_evaluation_names_its_comparison_and_no_run(experiment, tmp_path, monkeypatch, capfd):
    out = tmp_path / "out"
    arguments = ("evaluate", experiment, "--out", out)

    code, _, errors = call(monkeypatch, capfd, *arguments, "--name", "monday")

    assert code == 0, errors
    assert "<title>monday · mine" in (out / "report.html").read_text()
    assert names(out) == {}
    call(monkeypatch, capfd, *arguments)
    assert json.loads((out / "report.json").read_text())["name"] == "monday"

    call(monkeypatch, capfd, *arguments, "--methods", "zero_shot")  # something else

    assert json.loads((out / "report.json").read_text())["name"] == ""


@pytest.mark.parametrize("command", [("evaluate",), ("train", "lora", "--experiment")])
@pytest.mark.parametrize("name", ["a/b", "-x", "<b>", "x" * 61])
def test_what_is_no_name_is_said_before_anything_is_made(
    command, name, experiment, tmp_path, monkeypatch, capfd
):
    out = tmp_path / "out"

    code, _, errors = call(monkeypatch, capfd, *command, experiment, "--out", out, f"--name={name}")

    assert code == 2
    assert "A name begins with a letter or a digit" in errors
    assert not list(out.glob("*/record.json"))
