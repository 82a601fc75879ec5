"""The README's code: its blocks, and each command that it shows as the arguments of a program."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import workbench

ROOT = Path(workbench.__file__).parents[1]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELLS = ("bash", "console", "sh")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what is in it, and the line where it begins."""

    language: str
    text: str
    line: int

    @property
    def commands(self) -> list[str]:
        """The lines to type, without comments; none in other languages."""
        lines = self.text.splitlines() if self.language in _SHELLS else []
        return [line.removeprefix("$ ").strip() for line in lines if line.strip()]


def blocks() -> list[Block]:
    """Return the README's fenced blocks; one without a language is known by its first word."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [
        Block(found[1] or _guess(found[2]), found[2], text[: found.start()].count("\n") + 1)
        for found in _BLOCK.finditer(text)
    ]


def _guess(text: str) -> str:
    return {"make": "bash", "workbench": "bash", "from": "python", "import": "python"}.get(
        text.split(maxsplit=1)[0], ""
    )


def shown_commands() -> list[str]:
    """Return every command of a block and every `workbench …` in a sentence, each once."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    prose = _BLOCK.sub("", text)
    typed = [line for block in blocks() for line in block.commands]
    return list(dict.fromkeys([*typed, *re.findall(r"`((?:workbench|make) [^`]+)`", prose)]))


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
