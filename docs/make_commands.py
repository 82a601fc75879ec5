"""Write docs/commands.md, the reference of the command line, from the commands themselves.

Run it as `make docs`; a test fails when the file says anything else than the commands do.
"""

import inspect
from pathlib import Path
from typing import Any, get_type_hints

from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.main import get_group

from workbench.cli import COMMANDS, OLD_NAMES, app, command_function

FILE = Path(__file__).with_name("commands.md")
_TAKES = {"str": "text", "int": "a whole number", "float": "a number", "Path": "a path"}
_HEAD = """# Commands

Made by `make docs` from the files of `workbench/commands`: change those, not this one.
`workbench COMMAND --help` says the same in the terminal.

Exit codes: 0 done; 1 a bug of the workbench, with its traceback; 2 something for you to mend, in
one message; 130 stopped by Ctrl-C, finished work is kept.
"""


def reference() -> str:
    """Return the whole reference as Markdown."""
    group, parts = get_group(app), [_HEAD]
    for purpose in dict.fromkeys(COMMANDS.values()):
        parts.append(f"## {purpose}\n")
        parts += [_section(group, name) for name, of in COMMANDS.items() if of == purpose]
    return "\n".join(parts)


def _section(group: TyperGroup, name: str) -> str:
    """Return what there is to say about a command."""
    function, given = command_function(name), group.commands[name].params
    arguments = [one for one in given if isinstance(one, TyperArgument)]
    options = [one for one in given if isinstance(one, TyperOption)]
    kinds = get_type_hints(function)
    old_names = [f"`{old}`" for old, new in OLD_NAMES.items() if new == name]
    lines = [f"### {name}\n", f"`{_usage(name, arguments, options)}`\n"]
    lines += [f"{inspect.getdoc(function)}\n"]
    lines += [f"The older name {' or '.join(old_names)} still works.\n"] if old_names else []
    if given:
        lines += ["| option | takes | default | what |", "|---|---|---|---|"]
        shown: list[TyperArgument | TyperOption] = [*arguments, *options]
        lines += [_row(one, str(kinds[str(one.name)])) for one in shown]
        lines.append("")
    return "\n".join(lines)


def _usage(name: str, arguments: list[TyperArgument], options: list[TyperOption]) -> str:
    words = ["workbench", name]
    words += [f"{one.opts[0]} …" for one in options if one.required]
    words += [] if all(one.required for one in options) else ["[OPTIONS]"]
    words += [_word(one) if one.required else f"[{_word(one)}]" for one in arguments]
    return " ".join(words)


def _row(one: TyperArgument | TyperOption, kind: str) -> str:
    is_argument = isinstance(one, TyperArgument)
    name = _word(one) if is_argument else " ".join((*one.opts, *one.secondary_opts))
    text = one.help or ""
    text += f" Also from the environment: `{one.envvar}`." if one.envvar else ""
    cells = (f"`{name}`", _takes(one, kind), _default(one.default), text.replace("|", "\\|"))
    return f"| {' | '.join(cells)} |"


def _word(argument: TyperArgument | TyperOption) -> str:
    return str(argument.name).upper() + ("…" if argument.nargs != 1 else "")


def _takes(one: TyperArgument | TyperOption, kind: str) -> str:
    """Return in words which values are taken; a switch takes none."""
    if "bool" in kind:
        return ""
    words = next(words for name, words in _TAKES.items() if name in kind)
    if one.min is not None:
        words += f" from {one.min}" + (" up" if one.max is None else f" to {one.max}")
    return f"{words}, repeatable" if one.multiple else words


def _default(value: Any) -> str:
    return "" if value is None or value is False or value == "" else f"`{value}`"


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
