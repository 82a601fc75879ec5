"""One process at a time works on a run, or makes the comparison of a folder.

On one machine a lock of the system says so: it is freed the moment its process dies. In a folder
that machines share, a lease stands beside it (`workbench/runs/lease.py`). Where there are claims,
everybody goes by them, whether told that the folder is shared or not.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.atomic import explained
from workbench.errors import BusyRun, StoreError
from workbench.fence import fenced
from workbench.runs.claims import FolderClaims
from workbench.runs.lease import LeaseTimes, busy_message, leased
from workbench.sealed import clear_place

LOCK = ".lock"  # in a run's folder
_CLAIMS = ".claims"  # ends the name of the folder beside a lock
LOCKS = (LOCK, LOCK + _CLAIMS)  # what may be in a run's folder while it is held
_EXPERIMENT_LOCK = ".experiment.lock"


@contextmanager
def alone_in(folder: Path, lease: LeaseTimes | None = None) -> Iterator[None]:
    """Hold an experiment's folder for the block.

    Where nothing can be written, nobody else can write either: then it is not held.

    Args:
        folder: The folder.
        lease: How long it is held if other machines work in it too; None: they do not.

    Raises:
        BusyRun: another process works in it.
        LostRun: another process has taken it over meanwhile, because this one was away.
        StoreError: it cannot be held though it can be written.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        clear_place(folder / _EXPERIMENT_LOCK)
    with ExitStack() as stack:
        holding = held(folder, _EXPERIMENT_LOCK, str(folder), lease, doing="working in it")
        try:
            stack.enter_context(holding)
        except StoreError as error:
            if not _is_read_only(folder, error.__cause__):
                raise
        yield


@contextmanager
def held(
    folder: Path,
    lock_name: str,
    what: str,
    times: LeaseTimes | None,
    *,
    doing: str = "working on it",
) -> Iterator[None]:
    """Hold a folder for the block; what is written into it then passes a fence.

    Args:
        folder: The folder, which is there.
        lock_name: Of the file in it that is locked.
        what: What is held, as messages begin.
        times: How long a lease lasts; None: there is none, unless somebody has claims.
        doing: What the holder is doing, as messages go on.

    Raises:
        BusyRun: another process holds it.
        LostRun: another process has taken it over meanwhile.
        StoreError: it cannot be held.
    """
    lock = FileLock(folder / lock_name, timeout=0)
    claims = FolderClaims(folder / (lock_name + _CLAIMS))
    with ExitStack() as stack:
        stack.callback(lock.release)
        is_locked = _lock(lock, folder)
        is_claimed = claims.is_there()
        if not is_locked and not is_claimed:
            raise BusyRun(busy_message(what, "another process", doing))
        if times is not None or is_claimed:
            lease = leased(claims, times or LeaseTimes(), what, doing)
            check = stack.enter_context(lease).check
            stack.enter_context(fenced(folder, check))
            if not is_locked:  # that of a machine which died: nobody else waits for this file
                with explained(folder):
                    (folder / lock_name).unlink(missing_ok=True)
                _lock(lock, folder)
        yield


def _lock(lock: FileLock, folder: Path) -> bool:
    """Lock a file; return whether that was possible now."""
    with explained(folder):
        try:
            lock.acquire()
        except Timeout:  # an OSError too
            return False
    return True


def _is_read_only(folder: Path, error: BaseException | None) -> bool:
    """Return whether a lock could not be made because nothing in its folder can be."""
    if not isinstance(error, OSError):
        return False
    is_closed = error.errno == errno.EACCES and not os.access(folder, os.W_OK)
    return is_closed or error.errno == errno.EROFS
