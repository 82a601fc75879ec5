"""The commands as a whole: one file and one line each, quick help, one reference, old names."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from typer.main import get_group

from make_commands import FILE, reference
from workbench import cli, commands
from workbench.commands.shared import running

HEAVY = ("torch", "transformers", "peft", "gradio", "scipy", "pandas", "matplotlib")


def test_every_file_of_the_folder_is_a_command_and_is_registered():
    files = {path.stem for path in Path(commands.__file__).parent.glob("*.py")} - {"__init__"}

    assert set(cli.COMMANDS) == files
    for name in cli.COMMANDS:
        module = import_module(f"workbench.commands.{name}")
        assert cli.command_function(name).__module__ == module.__name__


def test_help_and_mistyped_options_need_no_deep_learning_stack():
    code = (
        "import sys; from typer.testing import CliRunner; from workbench.cli import COMMANDS, app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "for name in COMMANDS:\n"
        "    assert CliRunner().invoke(app, [name, '--help']).exit_code == 0, name\n"
        "    assert CliRunner().invoke(app, [name, '--no-such-option']).exit_code == 2, name\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_every_argument_and_option_says_what_it_does():
    silent = [
        f"{name} {parameter.name}"
        for name, command in get_group(cli.app).commands.items()
        for parameter in command.params
        if not parameter.help
    ]

    assert silent == []


def test_the_reference_is_the_one_of_the_commands():
    assert FILE.read_text(encoding="utf-8") == reference(), "it has changed; run: make docs"


@pytest.mark.parametrize(("old", "new"), cli.OLD_NAMES.items())
def test_an_old_name_does_the_same_and_says_the_new_one(monkeypatch, capsys, tmp_path, old, new):
    asked = []
    monkeypatch.setattr(running, "run_and_report", lambda *given, **_: asked.append(given))
    arguments = ["--seeds", "3,4", "--methods", "lora", "--set", "methods.lora.steps=7"]
    arguments += ["--out", str(tmp_path)]

    cli.app([new, *arguments], standalone_mode=False)
    said_by_new = capsys.readouterr()
    cli.app([old, *arguments], standalone_mode=False)

    assert asked[0] == asked[1]
    assert said_by_new == ("", "")
    assert capsys.readouterr() == (
        "",
        f"workbench {old} is now called workbench {new}; the old name still works.\n",
    )
