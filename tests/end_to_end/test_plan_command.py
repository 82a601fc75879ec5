"""`workbench plan` as typed: a table and reasons for people, data for programs, honest codes."""

import json
import sys

import pytest
from typer.testing import CliRunner

from architectures import tiny_config
from workbench.budget.asked import NUMBERS
from workbench.budget.known import DEVICES, KNOWN_SHAPES
from workbench.budget.memory import BUDGET_PRECISIONS
from workbench.budget.trained import TARGETS
from workbench.cli import app, main
from workbench.models.catalog import DEFAULT_BASE_MODEL


def plan(*arguments):
    return CliRunner().invoke(app, ["plan", *arguments], env={"COLUMNS": "120"})


def test_the_plan_names_every_method_and_says_what_to_try():
    result = plan("--model", "llama-2-13b", "--memory", "16", "--tasks", "5")

    assert result.exit_code == 0
    assert "full_fine_tuning" in result.output
    assert "Train lora" in result.output


def test_the_same_as_data():
    result = plan("--model", "llama-2-7b", "--device", "rtx-4090", "--rank", "16", "--json")

    data = json.loads(result.output)
    lora = next(row for row in data["methods"] if row["method"] == "lora")
    assert lora["trained_parameters"] == 32 * 16 * 2 * (4096 + 4096)
    assert lora["fits"] is True
    assert data["advice"]["method"] == "lora"


def test_the_memory_can_be_taken_as_a_figure(tmp_path):
    result = plan("--model", "llama-2-7b", "--device", "rtx-4090", "--figures", str(tmp_path))

    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {
        "plan-memory.png", "plan-memory.svg", "plan-memory.pdf",
    }  # fmt: skip
    assert ">llama-2-7b in nf4.</text>" in (tmp_path / "plan-memory.svg").read_text()


def test_without_a_device_it_is_for_this_machine():
    result = plan("--json")

    assert json.loads(result.output)["device"]["name"] == "cpu"


def test_weights_kept_unpacked_are_counted_apart_and_on_a_processor_alone():
    home, card = (["--json"], ["--device", "rtx-4090", "--json"])

    here, there = (json.loads(plan(*arguments).output) for arguments in (home, card))

    beside = here["unpacked_beside_bytes"]
    assert beside == {"float32": 4 * 106_168_320, "bfloat16": 4 * 106_168_320}
    assert there["unpacked_beside_bytes"] == {}
    assert all(row["memory_bytes"]["restored"] == 0 for row in here["methods"])
    (note,) = [note for note in here["notes"] if "unpacked" in note]
    assert "(168.4 MB in 4 bits)" in note
    assert "in 424.7 MB more" in note
    assert not [note for note in there["notes"] if "unpacked" in note]


def test_a_folder_with_a_mixture_of_experts_is_planned_and_what_cannot_be_done_is_said(tmp_path):
    tiny_config("mixtral").save_pretrained(tmp_path)

    shown = plan("--model", str(tmp_path), "--memory", "16")
    data = json.loads(plan("--model", str(tmp_path), "--memory", "16", "--json").output)

    text = " ".join(shown.output.split())
    assert shown.exit_code == 0
    assert "stay in 16 bits, because bitsandbytes quantises plain linear layers only" in text
    assert "ia3, bottleneck_adapter: targets: " in text
    assert set(data["refused"]) == {"ia3", "bottleneck_adapter"}
    assert data["model"]["expert_parameters"] > 0


def known(names):
    return f"Known: {', '.join(sorted(names))}."


def out_of_bounds(number, value):
    bound = NUMBERS[number]
    return f"{number}: {value} is out of bounds; allowed: {bound.minimum} to {bound.maximum:,}"


REFUSED = {
    "--model no-such": f"model: unknown model 'no-such'. {known(KNOWN_SHAPES)} A Hub id "
    "(owner/model) or a local folder (./folder) is allowed too.",
    "--device toaster": f"device: unknown device 'toaster'. {known([*DEVICES, 'cpu'])}",
    "--device t4 --memory 4": "memory: 4 GB beside 't4', whose memory is known. Give one of them.",
    "--memory -1": "memory: -1.0 is no amount in GB. Above 0 and up to 100,000 are allowed; give "
    "what the device has, like 16.",
    "--rank 0": out_of_bounds("rank", 0),
    "--precision nf3": "precision: unknown precision 'nf3'. Did you mean 'nf4'? "
    f"{known(BUDGET_PRECISIONS)}",
    "--targets all": f"targets: unknown targets 'all'. {known(TARGETS)}",
    "--length 9000": f"length: 9000; {DEFAULT_BASE_MODEL} reads at most "
    f"{KNOWN_SHAPES[DEFAULT_BASE_MODEL].context_length} tokens. Give fewer, or choose a model that "
    "reads more.",
    "--runs no-such-folder": "--runs no-such-folder: no such folder. Give one with finished runs; "
    "they are made by: workbench evaluate",
    "--tasks 0 --batch-size 5000": out_of_bounds("batch_size", 5000)
    + "\n"
    + out_of_bounds("tasks", 0),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.items(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_in_words(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["workbench", "plan", *arguments.split()])

    with pytest.raises(SystemExit) as ended:
        main()

    assert capsys.readouterr() == ("", f"error: {message}\n")
    assert ended.value.code == 2
