"""`workbench curve` and `workbench sweep` from the outside, on the tiny model."""

import csv
import json
from pathlib import Path

import pytest

from terminal import call, write_experiment

METHODS = """
  zero_shot: {}
  few_shot: {k: 4}
  prompt_tuning: {steps: 30, eval_every: 10}
  lora: {steps: 4, eval_every: 2}
"""


@pytest.fixture
def experiment(tmp_path, tiny_folder) -> Path:
    """Return an experiment file over a CSV of separable rows."""
    return write_experiment(tmp_path, METHODS, f"model: {tiny_folder}")


def test_a_curve_begins_without_examples_and_is_found_again(
    experiment, tmp_path, monkeypatch, capfd
):
    arguments = ("curve", experiment, "--sizes", "0,8,36", "--out", tmp_path / "out")

    code, out, errors = call(monkeypatch, capfd, *arguments)

    assert code == 0, errors
    content = json.loads((tmp_path / "out" / "curve.json").read_text())
    places = {line["line"]: [p["place"] for p in line["points"]] for line in content["lines"]}
    assert places == {
        "majority_class": [None],
        "zero_shot": [None],
        "few_shot": [0, 8, 36],
        "prompt_tuning": [8, 36],
        "lora": [8, 36],
    }
    assert {(o["trained"], o["demonstrations"]) for o in content["overtaking"]} == {
        ("prompt_tuning", "few_shot"), ("lora", "few_shot")
    }  # fmt: skip
    for sentence in content["in_words"]:
        assert sentence in out
    shown = {r["run_id"] for line in content["lines"] for p in line["points"] for r in p["runs"]}
    stored = {path.parent.name for path in (tmp_path / "out").glob("*/predictions.jsonl")}
    assert shown == stored
    for name in ("curve.html", "curve.png", "curve.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 300

    code, again, errors = call(monkeypatch, capfd, *arguments)

    assert code == 0, errors
    assert again.count("(found, nothing to do)") == 1 + 3 + 2 + 2
    assert json.loads((tmp_path / "out" / "curve.json").read_text()) == content


def test_no_examples_are_zero_shot_and_all_of_them_are_a_comparison(
    experiment, tmp_path, monkeypatch, capfd
):
    out = tmp_path / "out"
    assert call(monkeypatch, capfd, "evaluate", experiment, "--out", out)[0] == 0

    code, shown, errors = call(monkeypatch, capfd, "curve", experiment, "--sizes", "0,36",
                               "--out", out)  # fmt: skip

    assert code == 0, errors
    # The whole split is the comparison's own task, so only few_shot without examples is new.
    assert shown.count("(found, nothing to do)") == 4
    rows = list(csv.DictReader((out / "curve.csv").read_text().splitlines()))
    (without,) = (r for r in rows if (r["line"], r["training examples"]) == ("few_shot", "0"))
    (zero,) = (r for r in rows if r["line"] == "zero_shot")
    answers = [
        [json.loads(line)["probabilities"]
         for line in (out / row["run_id"] / "predictions.jsonl").read_text().splitlines()]
        for row in (without, zero)
    ]  # fmt: skip
    assert answers[0] == [
        {label: pytest.approx(p, abs=1e-5) for label, p in row.items()} for row in answers[1]
    ]


def test_a_sweep_shows_dev_and_test_for_every_value_and_seed(
    experiment, tmp_path, monkeypatch, capfd
):
    arguments = (
        "sweep", experiment, "--row", "lora", "--option", "rank", "--values", "1,4,16",
        "--seeds", "0,1", "--out", tmp_path / "out",
    )  # fmt: skip

    code, out, errors = call(monkeypatch, capfd, *arguments)

    assert code == 0, errors
    content = json.loads((tmp_path / "out" / "sweep-lora-rank.json").read_text())
    line = next(line for line in content["lines"] if line["line"] == "lora")
    assert [p["place"] for p in line["points"]] == [1, 4, 16] == content["places"]
    assert all(p["dev_accuracy"] is not None and len(p["runs"]) == 2 for p in line["points"])
    best = content["best_on_dev"]["place"]
    assert content["in_words"][0].startswith(f"Dev chooses rank {best}:")
    assert content["in_words"][0] in out

    code, again, errors = call(monkeypatch, capfd, *arguments)

    assert again.count("(found, nothing to do)") == 6


def test_a_searched_comparison_marks_its_lower_bound_and_hides_the_losers(
    experiment, tmp_path, monkeypatch, capfd
):
    code, out, errors = call(
        monkeypatch, capfd, "evaluate", experiment, "--methods", "zero_shot,lora", "--out",
        tmp_path / "out", "--set", "methods.lora.learning_rates=[1.0e-8, 2.0e-8]",
    )  # fmt: skip

    assert code == 0, errors
    assert "lora (lower bound)" in out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    (row,) = (row for row in report["rows"] if row["row"] == "lora")
    code, out, errors = call(
        monkeypatch, capfd, "ask", "lovely sun", "--max-new-tokens", 3, "--out", tmp_path / "out"
    )
    assert code == 0, errors
    assert "not trained yet" not in out
    losers = {trial["run_id"] for trial in row["search"]["trials"]} - {row["run_id"]}
    assert len(losers) == 2
    for name in losers:
        assert not (tmp_path / "out" / name / "predictions.jsonl").exists()


BAD = {
    "sizes": (
        ["curve", "--sizes", "8,-1"],
        "error: --sizes 8,-1: different whole numbers from 0 up, separated by commas, are needed. "
        "Example: --sizes 0,8,32,128\n",
    ),
    "size beyond the split": (
        ["curve", "--sizes", "0,500"],
        "error: curve: sizes 500: the training split of 'mine' has 36 examples. Use sizes from 0 "
        "to 36, or a larger task.limit_train.\n",
    ),
    "option without values": (
        ["sweep", "--row", "lora", "--option", "rank"],
        "error: sweep: --option is given 1 times and --values 0 times. Give each option once and "
        "its values after it: --option rank --values 2,4,8\n",
    ),
    "values": (
        ["sweep", "--row", "lora", "--option", "rank", "--values", "1,[2]"],
        "error: --values 1,[2]: single values separated by commas are needed. Example: 2,4,8\n",
    ),
    "unknown option": (
        ["sweep", "--row", "zero_shot", "--option", "ranks", "--values", "1"],
        "error: methods.zero_shot: unknown option 'ranks'.",
    ),
    "out of bounds": (
        ["sweep", "--row", "lora", "--option", "rank", "--values", "0"],
        "error: methods.lora.rank: 0 is out of bounds; allowed: 1 to 512\n",
    ),
    "unknown row": (
        ["sweep", "--row", "lorra", "--option", "rank", "--values", "1"],
        "error: sweep: unknown row 'lorra'. Did you mean 'lora'?",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_values_end_with_one_message_and_exit_code_2(
    case, experiment, tmp_path, monkeypatch, capfd
):
    (command, *rest), message = BAD[case]

    code, _, errors = call(
        monkeypatch, capfd, command, experiment, *rest, "--out", tmp_path / "out"
    )

    assert code == 2
    assert errors.startswith(message)
    assert not list((tmp_path / "out").glob("*/record.json"))


WORDING = """\
version: 1
instruction: "{instruction}"
input: "{{text}}\\n{cue}"
separator: "\\n\\n"
"""


def test_wordings_are_run_side_by_side_and_their_range_is_said(
    experiment, tmp_path, monkeypatch, capfd
):
    names = []
    for name, instruction, cue in (("one", "Sort it.", "Kind:"), ("two", "What is it?", "It is")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(WORDING.format(instruction=instruction, cue=cue))
        names.append(str(path))
    rows = ("--set", "methods={zero_shot: {}, few_shot: {k: 4}}")
    arguments = ("wordings", experiment, "--wordings", ",".join(names), *rows, "--out", tmp_path)

    code, _, errors = call(monkeypatch, capfd, *arguments)

    assert code == 0, errors
    content = json.loads((tmp_path / "wordings.json").read_text())
    lines = {line["line"]: line["points"] for line in content["lines"]}
    assert [point["place"] for point in lines["few_shot"]] == names
    values = [point["quality"]["value"] for point in lines["few_shot"]]
    (said,) = [text for text in content["in_words"] if text.startswith("few_shot: ")]
    assert f"from {100 * min(values):.1f} %" in said
    assert f"to {100 * max(values):.1f} %" in said
    widest = max(
        max(p["quality"]["value"] for p in lines[row])
        - min(p["quality"]["value"] for p in lines[row])
        for row in ("zero_shot", "few_shot")
    )
    assert f"by {100 * widest:.1f} points" in content["in_words"][-1]
    assert content["overtaking"] == []
    again = call(monkeypatch, capfd, *arguments)
    assert "nothing to do" in again[1]


def test_one_wording_has_no_range(experiment, tmp_path, monkeypatch, capfd):
    code, _, errors = call(
        monkeypatch, capfd, "wordings", experiment, "--wordings", "plain", "--out", tmp_path / "out"
    )

    assert code == 2
    assert "two or more different ones are needed. Example: plain,brief" in errors
