"""`workbench plan` as typed: a table and reasons for people, data for programs, honest codes."""

import json

import pytest
from typer.testing import CliRunner

from workbench.cli import app
from workbench.errors import WorkbenchError


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


def test_without_a_device_it_is_for_this_machine():
    result = plan("--json")

    assert json.loads(result.output)["device"]["name"] == "cpu"


@pytest.mark.parametrize(
    "arguments",
    [("--model", "no-such"), ("--device", "toaster"), ("--memory", "-1"), ("--rank", "0"),
     ("--precision", "nf3"), ("--targets", "all"), ("--runs", "no-such-folder")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_words(arguments):
    result = plan(*arguments)

    assert isinstance(result.exception, WorkbenchError)
