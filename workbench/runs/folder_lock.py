"""One process at a time makes the comparison of a folder."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.atomic import explained
from workbench.errors import StoreError
from workbench.sealed import clear_place

_LOCK = ".experiment.lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold an experiment's folder for the block.

    Where nothing can be written, nobody else can write either: then it is not held.

    Raises:
        StoreError: another process works in it, or it cannot be held though it can be written.
    """
    lock = FileLock(folder / _LOCK, timeout=0)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        clear_place(folder / _LOCK)
        try:
            lock.acquire()
        except Timeout as error:  # an OSError too
            raise StoreError(
                f"{folder}: another process is working in it. Wait for it, or use another folder "
                "with --out."
            ) from error
        except OSError as error:
            if not _is_read_only(folder, error):
                raise
    try:
        yield
    finally:
        lock.release()


def _is_read_only(folder: Path, error: OSError) -> bool:
    """Return whether a lock could not be made because nothing in its folder can be."""
    is_closed = error.errno == errno.EACCES and not os.access(folder, os.W_OK)
    return is_closed or error.errno == errno.EROFS
