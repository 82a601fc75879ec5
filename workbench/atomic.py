"""Files written whole or not at all, and the system's refusals as messages."""

import errno
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import StoreError
from workbench.room import check_room


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file in one step; see `write_text`."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        StoreError: no space left, or no permission.
    """
    check_room(path, len(content))
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with scratch.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            scratch.replace(path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write `path` into a message.

    Raises:
        StoreError: no space left, or no permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = (
                "No space is left there. Free some, or use another folder with --out; finished "
                "runs are kept and found again."
            )
        else:
            advice = f"{error.strerror or error}. Use another folder with --out."
        raise StoreError(f"{path}: cannot be written. {advice}") from error
