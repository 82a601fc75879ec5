"""`workbench bases` from the outside, on two tiny models: reports, and a line over both."""

import json
from pathlib import Path

import numpy as np
import pytest

from terminal import call, write_experiment
from toys import write_base
from visitors import local_workspace
from workbench.analysis.curves.report import curves_as_dict, sentences_of
from workbench.analysis.curves.stored_bases import across_bases, bases_view

METHODS = """
  zero_shot: {}
  prompt_tuning: {steps: 4, eval_every: 2}
  full_fine_tuning: {steps: 30, eval_every: 10, learning_rate: 0.003}
"""


@pytest.fixture(scope="module")
def larger(tiny_folder, tmp_path_factory) -> Path:
    """Return a base of more parameters than the tiny one."""
    sizes = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return write_base("llama", tmp_path_factory.mktemp("larger"), tiny_folder, **sizes, **heads)


@pytest.fixture
def experiment(tmp_path) -> Path:
    return write_experiment(tmp_path, METHODS)


def correct(folder: Path) -> dict[str, bool]:
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    return {one["sample_id"]: one["answer"] == one["target"] for one in map(json.loads, lines)}


def test_every_row_on_two_bases(experiment, tiny_folder, larger, tmp_path, monkeypatch, capfd):
    out = tmp_path / "out"
    arguments = ("bases", experiment, "--models", f"{larger},{tiny_folder}", "--out", out)

    code, said, errors = call(monkeypatch, capfd, *arguments)

    assert code == 0, errors
    content = json.loads((out / "bases.json").read_text())
    lines = {line["line"]: line["points"] for line in content["lines"]}
    assert [len(lines[name]) for name in ("zero_shot", "prompt_tuning", "full_fine_tuning")] == [
        2
    ] * 3
    assert [point["place"] for point in lines["majority_class"]] == [None]
    small, large = content["places"]
    assert small < large  # by size, whatever the order asked for
    reports = sorted(path.parent.name for path in out.glob("*/report.json"))
    assert [name[0] for name in reports] == ["1", "2"]
    first, second = (json.loads((out / name / "report.json").read_text()) for name in reports)
    assert first["base"]["identity"] != second["base"]["identity"]
    assert all(name in said for name in ("prompt_tuning against full_fine_tuning", "at 0.1"))

    # The gap of the larger base, from the files of its two runs alone.
    runs = {
        name: points[1]["runs"][0]["run_id"] for name, points in lines.items() if len(points) > 1
    }
    ours, theirs = (correct(out / runs[name]) for name in ("prompt_tuning", "full_fine_tuning"))
    gap = 100 * np.mean([int(ours[item]) - int(theirs[item]) for item in theirs])
    (sentence,) = [one for one in content["in_words"] if one.startswith("prompt_tuning against")]
    assert gap < 0
    assert f"{gap:+.1f} [" in sentence
    assert "does not catch up" in sentence
    page = (out / "bases.html").read_text()
    assert f"{larger}, fp32 ({reports[0]}/report.html)" in page

    # A page over the same folder finds the runs, and draws the same lines of them.
    (found,) = across_bases(local_workspace(tmp_path).runs())
    view = bases_view(found)
    drawn = {line["line"]: line["points"] for line in curves_as_dict(view.curves)["lines"]}
    assert drawn == lines
    assert list(view.curves.places) == content["places"]
    assert sorted(sentences_of(view.curves)) == sorted(content["in_words"])

    code, again, errors = call(monkeypatch, capfd, *arguments)

    assert code == 0, errors
    assert again.count("(found, nothing to do)") == 6


@pytest.mark.parametrize(
    ("models", "more", "said"),
    [
        ("{tiny}", (), "are not two or more different bases"),
        ("{tiny},{tiny}", (), "are not two or more different bases"),
        ("{tiny},/nowhere/at/all", (), "/nowhere/at/all"),
    ],
)
def test_what_cannot_be_is_said_before_a_base_is_loaded(
    models, more, said, experiment, tiny_folder, tmp_path, monkeypatch, capfd
):
    names = models.format(tiny=tiny_folder)

    code, _, errors = call(
        monkeypatch, capfd, "bases", experiment, "--models", names, *more, "--out", tmp_path / "out"
    )

    assert code == 2
    assert said in errors
    assert not (tmp_path / "out").exists()


def test_the_row_to_hold_others_against_has_to_be_there(
    experiment, tiny_folder, larger, tmp_path, monkeypatch, capfd
):
    code, _, errors = call(
        monkeypatch, capfd, "bases", experiment, "--models", f"{larger},{tiny_folder}",
        "--against", "loraa", "--out", tmp_path / "out",
    )  # fmt: skip

    assert code == 2
    assert "--against" in errors


def test_the_revision_of_one_base_is_not_dropped_in_silence(
    experiment, tiny_folder, larger, tmp_path, monkeypatch, capfd
):
    code, _, errors = call(
        monkeypatch, capfd, "bases", experiment, "--models", f"{larger},{tiny_folder}",
        "--set", "revision=abc123", "--out", tmp_path / "out",
    )  # fmt: skip

    assert code == 2
    assert "revision is that of one base" in errors
