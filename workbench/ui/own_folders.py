"""Folders for one process's temporary files, which are gone when it is.

A process that is killed takes nothing along, so the next one removes what it left: each folder
holds a lock for as long as its process lives.
"""

import atexit
import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

_PREFIX = "workbench-"
_LOCK = ".alive"
_LOCKING_SECONDS = 2  # a lock this new may be about to be taken
_STRAY_SECONDS = 600  # no part of an upload is silent for longer

_own: dict[Path, FileLock] = {}


def own_folder(parent: Path) -> Path:
    """Return a new folder that is removed when this process ends.

    Those of processes that ended without removing theirs are removed now.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)).resolve()
    _own[folder] = FileLock(folder / _LOCK)
    _own[folder].acquire()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def remove_when_stopped() -> None:
    """Let SIGTERM, which ends a process without `atexit`, remove this process's folders too."""
    owner = os.getpid()

    def stop(number: int, _: FrameType | None) -> None:
        for folder in _own if os.getpid() == owner else ():  # a fork has them from its parent
            shutil.rmtree(folder, ignore_errors=True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, stop)


def remove_strays(uploads: Path, *, is_quiet: bool) -> None:
    """Remove parts of uploads that never became files: Gradio leaves them and forgets them.

    Args:
        uploads: Gradio's folder; whole uploads lie in folders of their own below it.
        is_quiet: Nothing is being uploaded.
    """
    oldest = time.time() - _STRAY_SECONDS
    with suppress(OSError), os.scandir(uploads) as entries:
        for entry in entries:
            is_stray = entry.name.startswith("tmp") and entry.is_file(follow_symlinks=False)
            if is_stray and (is_quiet or entry.stat().st_mtime < oldest):
                Path(entry.path).unlink(missing_ok=True)


def _remove_left_over(parent: Path) -> None:
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        # Its process lives, somebody else owns it, or another process removes it.
        with suppress(OSError, Timeout):
            if lock.stat().st_mtime < time.time() - _LOCKING_SECONDS:
                with FileLock(lock, timeout=0):
                    shutil.rmtree(lock.parent, ignore_errors=True)
