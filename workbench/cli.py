"""The batch door: `workbench …`. It registers the commands and exits with an honest code.

Exit codes: 0 done, 1 our bug (traceback kept), 2 the user's to fix (one message), 130 stopped by
Ctrl-C (finished work is kept).
"""

import functools
import sys
import warnings
from collections.abc import Callable
from importlib import import_module

import typer
from rich.console import Console

from workbench.errors import WorkbenchError
from workbench.progress import Interrupted
from workbench.startup import collect_rarely, quiet_libraries

# Name of a command, which is that of its module and function, and what it is for: a heading of
# docs/commands.md.
COMMANDS = {
    "evaluate": "Run methods and compare them",
    "train": "Run methods and compare them",
    "curve": "Run methods and compare them",
    "wordings": "Run methods and compare them",
    "sweep": "Run methods and compare them",
    "bases": "Run methods and compare them",
    "difference": "Run methods and compare them",
    "figures": "Run methods and compare them",
    "ask": "Use and open what was learned",
    "grid": "Use and open what was learned",
    "predict": "Use and open what was learned",
    "inspect": "Use and open what was learned",
    "precisions": "Measure a base",
    "forgetting": "Measure a base",
    "merge": "Use and open what was learned",
    "readings": "See what there is",
    "models": "See what there is",
    "tasks": "See what there is",
    "methods": "See what there is",
    "runs": "See what there is",
    "name": "See what there is",
    "plan": "Before the first run",
    "doctor": "Before the first run",
    "app": "The page",
}
OLD_NAMES = {"compare": "evaluate"}

app = typer.Typer(
    name="workbench",
    help="Words, soft prompts and weight adapters compared on one frozen 4-bit base model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def command_function(name: str) -> Callable[..., None]:
    """Return the function of a command, whose signature has its options and docstring its help."""
    found: Callable[..., None] = getattr(import_module(f"workbench.commands.{name}"), name)
    return found


@app.callback()
def _before_every_command() -> None:
    """Start quickly, and keep libraries from saying what is no concern of the user."""
    collect_rarely()
    quiet_libraries()
    warnings.filterwarnings("ignore", category=FutureWarning)  # libraries about their own future


def _renamed(old: str, new: str) -> Callable[..., None]:
    """Return a command that says its new name and does the same."""
    function = command_function(new)

    @functools.wraps(function)
    def say_and_call(*arguments: object, **options: object) -> None:
        note = f"workbench {old} is now called workbench {new}; the old name still works."
        Console(stderr=True, soft_wrap=True).print(note, markup=False, highlight=False)
        function(*arguments, **options)

    return say_and_call


for _name in COMMANDS:
    app.command(_name)(command_function(_name))
for _old, _new in OLD_NAMES.items():
    app.command(_old, hidden=True)(_renamed(_old, _new))


def main() -> None:
    """Run the command line; the only place where errors become messages and exit codes."""
    try:
        app()
    except WorkbenchError as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", markup=False, style="red")
        sys.exit(2)
    except (Interrupted, KeyboardInterrupt) as error:
        reason = f" ({error})" if str(error) else ""
        message = f"stopped{reason}. Finished work is kept; the same command goes on from there."
        Console(stderr=True, soft_wrap=True).print(message, markup=False, style="yellow")
        sys.exit(130)
