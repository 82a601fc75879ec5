"""`workbench merge` from the outside: a run of the tiny model in, a model that stands alone out."""

import csv
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner, Result

from workbench.cli import app
from workbench.errors import ConfigError, ModelError, StoreError


def command(*arguments: object) -> Result:
    wide = {"COLUMNS": "200", "TERM": "dumb"}
    return CliRunner().invoke(app, list(map(str, arguments)), env=wide)


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory) -> Path:
    """Return a folder with a finished LoRA and a finished soft prompt."""
    folder = tmp_path_factory.mktemp("made")
    with (folder / "rows.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows([f"{w} {i}", w] for i in range(20) for w in ("good", "bad"))
    quick = ("lora.steps=6", "lora.learning_rate=0.1", "prompt_tuning.steps=2")
    settings = [word for setting in quick for word in ("--set", f"methods.{setting}")]
    base = ["--model", tiny_folder, "--precision", "nf4", "--train", folder / "rows.csv"]
    rows = ["--methods", "zero_shot,lora,prompt_tuning", "--out", folder / "runs" / "mine"]
    result = command("evaluate", *base, *rows, *settings)
    assert result.exit_code == 0, result.output
    return folder / "runs"


def run_id(made: Path, method: str) -> str:
    (found,) = (path.name for path in (made / "mine").glob(f"*_{method}_*"))
    return found


def test_the_merged_model_is_a_base_of_its_own(made, tiny_folder, tmp_path):
    out = tmp_path / "merged"

    result = command("merge", run_id(made, "lora"), "--out", out, "--runs", made, "--dtype", "fp32")

    assert result.exit_code == 0, result.output
    assert "merged in, stored in fp32" in result.output
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        merged, plain = (
            AutoModelForCausalLM.from_pretrained(folder)(tokens).logits
            for folder in (out, tiny_folder)
        )
    assert (merged - plain).abs().max() > 1e-2
    again = command(
        "evaluate", "--model", out, "--precision", "fp32", "--methods", "zero_shot",
        "--train", made.parent / "rows.csv", "--out", tmp_path / "again",
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    adapter = made / "mine" / run_id(made, "lora") / "predictions.jsonl"
    zero_shot = next((tmp_path / "again").glob("*_zero_shot_*")) / "predictions.jsonl"
    wanted, found = (
        {row["sample_id"]: row["probabilities"] for row in map(json.loads, text.splitlines())}
        for text in (adapter.read_text(), zero_shot.read_text())
    )
    assert wanted.keys() == found.keys()
    for sample, probabilities in wanted.items():
        assert found[sample] == pytest.approx(probabilities, abs=2e-2)  # products of 4 bits round


def test_what_cannot_be_merged_is_refused_and_nothing_is_written(made, tmp_path):
    out = tmp_path / "merged"

    for arguments, kind, message in (
        ([run_id(made, "prompt_tuning")], ModelError, "changes no weights"),
        ([run_id(made, "lora"), "--dtype", "fp64"], ConfigError, "unknown dtype 'fp64'"),
        (["nothing"], StoreError, "no finished run of that name"),
    ):
        result = command("merge", *arguments, "--out", out, "--runs", made)
        assert result.exit_code != 0
        assert isinstance(result.exception, kind)
        assert message in str(result.exception)
    assert not out.exists()


def test_a_folder_that_is_not_empty_is_kept(made, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")

    result = command("merge", run_id(made, "lora"), "--out", tmp_path, "--runs", made)

    assert isinstance(result.exception, ConfigError)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
