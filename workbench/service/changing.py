"""What a visitor's own files are changed under: one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.atomic import explained
from workbench.errors import StoreError

_LOCK_SECONDS = 10.0


@contextmanager
def one_at_a_time(folder: Path, lock: str, what: str) -> Iterator[None]:
    """Let one process at a time change files of a folder, for the block.

    Args:
        folder: Made when needed.
        lock: Name of the file that is locked.
        what: The files, for the message.

    Raises:
        StoreError: the folder cannot be written, or another process is at it for too long.
    """
    held = FileLock(folder / lock, timeout=_LOCK_SECONDS)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire()
        except Timeout as error:
            raise StoreError(f"{what}: somebody else is writing them. Try again.") from error
    try:
        yield
    finally:
        held.release()
