"""A comparison on a task that asks for a text: from the command to report, page and items."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rouge_score.rouge_scorer import RougeScorer
from test_batch_command import command, in_process

from workbench.analysis.comparison import ComparedRun, compare_runs
from workbench.analysis.disagreement import BrowseMode, browse, disagreement_csv, mode_counts
from workbench.analysis.headline import headline
from workbench.analysis.leaderboard import leaderboard
from workbench.analysis.training_figure import training_plot
from workbench.errors import ConfigError
from workbench.runs.experiment import TaskChoice
from workbench.runs.session import open_task
from workbench.runs.store import RunStore
from workbench.ui.comparison_view import results_html
from workbench.ui.rendering import render

METHODS = "zero_shot,few_shot,prompt_tuning,lora"


@pytest.fixture(scope="module")
def out(tiny_folder, tmp_path_factory) -> Path:
    """Return the folder of a comparison of four ways on the embedded replies."""
    folder = tmp_path_factory.mktemp("replies") / "out"
    done = command(
        "evaluate", "--model", tiny_folder, "--precision", "fp32", "--task", "formal_replies",
        "--methods", METHODS, "--out", folder, "--set", "methods.few_shot.k=2",
        "--set", "methods.prompt_tuning={steps: 4, eval_every: 2}",
        "--set", "methods.lora={steps: 4, eval_every: 2}", "--set", "task.limit_train=12",
        "--set", "task.limit_dev=4", "--set", "task.limit_test=8", cwd=folder.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"lora seed 0: ROUGE-L \d+\.\d %", done.stdout)
    return folder


@pytest.fixture
def comparison(out):
    """Return the comparison of the stored runs, two of them as seeds of one row."""
    runs = {run.spec.method: run for run in RunStore(out).runs()}
    return compare_runs(
        [ComparedRun(name, run) for name, run in runs.items()], reference="zero_shot"
    )


def test_every_row_has_the_metrics_of_texts_and_no_accuracy(out):
    report = json.loads((out / "report.json").read_text())

    assert report["task"]["kind"] == "generation"
    rows = {row["row"]: row for row in report["rows"]}
    assert set(rows) == {*METHODS.split(","), "nearest_neighbour_copy"}
    for row in rows.values():
        assert not any("accuracy" in name for name in row["metrics"])
        assert list(row["metrics"])[:5] == ["rouge_l", "rouge_1", "rouge_2", "bleu", "chrf"]
        for estimate in row["metrics"].values():
            assert estimate["low"] <= estimate["value"] <= estimate["high"]
            assert estimate["num_scored"] + estimate["num_unscored"] == 8
    # Copied replies are fluent and nearly right; the untrained tiny model writes noise.
    assert rows["nearest_neighbour_copy"]["metrics"]["rouge_l"]["value"] > 0.3
    assert "truncation_rate" not in rows["nearest_neighbour_copy"]["metrics"]
    (line, *_) = csv.DictReader((out / "report.csv").read_text(encoding="utf-8").splitlines())
    assert float(line["rouge_l"]) >= 0


def test_scores_of_items_are_those_of_the_library_and_their_mean_that_of_the_run(out):
    scorer, compared = RougeScorer(["rougeL"], use_stemmer=True), 0
    for run in RunStore(out).runs():
        lines = run.predictions()
        for line in lines:
            answer = line["answer"] or ""
            if answer.isascii():  # the library drops every other letter
                scores = [scorer.score(r, answer)["rougeL"].fmeasure for r in line["references"]]
                assert line["score"] == pytest.approx(max(scores))
                compared += 1
        mean = np.mean([line["score"] for line in lines])
        assert run.record.metrics["rouge_l"].value == pytest.approx(mean)
        assert all(len(line["references"]) == 2 for line in lines)
        bound = max(len(line["target"]) for line in lines) * 2  # one token per character here
        assert all(0 <= line["generated_tokens"] <= bound for line in lines)
    assert compared >= 8  # the copied replies at least


def test_dev_decides_by_the_loss_per_token(out):
    (tuned,) = [run for run in RunStore(out).runs() if run.spec.method == "prompt_tuning"]
    evaluations = [entry for entry in tuned.history() if "dev_loss" in entry]

    assert len(evaluations) == 2
    assert not any("dev_accuracy" in entry for entry in evaluations)
    best = min(evaluations, key=lambda entry: entry["dev_loss"])
    assert tuned.record.cost.best_step == best["step"]
    assert 0 < best["dev_loss"] < 12  # nats per token over 257 tokens, not of a whole reply


def test_differences_are_those_of_the_mean_scores(comparison):
    reference = comparison.quality(comparison.first_seed("zero_shot")[0])
    for row in comparison.rows:
        if row.difference is not None:
            gap = comparison.quality(row).value - reference.value
            assert row.difference.value == pytest.approx(gap)
            assert row.difference.wins + row.difference.losses <= 8
    assert "highest ROUGE-L" in headline(comparison)
    ranked = leaderboard(comparison)
    assert [row.rank for row in ranked] == sorted(row.rank for row in ranked)
    assert ranked[0].quality.value == max(comparison.quality(row).value for row in comparison.rows)
    assert "dev loss" in training_plot(comparison).description


def test_reports_and_page_speak_of_rouge_and_show_references(out, comparison):
    markdown, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    html = results_html(comparison)

    for text in (markdown, page, html):
        assert "ROUGE-L" in text
        assert "accuracy" not in text.replace("dev_accuracy", "")
    for title in ("ROUGE-1", "ROUGE-2", "BLEU", "chrF"):
        assert title in markdown
    assert "Dear " in page  # a reference among the items the rows disagree on
    items = browse(comparison, BrowseMode.ALL)
    shown = render("items", items=items, names=list(items[0].answers), total=8, page=1, last=1)
    for item in items:
        assert all(reference in shown for reference in item.references)
    assert "✗" not in shown
    assert "score" in disagreement_csv(items).split("\n")[0]


def test_noise_is_cautioned_against_the_copy_of_the_nearest_reply(comparison):
    sentences = [text for text in comparison.warnings if text.startswith("zero_shot: ")]

    (above,) = [text for text in sentences if "nearest training example" in text]
    copied = comparison.quality(comparison.first_seed("nearest_neighbour_copy")[0]).value
    assert f"({100 * copied:.1f} %)" in above
    assert any("answer_tokens in the wording" in text for text in sentences)
    assert not any("as wrong" in text or "majority" in text for text in comparison.warnings)


def test_items_are_better_or_worse_but_never_wrong(comparison):
    counts = mode_counts(comparison, row="nearest_neighbour_copy")

    assert BrowseMode.WRONG_IN_ANY not in counts
    for item in browse(comparison, BrowseMode.FIXED_BY, row="nearest_neighbour_copy"):
        given = item.answers
        assert given["nearest_neighbour_copy"].score > given["zero_shot"].score
    assert counts[BrowseMode.FIXED_BY] > 4
    with pytest.raises(ConfigError, match="not for texts"):
        browse(comparison, BrowseMode.WRONG_IN_ALL)


@pytest.mark.parametrize(
    ("methods", "more", "message"),
    [
        ("zero_shot,chain_of_thought", [], "methods.chain_of_thought: task 'formal_replies' asks"),
        ("zero_shot", ["methods.zero_shot.calibrate=true"], "calibrate: task 'formal_replies'"),
    ],
)
def test_what_cannot_write_texts_is_refused_with_the_reason(
    tiny_folder, tmp_path, monkeypatch, capfd, methods, more, message
):
    settings = [part for setting in more for part in ("--set", setting)]
    code, _, errors = in_process(
        monkeypatch, capfd, "evaluate", "--model", tiny_folder, "--precision", "fp32", "--task",
        "formal_replies", "--methods", methods, "--out", tmp_path / "out", *settings,
        "--set", "task.limit_test=2",
    )  # fmt: skip

    assert code != 0
    assert message in " ".join(errors.split())
    predicted = {p.parent.name for p in (tmp_path / "out").glob("*_shot_*/predictions.jsonl")}
    assert predicted == set()


def test_texts_are_written_to_rows_without_references(out, tmp_path):
    """The oracle is what the run stored for the same texts."""
    (run,) = out.glob("*_lora_*")
    task = open_task(TaskChoice(name="formal_replies", limit_train=12, limit_dev=4, limit_test=8))
    rows = [dict(sample.fields) for sample in task.test]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    done = command("predict", run, "--rows", "rows.jsonl", "--out", "out.parquet", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    stored = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert list(found[0]) == [*rows[0], "answer", "is_truncated", "error"]
    assert [row["answer"] for row in found] == [row["answer"] for row in stored]
    assert [row["is_truncated"] for row in found] == [row["is_truncated"] for row in stored]
    assert [row["error"] for row in found] == [row["reason"] for row in stored]
