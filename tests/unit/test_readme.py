"""What README and docs show can be typed: commands are parsed, cheap ones run, files are read."""

import re

import pytest
import typer
import yaml
from typer.testing import CliRunner

from readme import ROOT, blocks, programs, shown_commands
from workbench.cli import app
from workbench.errors import ConfigError
from workbench.runs.experiment import Experiment, read_experiment
from workbench.templates import read_template

UsageError = typer.BadParameter.__base__  # of the parser that typer brings along
COMMANDS = typer.main.get_command(app)
SHOWN = {" ".join(words): words for line in shown_commands() for words in programs(line)}
TYPED = {line: words for line, words in SHOWN.items() if words[0] == "workbench"}
MADE = [words for words in SHOWN.values() if words[0] == "make"]
# They compute nothing on a base, so they are run as they stand.
CHEAP = ("doctor", "methods", "models", "plan", "readings", "runs", "tasks")
NAMED = {"NAME": "lora"}
# Blocks in this language need a running page and are run where there is one.
ELSEWHERE = {"python": "tests/security/test_client.py"}


def parse(words):
    """Parse a command as it does itself, without running it; a name alone only has to exist."""
    context = COMMANDS.make_context("workbench", list(words[1:]), resilient_parsing=True)
    context.resilient_parsing = False
    _, command, rest = COMMANDS.resolve_command(context, list(words[1:]))
    command.make_context(words[1], rest, parent=context, resilient_parsing=not rest)


@pytest.mark.parametrize("words", TYPED.values(), ids=TYPED)
def test_every_command_is_one_that_can_be_typed(words):
    parse(words)


@pytest.mark.parametrize(
    "line", ["workbench nonsense", "workbench runs --colour", "workbench merge --out x"]
)
def test_what_cannot_be_typed_is_noticed(line):
    with pytest.raises(UsageError):
        parse(line.split())


EXPERIMENTS = {
    line: words
    for line, words in TYPED.items()
    if words[1] != "inspect" and ("--set" in words or "experiments/" in line)
}


@pytest.mark.parametrize("words", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_experiments_and_settings_are_understood(words):
    files = [word for word in words[2:] if word.startswith("experiments/")]
    settings = [words[place + 1] for place, word in enumerate(words) if word == "--set"]

    assert read_experiment(ROOT / files[0] if files else None, settings).methods


RUN = {line: words for line, words in TYPED.items() if words[1] in CHEAP}


@pytest.mark.parametrize("words", RUN.values(), ids=RUN)
def test_a_command_that_computes_nothing_runs(words, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(app, [NAMED.get(word, word) for word in words[1:]])

    assert done.exit_code == 0, done.exception
    assert done.output.strip()


@pytest.mark.parametrize("words", MADE, ids=" ".join)
def test_every_target_is_made(words):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert words[1] in targets


# What a YAML block is, by a key that nothing else has; a cluster's file is Ray's to read.
OTHERS_FILES = {"cluster_name"}
YAML = [block for block in blocks() if block.language in ("yaml", "yml")]


@pytest.mark.parametrize("block", YAML, ids=lambda block: f"{block.page} {block.line}")
def test_yaml_blocks_are_experiments_or_wordings(block, tmp_path):
    path = tmp_path / "shown.yaml"
    path.write_text(block.text, encoding="utf-8")
    keys = yaml.safe_load(block.text).keys()

    if "input" in keys:
        assert read_template(path).input
    elif not keys & OTHERS_FILES:
        assert keys <= Experiment.model_fields.keys()
        assert read_experiment(path).methods


def test_a_yaml_block_that_is_none_would_be_noticed(tmp_path):
    path = tmp_path / "shown.yaml"
    path.write_text("methodss: {}\n")

    with pytest.raises(ConfigError, match="methodss"):
        read_experiment(path)


def test_no_block_is_left_out():
    """Every block is typed, read, compiled or run elsewhere; "text" is what is none of these."""
    known = {"bash", "console", "sh", "yaml", "yml", "text", *ELSEWHERE}

    assert [block for block in blocks() if block.language not in known] == []
    assert all((ROOT / place).is_file() for place in ELSEWHERE.values())
    for block in blocks():
        if block.language == "python":
            compile(block.text, f"{block.page}, line {block.line}", "exec")


def test_blocks_are_found_in_a_page_of_any_form(tmp_path):
    page = tmp_path / "page.md"
    shown = ["```sh", "WORKBENCH_PUBLIC=1 workbench runs \\", "  --runs x", "ray up", "```", ""]
    page.write_text("- a\n\n    " + "\n    ".join(shown))

    (block,) = blocks([page])

    assert block.line == 3
    assert [programs(line) for line in block.commands] == [[["workbench", "runs", "--runs", "x"]]]


def test_the_readme_is_read_in_two_minutes():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
    assert ["make", "test"] in MADE
