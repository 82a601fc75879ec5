"""What a reader of foreign bytes must keep to, whatever it is given: an answer or one message."""

import os
import shutil
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fuzz.target import Target
from workbench.errors import WorkbenchError

CPU_SECONDS = 5.0  # of the reading thread; the machine may be busy with other things
LONGEST_MESSAGE = 20_000  # characters; what lists every problem of a file may be a few thousand
_PACKAGE = f"{os.sep}workbench{os.sep}"
# What changes files, by the names of Python's audit events, with the places of paths.
_CHANGES = {
    **dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"), (0,)),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink"), (0, 1)),
}
_NEVER = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen"),
    *("pickle.find_class", "socket.connect", "socket.bind", "socket.getaddrinfo"),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Fault(AssertionError):
    """A reader did what it must not; `where` is the same for faults of one cause."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} ({where})")
        self.where = where


class _Watch(threading.local):
    """What one thread may do while it reads."""

    folder: str | None = None
    seen: list[str]


_watch = _Watch()


def _look(event: str, arguments: tuple[object, ...]) -> None:
    folder = _watch.folder
    if folder is None:
        return
    if event in _NEVER:
        _watch.seen.append(f"{event} {str(arguments)[:200]}")
    elif event == "open":
        path, mode, flags = arguments
        writes = (isinstance(mode, str) and not {*mode}.isdisjoint("wax+")) or (
            isinstance(flags, int) and flags & _WRITING
        )
        if writes:
            _look_at(event, path, folder)
    elif event in _CHANGES and -1 in (arguments[-1], *arguments[2:]):  # else relative to a handle
        for place in _CHANGES[event]:
            _look_at(event, arguments[place], folder)


def _look_at(event: str, path: object, folder: str) -> None:
    if not isinstance(path, str | bytes | os.PathLike):
        return
    full = os.path.realpath(os.fsdecode(path))
    if not full.startswith((folder, "/dev/")) and "__pycache__" not in full:
        _watch.seen.append(f"{event} {full}")


sys.addaudithook(_look)


@contextmanager
def _watched(folder: Path) -> Iterator[list[str]]:
    _watch.seen, _watch.folder = [], os.path.realpath(folder)
    try:
        yield _watch.seen
    finally:
        _watch.folder = None


def attempt(target: Target, content: bytes, folder: Path) -> float:
    """Give a target one input in an empty folder; return the seconds of CPU it took.

    Raises:
        Fault: an error that is no message, a message that cannot be shown, too much time, or
            anything done outside the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began = time.thread_time()
    try:
        with _watched(folder) as seen, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(content, folder)
    except WorkbenchError as error:
        _check_message(error)
    except Exception as error:
        _check_places(seen)  # what was done comes before what became of it
        raise Fault(f"{type(error).__name__}: {str(error)[:300]}", _place(error)) from error
    finally:
        seconds = time.thread_time() - began
        shutil.rmtree(folder, ignore_errors=True)
    _check_places(seen)
    if seconds > CPU_SECONDS:
        raise Fault(f"took {seconds:.1f} s of CPU", "slow")
    return seconds


def _check_places(seen: list[str]) -> None:
    if seen:
        raise Fault(f"outside of its folder: {seen[0]}", f"outside {seen[0].split()[0]}")


def _check_message(error: WorkbenchError) -> None:
    text = str(error)
    place = _place(error)
    if not text.strip():
        raise Fault("an empty message", f"empty {place}")
    if len(text) > LONGEST_MESSAGE:
        raise Fault(f"a message of {len(text)} characters: {text[:100]}", f"long {place}")
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise Fault(f"a message that is no text: {text[:200]!a}", f"no text {place}") from problem


def _place(error: BaseException) -> str:
    """Return the kind of an error and the line of the package where it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if _PACKAGE in f.filename and "site-packages" not in f.filename]
    last = (ours or list(frames))[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno} {last.name}"
