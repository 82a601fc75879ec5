"""What README and docs show: their blocks, and each command as the arguments of a program."""

import re
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import workbench

ROOT = Path(workbench.__file__).parents[1]
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SHELLS = ("bash", "console", "sh")
_PROGRAMS = ("workbench", "make")  # others' commands are theirs to change
_ASSIGNMENT = re.compile(r"^\w+=\S* ")
_GENERATED = "commands.md"  # the commands' own words, with the form of a command and not examples


def pages() -> list[Path]:
    """Return README and the pages below docs/, without what is made from the commands."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", *(path for path in found if path.name != _GENERATED)]


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its language, what is in it, and the line where it begins."""

    page: str
    language: str
    text: str
    line: int

    @property
    def commands(self) -> list[str]:
        """The lines to type of our own programs; none in other languages."""
        text = self.text.replace("\\\n", " ") if self.language in _SHELLS else ""
        lines = [_ASSIGNMENT.sub("", line.removeprefix("$ ").strip()) for line in text.split("\n")]
        return [line for line in lines if line.split(" ")[0] in _PROGRAMS]


def blocks(of: Sequence[Path] | None = None) -> list[Block]:
    """Return the pages' fenced blocks; one without a language is known by its first word.

    Args:
        of: Which pages; all of `pages` if absent.
    """
    found = []
    for page in pages() if of is None else of:
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            content, line = textwrap.dedent(match[3]), text[: match.start()].count("\n") + 1
            language = match[2] or _guess(content)
            found.append(Block(page.name, language, content, line))
    return found


def _guess(text: str) -> str:
    shell = dict.fromkeys((*_PROGRAMS, "torchrun", "."), "bash")
    return {**shell, "from": "python", "import": "python"}.get(text.split(maxsplit=1)[0], "")


def shown_commands() -> list[str]:
    """Return every command of a block and every `workbench …` in a sentence, each once."""
    found = [line for block in blocks() for line in block.commands]
    for page in pages():
        prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
        typed = re.findall(r"`((?:workbench|make) [^`]+)`", prose)
        found += [line for line in typed if "[" not in line]  # else the form of a command
    return list(dict.fromkeys(found))


def programs(command: str) -> list[list[str]]:
    """Return the arguments behind each alternative that a line shows.

    `a | b [NAME]  # why` is `a`, `b` and `b NAME`; dots for more of the same are left out.
    """
    words = shlex.split(command, comments=True)
    program, alternatives, current = words[0], [], []
    for word in words[1:]:
        if word == "|":
            alternatives.append(current)
            current = []
        elif word not in ("...", "…"):
            current.append(word)
    found = []
    for arguments in [*alternatives, current]:
        plain = [word for word in arguments if not word.startswith("[")]
        found.append([program, *plain])
        if plain != arguments:
            found.append([program, *(word.strip("[]") for word in arguments)])
    return found
