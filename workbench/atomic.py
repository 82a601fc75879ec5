"""Files written whole or not at all, and the system's refusals as messages."""

import errno
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from workbench.errors import RoomError, StoreError
from workbench.fence import check_fence
from workbench.room import check_room

SCRATCH = ".writing"  # ends the name of a file that is not whole yet
_STALE_SECONDS = 3600.0  # nothing is written for that long
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # some shared disks know no fsync(2)
_TOO_DEEP = "it is nested too deeply"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def parse_json(text: str | bytes) -> Any:
    """Return what JSON text says.

    Raises:
        ValueError: it is no JSON, or nested so deeply that Python cannot read it.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


def sorted_json(content: object, separators: tuple[str, str] | None = None) -> str:
    """Return content as JSON in one order, as digests are made of it.

    Raises:
        ValueError: it is nested too deeply; what could just be parsed may be.
    """
    try:
        return json.dumps(content, sort_keys=True, separators=separators)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file in one step; see `write_text`."""
    write_text(path, json_text(content))


def json_text(content: Mapping[str, object]) -> str:
    """Return what `write_json` writes."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, so that it outlasts a power cut.

    Raises:
        StoreError: no space left, or no permission.
    """
    with replacing(path, len(content)) as stream:
        stream.write(content)


@contextmanager
def replacing(path: Path, num_bytes: int, *, keep: Path | None = None) -> Iterator[BinaryIO]:
    """Yield a stream whose content takes the place of a file once all of it is on the disk.

    Renaming survives a killed process, and a power cut only if file and folder were flushed.

    Args:
        path: What is written; its folder is made if it is not there.
        num_bytes: Its size, to know whether there is room for it.
        keep: Where the file that was there goes in the same moment; None drops it.

    Raises:
        StoreError: no space left, no permission, or the folder is another process's by now.
    """
    check_fence(path)
    check_room(path, num_bytes)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}{SCRATCH}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent)
        try:
            with scratch.open("wb") as stream:
                yield stream
                flush_file(stream)
            check_fence(path)  # a machine may have slept since it began
            if keep is not None and path.is_file():
                path.replace(keep)
            scratch.replace(path)
            flush_folder(path.parent)
        finally:
            scratch.unlink(missing_ok=True)


def flush_file(stream: BinaryIO) -> None:
    """Have what was written to a file brought to the disk, where the system can do that.

    Raises:
        OSError: no space left, or the disk fails.
    """
    stream.flush()
    try:
        os.fsync(stream.fileno())
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise


def flush_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk, where the system can do that."""
    with suppress(OSError):  # Windows opens no folders, and some shared disks flush none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_about_space(error: StoreError) -> bool:
    """Return whether a file could not be written for want of space alone."""
    cause = error.__cause__
    is_full = isinstance(cause, OSError) and cause.errno in _FULL
    return is_full or isinstance(error, RoomError)


def remove_scratch(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder that nobody else writes into."""
    for path in folder.rglob(f".*{SCRATCH}"):
        if path.is_file():
            path.unlink(missing_ok=True)


def _remove_stale(folder: Path) -> None:
    """Remove what killed processes left half-written once nobody can be writing it any more."""
    for path in folder.glob(f".*{SCRATCH}"):
        with suppress(OSError):  # somebody else removed it
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write `path` into a message.

    Raises:
        StoreError: no space left, or no permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            advice = (
                "No space is left there. Free some, or use another folder with --out; finished "
                "runs are kept and found again."
            )
        else:
            advice = f"{error.strerror or error}. Use another folder with --out."
        raise StoreError(f"{path}: cannot be written. {advice}") from error
