"""Which jobs have a living process: the operating system's locks say so, no clock and no number.

A job's process holds two locks for as long as it lives: that of the job's folder, and that of the
root, below which one job runs at a time. Whoever starts a process takes both and hands them over
open, so that they are free at no moment in between; the system lets go of them when the process
ends, however it ends. Clocks, process numbers and what stands in files have no say in it.

A forked process shares the open files of the one it was forked from, and would hold their locks
for as long as it lives. So `release` unlocks for all who share them; only what was handed over is
closed and no more.
"""

import errno
import fcntl
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from workbench.atomic import explained

JOB_LOCK, ROOT_LOCK = ".job.lock", ".running.lock"

_PAUSE_SECONDS = 0.02  # between two tries to take a lock
_IN_THE_WAY = (errno.EISDIR, errno.ELOOP, errno.ENXIO)  # a folder, a link, a pipe in its place


def take(path: Path, *, seconds: float = 0.0) -> int | None:
    """Return an open file that holds a lock until it is closed; None if another one holds it.

    Args:
        path: The lock's file; made when needed.
        seconds: How long to try.

    Raises:
        StoreError: the file cannot be made.
    """
    deadline = time.monotonic() + seconds
    while True:
        with explained(path):
            held = _try_to_take(path)
        if held is not None or time.monotonic() >= deadline:
            return held
        time.sleep(_PAUSE_SECONDS)


def is_held(path: Path) -> bool:
    """Return whether a living process holds a lock; nothing is written for it."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # Shared, so that those who look do not take each other for the holder.
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        release(opened)
    return False


def adopt(path: Path, opened: int) -> int | None:
    """Return a lock that was handed over open; None if it is not that lock.

    From here on it stays with this process: programs it starts do not get it.
    """
    try:
        if not os.path.samestat(os.fstat(opened), path.stat(follow_symlinks=False)):
            return None
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.set_inheritable(opened, False)
    except OSError:
        return None
    return opened


def release(held: int) -> None:
    """Let go of a lock, also for processes that were forked while it was held."""
    with suppress(OSError):
        fcntl.flock(held, fcntl.LOCK_UN)
    hand_over(held)


def hand_over(held: int) -> None:
    """Close a lock that another process may have been given; it is free if none was."""
    with suppress(OSError):
        os.close(held)


def put_aside(path: Path) -> None:
    """Rename what stands where a file of ours has to be, so that nothing is lost."""
    os.replace(path, path.with_name(f".{path.name}.aside-{secrets.token_hex(3)}"))


def _try_to_take(path: Path) -> int | None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        opened = os.open(path, flags, 0o644)
    except OSError as error:
        if error.errno not in _IN_THE_WAY:
            raise
        put_aside(path)
        opened = os.open(path, flags, 0o644)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Of a file that was deleted or replaced meanwhile the lock guards nothing.
        if os.path.samestat(os.fstat(opened), path.stat(follow_symlinks=False)):
            return opened
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(opened)
        raise
    os.close(opened)
    return None
