"""Whether this process may still write to a folder it shares with other machines.

Whoever holds such a folder by a lease (`workbench/runs/lease.py`) may lose it while the machine
sleeps. Every writer asks `check_fence` before a file takes its name, so that nobody writes into
what is another process's by then. Where nothing is fenced, nothing is asked.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_fences: dict[Path, Callable[[], None]] = {}


@contextmanager
def fenced(folder: Path, check: Callable[[], None]) -> Iterator[None]:
    """Have `check` called before anything is written below a folder, for the block.

    Args:
        folder: The folder.
        check: Raises where nothing may be written any more; called often, in any thread.
    """
    place = _absolute(folder)
    _fences[place] = check
    try:
        yield
    finally:
        del _fences[place]


def check_fence(path: Path) -> None:
    """Refuse to write a file below a fenced folder that is not this process's any more.

    Raises:
        StoreError: it is another process's, or whose it is cannot be asked.
    """
    if not _fences:
        return
    place = _absolute(path)
    for folder, check in tuple(_fences.items()):
        if place.is_relative_to(folder):
            check()


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
