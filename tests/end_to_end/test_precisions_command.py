"""`workbench precisions` from the outside, on the tiny model: table, report and exit codes."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from workbench.cli import app
from workbench.errors import WorkbenchError

WANTED = "nf4,nf4-single,bf16"


def precisions(*arguments: object) -> Result:
    """Run the command; an error of ours is kept in the result's `exception`."""
    wide = {"COLUMNS": "240", "TERM": "dumb"}
    return CliRunner().invoke(app, ["precisions", *map(str, arguments)], env=wide)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows(
            [f"{word} <b>{i}</b>", word] for i in range(16) for word in ("good", "bad")
        )
    return path


@pytest.fixture(scope="module")
def made(tiny_folder, rows) -> tuple[Path, Result, list[object]]:
    """Return the folder of a finished measurement, what was printed, and the arguments."""
    out = rows.parent / "out"
    asked = ["--model", tiny_folder, "--train", rows, "--precisions", WANTED, "--out", out]
    result = precisions(*asked)
    assert result.exit_code == 0, result.output
    return out, result, asked


def test_the_report_comes_in_five_forms(made):
    out, result, _ = made
    data = json.loads((out / "precisions.json").read_text())
    lines = list(csv.DictReader((out / "precisions.csv").read_text().splitlines()))
    page, markdown = (out / "precisions.html").read_text(), (out / "precisions.md").read_text()

    assert [one["base"]["precision"] for one in data["precisions"]] == WANTED.split(",")
    assert data["reference"] == "bf16"
    assert r"\begin{tabular}" in (out / "precisions.tex").read_text()
    figures = {path.suffix for path in out.glob("precisions-*")}
    assert figures == {".png", ".svg", ".pdf"}
    assert [line["precision"] for line in lines] == WANTED.split(",")
    for line, one in zip(lines, data["precisions"], strict=True):
        assert int(line["footprint_bytes"]) == one["base"]["footprint_bytes"]
        assert float(line["nats_per_token"]) == one["nats_per_token"]["value"]
    assert lines[2]["accuracy_difference"] == ""
    assert page.count("<svg") >= 4 + 2
    assert "<script" not in page
    for text in (result.output, markdown, page):
        assert "nf4-single" in text
        assert "What QLoRA claims" in text


def test_the_same_command_finds_what_is_done(made):
    out, first, asked = made
    before = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    report = (out / "precisions.json").read_text()

    second = precisions(*asked)

    assert second.exit_code == 0, second.output
    assert first.output.count("found, nothing to do") == 0
    assert second.output.count("found, nothing to do") == 3
    assert {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()} == before
    assert (out / "precisions.json").read_text() == report


def test_perplexity_of_a_file(made, tmp_path):
    _, _, asked = made
    text = tmp_path / "story.txt"
    text.write_text("The train to the coast left at six minutes past seven. " * 12)

    result = precisions(*asked[:-1], tmp_path / "out", "--text", text)

    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "precisions.json").read_text())["text"] == "story.txt"


BAD = {
    "unknown precision": (["--precisions", "nf4,nf3"], "unknown precision 'nf3'"),
    "no precision": (["--precisions", ","], "none named"),
    "missing text": (["--text", "nowhere.txt"], "text nowhere.txt: cannot be read"),
    "missing rows": (["--test", "nowhere.csv"], "nowhere.csv"),
    "unknown wording": (["--template", "plane"], "unknown wording"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message(case, made, tmp_path):
    _, _, asked = made
    arguments, expected = BAD[case]

    result = precisions(*asked[:-1], tmp_path / "out", *arguments)

    assert isinstance(result.exception, WorkbenchError)
    assert expected in str(result.exception)
    assert not list(tmp_path.glob("out/parts/*"))
