"""The command as it was typed, for captions: a figure says what makes it again."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

# Where work is done, and who asks for it: none of it decides a figure, and some is a secret.
_LEFT_OUT = ("--visitor", "--server", "--store", "--cluster", "--workers")
_PROGRAMS = ("workbench", "__main__.py")


def typed_command(words: Sequence[str] | None = None) -> str:
    """Return the command line of this process; empty where the program is another one.

    Args:
        words: Program and arguments; None takes this process's own.
    """
    program, *given = sys.argv if words is None else words
    if Path(program).name not in _PROGRAMS:
        return ""
    kept: list[str] = []
    is_value = False
    for word in given:
        if not is_value and not word.startswith(tuple(f"{name}=" for name in _LEFT_OUT)):
            kept += [] if word in _LEFT_OUT else [word]
        is_value = word in _LEFT_OUT and not is_value
    return shlex.join(["workbench", *kept])
