"""`workbench grid` from the outside: a table in the terminal, and four files of it."""

import csv
import json
from pathlib import Path

import pytest
from test_batch_command import command, in_process, write_rows

OTHER = "version: 1\ninstruction: 'Which of {labels} is it?'\ninput: 'Text: {text}\\nIs:'\n"


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory) -> Path:
    """Return a folder with rows, a wording, and a finished run."""
    folder = tmp_path_factory.mktemp("grid")
    write_rows(folder / "train.csv", 40)
    (folder / "other.yaml").write_text(OTHER, encoding="utf-8")
    done = command(
        "evaluate", "--model", tiny_folder, "--precision", "fp32", "--train", "train.csv",
        "--text-column", "message", "--label-column", "intent", "--set", "task.name=mood",
        "--out", "runs/mine", "--methods", "lora", "--set", "methods.lora.steps=2", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def ask(made, tiny_folder, monkeypatch, capfd, tmp_path):
    """Return what runs the command on the tiny base; its files go to `tmp_path / "out"`."""
    monkeypatch.chdir(made)

    def run(*more: object) -> tuple[int, str, str]:
        return in_process(
            monkeypatch, capfd, "grid", "--models", tiny_folder, "--precision", "fp32",
            "--train", "train.csv", "--text-column", "message", "--label-column", "intent",
            "--set", "task.name=mood", "--out", tmp_path / "out", *more,
        )  # fmt: skip

    return run


def cells(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / "grid.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_texts_of_a_file_are_answered_with_wordings_methods_and_a_run(made, ask, tmp_path):
    rows = tmp_path / "texts.csv"
    rows.write_text("message,intent\nlovely sun,praise\nawful rain,\n", encoding="utf-8")
    (run,) = (made / "runs" / "mine").glob("*_lora_*")

    code, out, errors = ask(
        "--rows", rows, "--wordings", "plain,other.yaml", "--methods", "zero_shot,few_shot",
        "--trained", run.name, "--label-column", "intent",
    )  # fmt: skip

    assert (code, errors) == (0, "")
    assert "10 of 10 cells answered" in out
    assert "Words that differ: plain and other" in out
    assert "with wording other: left out" in out  # a run answers with its own wording
    found = cells(tmp_path)
    assert len(found) == 10
    assert {row["is_right"] for row in found if row["field_text"] == "awful rain"} == {""}
    assert {row["is_right"] for row in found if row["field_text"] == "lovely sun"} <= {
        "true", "false",
    }  # fmt: skip
    data = json.loads((tmp_path / "out" / "grid.json").read_text(encoding="utf-8"))
    assert [column["way"] for column in data["columns"]].count("few_shot") == 2
    assert {path.suffix for path in (tmp_path / "out").glob("grid.*")} == {
        ".html", ".md", ".tex", ".csv", ".json",
    }  # fmt: skip


def test_texts_on_the_line_and_a_run_alone(made, ask, tmp_path):
    (run,) = (made / "runs" / "mine").glob("*_lora_*")

    code, out, errors = ask("--trained", run, "lovely sun", "awful rain")

    assert (code, errors) == (0, "")
    assert [row["field_text"] for row in cells(tmp_path)] == ["lovely sun", "awful rain"]
    assert {row["way"].split(" (")[0] for row in cells(tmp_path)} == {"lora"}
    assert "2 of 2 cells answered" in out


def test_without_texts_rows_of_dev_are_asked(ask, tmp_path):
    code, out, errors = ask()

    assert (code, errors) == (0, "")
    found = cells(tmp_path)
    assert 0 < len(found) <= 8
    assert all(row["target"] for row in found)
    assert "right" in out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--wordings", "nothing"), "nothing"),
        (("--wordings", " , "), "--wordings: none named"),
        (("--trained", "nothing"), "no finished run of that name"),
        (("--rows", "train.csv", "a text"), "Give one of them"),
        (("--methods", "lora", "a text"), "not trained yet"),
        (("--methods", "nothing", "a text"), "nothing"),
        (("--rows", "absent.csv"), "absent.csv: no such file"),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_one_message(ask, tmp_path, more, message):
    code, _, errors = ask(*more)

    assert code == 2
    assert message in errors
    assert not (tmp_path / "out" / "grid.csv").exists()
