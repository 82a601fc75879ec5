"""One process at a time makes the comparison of a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.atomic import explained
from workbench.errors import StoreError

_LOCK = ".experiment.lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold an experiment's folder for the block.

    Where nothing can be written, nobody else can write either: then it is not held.

    Raises:
        StoreError: another process works in it.
    """
    lock = FileLock(folder / _LOCK, timeout=0)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire()
    except Timeout as error:  # an OSError too
        raise StoreError(
            f"{folder}: another process is working in it. Wait for it, or use another folder with "
            "--out."
        ) from error
    except OSError:
        pass  # the report, written at the end, says why
    try:
        yield
    finally:
        lock.release()
